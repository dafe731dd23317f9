// Text that decides which experts look at an image (Parrot's gate, arXiv 2406.02539):  text_guided_experts [STEPS]
// Questions in three languages ask the same images different things. With its text an image gets the experts of its
// language; with one text for all, a model of the same size can only guess.

#include <cstdio>
#include <cstdlib>

#include "moegrad/image_quiz.hpp"

using namespace moegrad;

int main(int argc, char** argv) {
    const std::uint64_t steps = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 600;
    Context context;
    context.scalars().learning_rate = 1e-2;
    ImageQuiz guided, blind, untaught;
    std::printf("untaught       %5.1f %% right\n", 100 * image_quiz_score(untaught, context, 0));
    std::printf("one text       %5.1f %% right\n", 100 * image_quiz_score(blind, context, steps, false));
    std::printf("its own text   %5.1f %% right\n", 100 * image_quiz_score(guided, context, steps));
    for (Index language = 0; language < ImageQuiz::kLanguages; ++language) {
        std::printf("language %d     experts", static_cast<int>(language));
        for (Index e = 0; e < ImageQuiz::kLanguages; ++e)
            std::printf(" %.2f", static_cast<double>(guided.preference().matrix()(language, e)));
        std::printf("\n");
    }
    return 0;
}
