#pragma once
// The small world that the tiny models were pretrained on, as a task: samples, questions and held-out documents.

#include <filesystem>
#include <string>

#include <moegrad/data/world_files.hpp>
#include <moegrad/train/compare_spec.hpp>

namespace moegrad {

/// Its files, into `folder`.
inline void write_demo_world(const std::string& folder) {
    constexpr Index heldout = 400;
    const World source{WorldOptions{}};
    const QuestionOptions options;
    std::filesystem::create_directories(folder);
    write_file_atomically(folder + "/heldout.jsonl", world_heldout_lines(source, heldout));
    write_file_atomically(folder + "/train.jsonl", world_sample_lines(source, options));
    write_file_atomically(folder + "/questions.jsonl", world_question_lines(source, options));
}

/// Points the comparison at the files in `folder`.
inline void use_demo_world(CompareSpec& spec, const std::string& folder) {
    spec.task = "world";
    spec.base.train_data = folder + "/train.jsonl";
    spec.questions = folder + "/questions.jsonl";
    spec.heldout = folder + "/heldout.jsonl";
}

/// The harder world of `moegrad tasks`, from the folder that it wrote.
inline void use_task_world(CompareSpec& spec, const std::string& folder) {
    spec.task = "world";
    spec.base.train_data = folder + "/world-train.jsonl";
    spec.questions = folder + "/world-questions.jsonl";
    spec.heldout = folder + "/world-heldout.jsonl";
    spec.base.max_length = 64;
}

}  // namespace moegrad
