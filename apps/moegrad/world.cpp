// moegrad world: writes the small world's data: held-out documents, samples to fine-tune on, questions, tokenizer.

#include <filesystem>
#include <memory>

#include <moegrad/data/world_files.hpp>
#include <moegrad/data/world_tokenizer.hpp>

#include "verbs.hpp"

using namespace moegrad;

namespace {

struct WorldFlags {
    std::string out;
    WorldOptions world;
    QuestionOptions questions;
    Index heldout = 400;
};

void run_world(const WorldFlags& flags) {
    const World source(flags.world);
    std::filesystem::create_directories(flags.out);
    write_file_atomically(flags.out + "/heldout.jsonl", world_heldout_lines(source, flags.heldout));
    write_file_atomically(flags.out + "/train.jsonl", world_sample_lines(source, flags.questions));
    write_file_atomically(flags.out + "/questions.jsonl", world_question_lines(source, flags.questions));
    write_world_tokenizer(flags.out);
    fmt::print("world of seed {}: {} people, {} facts; a vocabulary of {} words\n", flags.world.seed,
               source.people(), source.people() * static_cast<Index>(world::kRelations),
               world_vocabulary().size());
    fmt::print("heldout.jsonl, train.jsonl, questions.jsonl and tokenizer files in {}\n", flags.out);
}

void add_world(CLI::App& app) {
    auto flags = std::make_shared<WorldFlags>();
    CLI::App* verb = app.add_subcommand("world", "write the small world's documents, samples and questions");
    verb->add_option("--out", flags->out, "folder to write")->required();
    verb->add_option("--seed", flags->world.seed, "of the world")->capture_default_str();
    verb->add_option("--people", flags->world.people, "people, twelve facts each")->capture_default_str();
    verb->add_option("--heldout", flags->heldout, "held-out documents")
        ->check(CLI::Range(Index{0}, Index{1} << 20))
        ->capture_default_str();
    verb->add_option("--samples", flags->questions.samples, "samples to fine-tune on, at most")
        ->check(CLI::Range(Index{1}, Index{1} << 20))
        ->capture_default_str();
    verb->add_option("--questions", flags->questions.questions, "held-out questions, at most")
        ->check(CLI::Range(Index{1}, Index{1} << 20))
        ->capture_default_str();
    verb->add_option("--two-step", flags->questions.two_step, "share of questions that need two steps")
        ->check(CLI::Range(0.0, 1.0))
        ->capture_default_str();
    verb->callback([=] { run_world(*flags); });
}

const RegisterVerb world_registered(16, add_world);

}  // namespace
