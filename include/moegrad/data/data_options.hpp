#pragma once
// DataOptions: how a file becomes training samples. The keys of [data] in a run's configuration.

#include <moegrad/core/view.hpp>

#include <string>

namespace moegrad {

inline constexpr Index kLongestSample = 10'000'000;

struct DataOptions {
    std::string format = "auto";  // auto, text, completion, alpaca, instruct, qa, messages, choice or tsv
    std::string chat_template = "auto";  // of messages; auto: what the model's tokenizer_config.json says
    std::string train_on = "answer";     // answer, or all: what is supervised
    std::string overlong = "error";      // a sample of more than max_length tokens: error, drop or cut
    std::string unsupervised = "error";  // a sample without supervised tokens: error or drop
    std::string columns, labels;         // of a TSV: "text=3, label=1" and "0=no, 1=yes"
    std::string prompt;  // of a TSV: a pattern with {text}; of choice: the name of an eval format
    std::string tasks;   // names of tasks, "cola, rte": the numbers that a record's "task" stands for
    Index max_length = 256;
    bool bos = false;   // start every sample with BOS, also where the tokenizer puts none
    std::string model;  // folder of the model whose files name the chat template; may be empty
};

}  // namespace moegrad
