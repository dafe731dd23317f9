#pragma once
// load_training_samples: a file of any format (data/training_records.hpp) to samples of token ids, with what is supervised
// in each; a plain text is one sequence, cut into samples of max_length tokens. What is left out or cut is counted.

#include <moegrad/data/dataset.hpp>
#include <moegrad/data/encode_record.hpp>
#include <moegrad/data/training_records.hpp>
#include <moegrad/io/memory_guard.hpp>

#include <algorithm>
#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

namespace moegrad {

struct LoadedSamples {
    Dataset samples;
    std::vector<std::string> ids;  // of the samples
    Index dropped_overlong = 0, cut = 0, dropped_unsupervised = 0;
    std::string format;  // what the file was read as
    std::vector<std::string> notes;
};

namespace detail {

inline void require_choice(const char* key, const std::string& value, const char* first, const char* second,
                           const char* third = nullptr) {
    if (value == first || value == second || (third != nullptr && value == third)) return;
    throw Error{ErrorCode::config, key,
                third == nullptr ? moegrad::format("{} or {}", first, second)
                                 : moegrad::format("{}, {} or {}", first, second, third),
                value};
}

inline void check_options(const DataOptions& options, const Tokenizer& tokenizer) {
    require_choice("data.train_on", options.train_on, "answer", "all");
    require_choice("data.overlong", options.overlong, "error", "drop", "cut");
    require_choice("data.unsupervised", options.unsupervised, "error", "drop");
    if (options.max_length < 2 || options.max_length > kLongestSample) {
        throw Error{ErrorCode::config, "data.max_length", moegrad::format("2 to {}", kLongestSample),
                    moegrad::format("{}", options.max_length)};
    }
    if (options.bos && tokenizer.bos_id() == Vocabulary::kNone)
        throw Error{ErrorCode::config, "data.bos", "a tokenizer with a BOS token", "one without"};
}

/// A file, or the share of it, whose records were all left out.
inline void require_some(const std::string& path, const LoadedSamples& loaded) {
    const Index dropped = loaded.dropped_overlong + loaded.dropped_unsupervised;
    if (!loaded.samples.empty() || dropped == 0) return;
    throw Error{ErrorCode::data, path, "at least one sample that is not left out",
                moegrad::format("none: {} of more than data.max_length tokens, {} without a supervised token",
                                loaded.dropped_overlong, loaded.dropped_unsupervised),
                "raise data.max_length"};
}

/// `by_cut`: there was an answer behind data.max_length. length and prompt in tokens.
[[noreturn]] inline void refuse_unsupervised(const std::string& place, const DataOptions& options,
                                             Index length, Index prompt, bool by_cut) {
    throw Error{
        ErrorCode::data, place, "at least one supervised token",
        by_cut ? moegrad::format("none: the answer was cut by data.max_length = {} (the prompt is {} tokens)",
                                 options.max_length, prompt)
               : moegrad::format("none in {} tokens", length),
        by_cut ? "raise data.max_length, or set data.overlong or data.unsupervised to drop"
               : "is there an answer, or an assistant's message with loss? data.unsupervised = drop "
                 "leaves such records out"};
}

/// Adds the record's sample, or counts why not.
inline void add_sample(const TrainingRecord& record, const Tokenizer& tokenizer, const DataOptions& options,
                       LoadedSamples& loaded) {
    if (!record.unanswered.empty()) {  // data.unsupervised = drop, else reading it was an error
        ++loaded.dropped_unsupervised;
        return;
    }
    EncodedRecord encoded = encode_record(record, tokenizer, options.bos);
    const std::string place = moegrad::format("{}: record {}", record.place, printable(record.id));
    const Index length = std::ssize(encoded.token), prompt = encoded.prompt_tokens();
    const bool overlong = length > options.max_length;
    if (overlong && options.overlong == "error") {
        throw Error{ErrorCode::data, place, moegrad::format("at most {} tokens", options.max_length),
                    moegrad::format("{}, of which {} before the answer", length, prompt),
                    "raise data.max_length, or set data.overlong to drop or cut"};
    }
    if (overlong && options.overlong == "drop") {
        ++loaded.dropped_overlong;
        return;
    }
    if (overlong) {
        encoded.token.resize(static_cast<std::size_t>(options.max_length));
        encoded.supervised.resize(static_cast<std::size_t>(options.max_length));
    }
    Sample sample = encoded.sample();
    sample.task = record.task;
    if (sample.supervised() == 0 && options.unsupervised == "drop") {
        ++loaded.dropped_unsupervised;
        return;
    }
    if (sample.supervised() == 0)
        refuse_unsupervised(place, options, length, prompt, overlong && prompt < length);
    loaded.cut += overlong;
    loaded.samples.push_back(std::move(sample));
    loaded.ids.push_back(record.id);
}

inline std::size_t share_of(std::size_t size, double share) {
    return std::min(size, static_cast<std::size_t>(static_cast<double>(size) * share));
}

/// One sequence of tokens, cut into samples; `begin` and `end` are shares of its characters.
inline LoadedSamples load_plain_text(const std::string& path, const Tokenizer& tokenizer,
                                     const DataOptions& options, double begin, double end) {
    const MappedFile file(path);
    const std::string_view text = file.text();
    const auto boundary = [&](double share) {
        std::size_t cut = share_of(text.size(), share);
        while (cut > 0 && cut < text.size() && (text[cut] & 0xC0) == 0x80)
            --cut;  // not inside a UTF-8 character
        return cut;
    };
    std::vector<std::int32_t> prefix;
    if (options.bos) prefix.push_back(tokenizer.bos_id());
    const std::size_t from = boundary(begin);
    const auto ids = tokenizer.encode(text.substr(from, boundary(end) - from), {.add_special = false});
    LoadedSamples loaded{text_samples(ids, options.max_length, prefix), {}, 0, 0, 0, "plain text", {}};
    for (std::size_t i = 0; i < loaded.samples.size(); ++i)
        loaded.ids.push_back(moegrad::format("{}", i + 1));
    return loaded;
}

}  // namespace detail

/// `begin` and `end`: the share of the file, of its records or of its characters.
inline LoadedSamples load_training_samples(const std::string& path, const Tokenizer& tokenizer,
                                           const DataOptions& options, double begin = 0, double end = 1) {
    return memory_guard(path, [&]() -> LoadedSamples {
        detail::check_options(options, tokenizer);
        if (is_plain_text(path, options))
            return detail::load_plain_text(path, tokenizer, options, begin, end);
        TrainingRecords all = read_training_records(path, tokenizer, options);
        LoadedSamples loaded;
        loaded.format = std::move(all.format);
        loaded.notes = std::move(all.notes);
        const std::size_t last = detail::share_of(all.records.size(), end);
        for (std::size_t i = detail::share_of(all.records.size(), begin); i < last; ++i)
            detail::add_sample(all.records[i], tokenizer, options, loaded);
        detail::require_some(path, loaded);
        return loaded;
    });
}

/// A setting that none of the files reads is an error. `formats`: what they were read as.
inline void require_read(const DataOptions& options, const std::vector<std::string>& formats) {
    const auto any = [&](std::initializer_list<const char*> readers) {
        for (const char* reader : readers)
            if (std::find(formats.begin(), formats.end(), reader) != formats.end()) return true;
        return false;
    };
    const auto require = [&](const char* key, const std::string& value, bool read, const char* readers) {
        if (value.empty() || read) return;
        throw Error{ErrorCode::config, key, moegrad::format("a file of format {}", readers),
                    moegrad::format("{} and format {}", value, formats.front()),
                    "nothing would read this setting"};
    };
    require("data.template", options.chat_template == "auto" ? "" : options.chat_template, any({"messages"}),
            "messages");
    require("data.columns", options.columns, any({"tsv"}), "tsv");
    require("data.labels", options.labels, any({"tsv"}), "tsv");
    require("data.tasks", options.tasks,
            std::any_of(formats.begin(), formats.end(), detail::is_record_format), "JSONL");
    require("data.prompt", options.prompt, any({"tsv", "choice"}), "tsv or choice");
}

/// Everything that a reader of the log should know of a file, a line each.
inline std::vector<std::string> loaded_notes(const LoadedSamples& loaded) {
    std::vector<std::string> lines = loaded.notes;
    const auto count = [&](Index number, const char* what) {
        if (number > 0) lines.push_back(moegrad::format("{} samples {}", number, what));
    };
    count(loaded.dropped_overlong, "of more than data.max_length tokens left out");
    count(loaded.cut, "cut at data.max_length tokens");
    count(loaded.dropped_unsupervised, "without an answer or a supervised token left out");
    return lines;
}

}  // namespace moegrad
