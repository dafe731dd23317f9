#pragma once
// CompareQuestions: what every run of a comparison is asked, read once: questions, or texts. And RunMark: run.json, by
// which a run that is done is known.

#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

#include <moegrad/data/choice_items.hpp>
#include <moegrad/eval/evaluate.hpp>
#include <moegrad/io/json_writer.hpp>
#include <moegrad/train/compare_spec.hpp>
#include <moegrad/train/run.hpp>

namespace moegrad {

/// inputs_fingerprint; questions that are not there are an error that names the verb which writes them.
inline std::string inputs_with_questions(const CompareSpec& spec) {
    if (!spec.questions.empty()) require_questions(spec.questions);
    return inputs_fingerprint(spec);
}

class CompareQuestions {
public:
    explicit CompareQuestions(const CompareSpec& spec) : task_(spec.task), format_(spec.format) {
        if (spec.questions.empty()) {
            texts_ = limited(read_text_records(spec.texts), spec.texts, spec.limit);
        } else {
            items_ = limited(read_choice_items(spec.questions), spec.questions, spec.limit);
            choice_format(format_);
        }
    }

    std::size_t size() const { return items_.size() + texts_.size(); }

    /// Writes folder/eval and returns the accuracy, or of texts the bits per byte. trainable: numbers that training
    /// changed; tick(questions done).
    template <class Real, class Tick>
    Estimate ask(Context& context, Decoder<Real>& model, const Tokenizer& tokenizer,
                 const std::string& folder, Index trainable, Tick tick) const {
        const auto keep = [&](const auto& evaluation, double seconds) {
            auto summary = summarize(evaluation, model.config(), task_, flops_are_counted(model));
            summary.seconds = seconds;
            summary.trainable = trainable;
            write_evaluation(folder + "/eval", summary, evaluation);
        };
        const auto start = std::chrono::steady_clock::now();
        const auto since = [&] {
            return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
        };
        if (items_.empty()) {
            const auto evaluation = evaluate_texts(context, model, tokenizer, texts_);
            keep(evaluation, since());
            return evaluation.metrics.back().estimate;
        }
        ChoiceOptions options;
        options.format = choice_format(format_);
        const auto evaluation = evaluate_choices(context, model, tokenizer, items_, options, tick);
        keep(evaluation, since());
        return evaluation.metric("acc");
    }

private:
    /// The first `limit` of them.
    template <class Item>
    static std::vector<Item> limited(std::vector<Item> all, const std::string& path, Index limit) {
        if (limit > 0 && limit < static_cast<Index>(all.size()))
            all.erase(all.begin() + static_cast<std::ptrdiff_t>(limit), all.end());
        detail::require_items(path.c_str(), all.size(), 2);
        return all;
    }

    std::string task_, format_;
    std::vector<ChoiceItem> items_;  // these
    std::vector<TextRecord> texts_;  // or these
};

struct RunMark {
    static std::string path(const std::string& folder) { return folder + "/run.json"; }

    static bool is_done(const std::string& folder, const std::string& fingerprint) {
        return file_exists(folder + "/eval/results.json") && has_fingerprint(path(folder), fingerprint);
    }
    /// Of any JSON file with a "fingerprint"; empty where there is none.
    static std::string fingerprint_in(const std::string& file) {
        if (!file_exists(file)) return {};
        const Json json = parse_json_file(file);
        const Json* found = json.find("fingerprint");
        return found != nullptr && found->string() != nullptr ? *found->string() : std::string();
    }
    static bool has_fingerprint(const std::string& file, const std::string& fingerprint) {
        return fingerprint_in(file) == fingerprint;
    }
    static void remove(const std::string& folder) { std::filesystem::remove(path(folder)); }
    /// Last of all: what is marked is whole.
    static void write(const std::string& folder, const std::string& fingerprint, const RunSummary& summary) {
        Json json = Json::object();
        json.add("fingerprint", fingerprint);
        json.add("tokens_per_second", summary.tokens_per_second);
        json.add("step_seconds", summary.step_seconds);
        json.add("peak_bytes", static_cast<double>(summary.peak_bytes));
        write_file_atomically(path(folder), write_json(json) + "\n");
    }
};

}  // namespace moegrad
