#pragma once
// Closed-book questions about the small world, in a form and with relation words that no document uses:
//     quiz : Ada Berg . birthplace ?  ->  Riga               level 1: one fact
//     quiz : Ada Berg . birthplace 's realm ?  ->  Jorvik    level 2: the land of that town
// The four choices are the same person's four values of the kind, so that knowing which words go with a name does not
// help. Training samples ask about one half of the people, held-out questions about the other.

#include <string>
#include <vector>

#include <moegrad/data/world.hpp>

namespace moegrad {

struct WorldQuestion {
    std::string id;
    int level = 1;
    Index person = 0;
    std::size_t relation = 0;
    WorldText prompt;
    std::vector<std::string> choices;  // one word each
    std::size_t answer = 0;

    /// Prompt, one space, right choice.
    WorldText whole() const {
        WorldText text = prompt;
        text.words.push_back({choices.at(answer), true});
        return text;
    }
};

struct QuestionOptions {
    Index samples = 3200;    // for fine-tuning; at most what there is
    Index questions = 600;   // held out
    double two_step = 0.25;  // share of level 2
};

/// Everybody with an even number may be asked about in training.
inline bool is_training_person(Index person) {
    return person % 2 == 0;
}

inline WorldQuestion world_question(const World& source, Index person, std::size_t relation, int level,
                                    Random random) {
    WorldQuestion question;
    question.level = level;
    question.person = person;
    question.relation = relation;
    auto& words = question.prompt.words;
    question.prompt.domain = "people";
    question.prompt.level = level;
    for (const char* word : {"quiz", ":"}) words.push_back({word, false});
    words.push_back({std::string(source.first_name(person)), true});
    words.push_back({std::string(source.last_name(person)), true});
    words.push_back({".", false});
    words.push_back({std::string(world::kRelationTable.at(relation).quiz), false});
    if (level == 2) {
        words.push_back({"'s", false});
        words.push_back({std::string(world::kLandQuiz), false});
    }
    words.push_back({"?", false});
    const std::size_t first = relation / world::kRelationsPerKind * world::kRelationsPerKind;
    std::array<std::size_t, world::kRelationsPerKind> order{0, 1, 2, 3};
    shuffle(std::span<std::size_t>(order), random);
    for (std::size_t i = 0; i < order.size(); ++i) {
        const std::size_t one = first + order[i];
        question.choices.emplace_back(level == 2 ? source.land(person, one) : source.value(person, one));
        if (one == relation) question.answer = i;
    }
    return question;
}

namespace detail {

/// `count` different questions about one half of the people, in random order, `two_step` of them of level 2.
inline std::vector<WorldQuestion> draw_questions(const World& source, World::Stream stream, bool training,
                                                 Index count, double two_step, const char* prefix) {
    struct Pick {
        Index person;
        std::size_t relation;
        int level;
    };
    std::vector<Pick> one, two, picks;
    for (Index person = training ? 0 : 1; person < source.people(); person += 2) {
        for (std::size_t r = 0; r < world::kRelations; ++r) one.push_back({person, r, 1});
        for (std::size_t r = 0; r < world::kRelationsPerKind; ++r) two.push_back({person, r, 2});
    }
    Random random = source.draws(stream, 0);
    shuffle(std::span<Pick>(one), random);
    shuffle(std::span<Pick>(two), random);
    const auto want = [&](double share, std::size_t most) {
        return std::min(most, static_cast<std::size_t>(static_cast<double>(count) * share + 0.5));
    };
    const std::size_t seconds = want(two_step, two.size()), firsts = want(1 - two_step, one.size());
    picks.insert(picks.end(), one.begin(), one.begin() + static_cast<std::ptrdiff_t>(firsts));
    picks.insert(picks.end(), two.begin(), two.begin() + static_cast<std::ptrdiff_t>(seconds));
    shuffle(std::span<Pick>(picks), random);
    std::vector<WorldQuestion> questions;
    for (std::size_t i = 0; i < picks.size(); ++i) {
        questions.push_back(world_question(source, picks[i].person, picks[i].relation, picks[i].level,
                                           source.draws(stream, static_cast<Index>(i) + 1)));
        questions.back().id = format("{}{}", prefix, i);
    }
    return questions;
}

}  // namespace detail

/// Questions about the people of the training half, for fine-tuning.
inline std::vector<WorldQuestion> world_samples(const World& source, const QuestionOptions& options) {
    return detail::draw_questions(source, World::Stream::sample, true, options.samples, options.two_step,
                                  "t");
}
/// Questions about the other half, whose facts only the documents state.
inline std::vector<WorldQuestion> world_questions(const World& source, const QuestionOptions& options) {
    return detail::draw_questions(source, World::Stream::question, false, options.questions, options.two_step,
                                  "q");
}

}  // namespace moegrad
