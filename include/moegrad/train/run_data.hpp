#pragma once
// The samples of a run: the training file, and what is held out of it or beside it.

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <moegrad/data/order.hpp>
#include <moegrad/data/packing.hpp>
#include <moegrad/data/training_samples.hpp>
#include <moegrad/io/mapped_file.hpp>
#include <moegrad/io/tokenizer_json.hpp>
#include <moegrad/train/run_config.hpp>
#include <moegrad/train/trainer.hpp>

namespace moegrad {

struct TextData {
    Dataset train, eval;
    std::vector<std::string> notes;  // what was read as what, dropped and cut
};

inline DataOptions data_options(const RunConfig& config) {
    return {.format = config.data_format,
            .chat_template = config.chat_template,
            .train_on = config.train_on,
            .overlong = config.overlong,
            .unsupervised = config.unsupervised,
            .columns = config.columns,
            .labels = config.labels,
            .prompt = config.prompt,
            .tasks = config.tasks,
            .max_length = config.max_length,
            .bos = config.bos,
            .model = config.model};
}

/// Without an evaluation file the end of the training file is kept aside.
inline TextData load_text_data(const RunConfig& config, const Tokenizer& tokenizer) {
    const bool held_out = config.eval_data.empty() && config.holdout > 0;
    const double cut = held_out ? 1 - config.holdout : 1;
    TextData data;
    std::vector<std::string> formats;
    const auto load = [&](const std::string& path, double begin, double end) {
        LoadedSamples loaded = load_training_samples(path, tokenizer, data_options(config), begin, end);
        formats.push_back(loaded.format);
        for (std::string& note : loaded_notes(loaded)) {
            note = path + ": " + note;
            if (std::find(data.notes.begin(), data.notes.end(), note) == data.notes.end())
                data.notes.push_back(std::move(note));
        }
        return std::move(loaded.samples);
    };
    data.train = load(config.train_data, 0, cut);
    if (held_out) data.eval = load(config.train_data, cut, 1);
    if (!config.eval_data.empty()) data.eval = load(config.eval_data, 0, 1);
    require_read(data_options(config), formats);
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

/// Which samples each step sees, and how they are cut into micro-batches: train.batch samples a step, or with data.packing
/// that many packs.
class StepOrder {
public:
    StepOrder(const Dataset& data, const RunConfig& config)
        : samples_(static_cast<Index>(data.size()), config.batch, config.seed),
          per_micro_batch_(config.per_micro_batch()) {
        if (!config.packing) return;
        std::vector<Index> lengths;
        for (const Sample& sample : data) lengths.push_back(static_cast<Index>(sample.token.size()));
        packed_.emplace(std::move(lengths), config.max_length, config.batch, config.seed);
    }

    MicroBatches step(Index n) {
        if (packed_) return packed_->micro_batches(n, per_micro_batch_);
        const auto picks = samples_.step(n);
        MicroBatches cuts;
        for (std::size_t i = 0; i < picks.size(); ++i) {
            if (i % static_cast<std::size_t>(per_micro_batch_) == 0) cuts.emplace_back();
            cuts.back().push_back(picks[i]);
        }
        return cuts;
    }
    Index epoch(Index n) { return packed_ ? packed_->epoch(n) : samples_.epoch(n); }
    Index steps(double epochs) { return packed_ ? packed_->steps(epochs) : samples_.steps(epochs); }

private:
    SampleOrder samples_;
    std::optional<PackedOrder> packed_;
    Index per_micro_batch_;
};

}  // namespace moegrad
