// moegrad tasks: the tasks that claims are held against, as files that train and compare read: multiple choice with its
// chance, majority and floor, texts with their last part held out, and the small world at a size that is not learnt by heart.

#include <filesystem>
#include <memory>

#include <moegrad/data/heldout.hpp>
#include <moegrad/data/task_files.hpp>
#include <moegrad/eval/task_facts.hpp>

#include "verbs.hpp"

using namespace moegrad;

namespace {

struct TaskFlags {
    std::string from, out;
    WorldOptions world{.people = 2000};
    QuestionOptions questions{.samples = 6400, .questions = 2400};
    Index documents = 400, window = 1024;
    double holdout = 0.1;
};

/// One of the files that is not there; empty: all are.
std::string missing(const std::string& folder, std::initializer_list<const char*> files) {
    for (const char* file : files) {
        if (*file != '\0' && !file_exists(folder + "/" + file)) return file;
    }
    return {};
}

void write_facts(const std::string& path, const std::string& name, const ChoiceParts& parts) {
    const TaskFacts facts = measure_task(name, parts.train, parts.questions, parts.left_out);
    write_file_atomically(path + "-facts.json", write_json(to_json(facts), JsonStyle::indented) + "\n");
    fmt::print("{:<12} {} to train on, {} asked{}; {}\n", name, facts.train, facts.questions,
               facts.left_out == 0 ? "" : format(" ({} left out, for they are trained on)", facts.left_out),
               task_facts_text(facts));
}

void write_choices(const ChoiceTask& task, const TaskFlags& flags) {
    const std::string gone = missing(flags.from, {task.train, task.questions}),
                      path = flags.out + "/" + task.name;
    if (!gone.empty()) return fmt::print("{:<12} left out: no {} in {}\n", task.name, gone, flags.from);
    const ChoiceParts parts = read_choice_task(task, flags.from);
    write_file_atomically(path + "-train.jsonl", choice_lines(parts.train));
    write_file_atomically(path + "-questions.jsonl", choice_lines(parts.questions));
    write_facts(path, task.name, parts);
}

void write_texts(const TextTask& task, const TaskFlags& flags) {
    const std::string gone = missing(flags.from, {task.file}), path = flags.out + "/" + task.name;
    if (!gone.empty()) return fmt::print("{:<12} left out: no {} in {}\n", task.name, gone, flags.from);
    const TextParts parts = split_text(MappedFile(flags.from + "/" + task.file).text(), flags.holdout);
    const auto most = static_cast<std::size_t>(flags.window);
    const auto train = text_windows(parts.train(), most), heldout = text_windows(parts.heldout(), most);
    write_file_atomically(path + "-train.jsonl", window_lines(train, task.name));
    write_file_atomically(path + "-heldout.jsonl", window_lines(heldout, task.name));
    fmt::print("{:<12} {} windows to train on, {} asked; {} repeated bytes left out, {} bytes kept\n",
               task.name, train.size(), heldout.size(), parts.repeated, parts.text.size());
    fmt::print("{:<12} {}\n", "",
               heldout_leak_text(parts.heldout().size(), heldout_leak(parts.heldout(), parts.train())));
}

void write_world(const TaskFlags& flags) {
    const World source(flags.world);
    const std::string path = flags.out + "/world";
    write_file_atomically(path + "-train.jsonl", world_sample_lines(source, flags.questions));
    write_file_atomically(path + "-questions.jsonl", world_question_lines(source, flags.questions));
    write_file_atomically(path + "-heldout.jsonl", world_heldout_lines(source, flags.documents));
    write_facts(path, "world",
                {choice_items_of(world_samples(source, flags.questions)),
                 choice_items_of(world_questions(source, flags.questions))});
}

void run_tasks(const TaskFlags& flags) {
    std::filesystem::create_directories(flags.out);
    write_world(flags);
    for (const ChoiceTask& task : kChoiceTasks) write_choices(task, flags);
    for (const TextTask& task : kTextTasks) write_texts(task, flags);
    fmt::print("files in {}\n", flags.out);
}

void add_tasks(CLI::App& app) {
    auto flags = std::make_shared<TaskFlags>();
    CLI::App* verb =
        app.add_subcommand("tasks", "write the tasks that claims are held against, with their floors");
    verb->add_option("--from", flags->from,
                     "folder with mc/ and text/; what is not there is named and left out")
        ->required()
        ->check(CLI::ExistingDirectory);
    verb->add_option("--out", flags->out, "folder to write")->required();
    verb->add_option("--holdout", flags->holdout, "share of each text that is held out, its end")
        ->check(CLI::Range(0.0, 0.9))
        ->capture_default_str();
    verb->add_option("--window", flags->window, "bytes of a piece of text, at most")
        ->check(CLI::Range(Index{16}, Index{1} << 24))
        ->capture_default_str();
    verb->add_option("--seed", flags->world.seed, "of the small world")->capture_default_str();
    verb->add_option("--people", flags->world.people, "of the small world")->capture_default_str();
    verb->add_option("--samples", flags->questions.samples, "of the small world, to train on, at most")
        ->check(CLI::Range(Index{1}, Index{1} << 20))
        ->capture_default_str();
    verb->add_option("--questions", flags->questions.questions, "about the small world, at most")
        ->check(CLI::Range(Index{1}, Index{1} << 20))
        ->capture_default_str();
    verb->add_option("--documents", flags->documents, "of the small world, held out")
        ->check(CLI::Range(Index{1}, Index{1} << 20))
        ->capture_default_str();
    verb->callback([=] { run_tasks(*flags); });
}

const RegisterVerb tasks_registered(17, add_tasks);

}  // namespace
