#pragma once
// The samples of a run: the training file, and what is held out of it or beside it.

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include <moegrad/data/order.hpp>
#include <moegrad/data/text_records.hpp>
#include <moegrad/io/mapped_file.hpp>
#include <moegrad/io/tokenizer_json.hpp>
#include <moegrad/train/run_config.hpp>
#include <moegrad/train/trainer.hpp>

namespace moegrad {

struct TextData {
    Dataset train, eval;
};

/// A file of records (JSONL), by its name.
inline bool is_record_file(const std::string& path) {
    return path.ends_with(".jsonl");
}

/// The file as samples: a .jsonl of records, whose completions are supervised, or any other text as one sequence.
/// `begin` and `end`: the share of the file, of its records or of its characters.
inline Dataset load_samples(const RunConfig& config, const Tokenizer& tokenizer, const std::string& path,
                            double begin, double end) {
    const auto at = [](std::size_t size, double share) {
        return std::min(size, static_cast<std::size_t>(static_cast<double>(size) * share));
    };
    if (is_record_file(path)) {
        const auto records = read_text_records(path);
        Dataset samples;
        for (std::size_t i = at(records.size(), begin); i < at(records.size(), end); ++i)
            samples.push_back(record_sample(records[i], tokenizer, config.max_length, config.bos));
        return samples;
    }
    const MappedFile file(path);
    const std::string_view text = file.text();
    const auto boundary = [&](double share) {
        std::size_t cut = at(text.size(), share);
        while (cut > 0 && cut < text.size() && (text[cut] & 0xC0) == 0x80)
            --cut;  // not inside a UTF-8 character
        return cut;
    };
    std::vector<std::int32_t> prefix;
    if (config.bos) prefix.push_back(tokenizer.bos_id());
    const std::size_t from = boundary(begin);
    return text_samples(tokenizer.encode(text.substr(from, boundary(end) - from), {.add_special = false}),
                        config.max_length, prefix);
}

/// Without an evaluation file the end of the training file is kept aside.
inline TextData load_text_data(const RunConfig& config, const Tokenizer& tokenizer) {
    const bool held_out = config.eval_data.empty() && config.holdout > 0;
    const double cut = held_out ? 1 - config.holdout : 1;
    TextData data{load_samples(config, tokenizer, config.train_data, 0, cut), {}};
    if (held_out) data.eval = load_samples(config, tokenizer, config.train_data, cut, 1);
    if (!config.eval_data.empty()) data.eval = load_samples(config, tokenizer, config.eval_data, 0, 1);
    if (config.eval_samples > 0 && static_cast<Index>(data.eval.size()) > config.eval_samples) {
        data.eval.resize(static_cast<std::size_t>(config.eval_samples));
    }
    if (data.train.empty()) {
        throw Error{ErrorCode::data, config.train_data, "at least two tokens of text, or a record",
                    format("{} bytes", MappedFile(config.train_data).size()),
                    "data.holdout keeps the end of the file aside; give data.eval, or holdout 0"};
    }
    return data;
}

/// Which samples each step sees, and how they are cut into micro-batches.
class StepOrder {
public:
    StepOrder(const Dataset& data, const RunConfig& config)
        : samples_(static_cast<Index>(data.size()), config.batch, config.seed),
          per_micro_batch_(config.per_micro_batch()) {}

    MicroBatches step(Index n) {
        const auto picks = samples_.step(n);
        MicroBatches cuts;
        for (std::size_t i = 0; i < picks.size(); ++i) {
            if (i % static_cast<std::size_t>(per_micro_batch_) == 0) cuts.emplace_back();
            cuts.back().push_back(picks[i]);
        }
        return cuts;
    }
    Index epoch(Index n) const { return samples_.epoch(n); }
    Index steps(double epochs) const { return samples_.steps(epochs); }

private:
    SampleOrder samples_;
    Index per_micro_batch_;
};

}  // namespace moegrad
