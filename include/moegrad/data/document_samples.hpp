#pragma once
// Documents to ask a model about whole, as language samples: BOS first where there is one.

#include <moegrad/data/dataset.hpp>
#include <moegrad/io/json_lines.hpp>
#include <moegrad/io/mapped_file.hpp>
#include <moegrad/io/tokenizer.hpp>

#include <string>
#include <utility>
#include <vector>

namespace moegrad {

namespace detail {

inline std::vector<std::int32_t> begin_of_text(const Tokenizer& tokenizer) {
    return tokenizer.bos_id() >= 0 ? std::vector<std::int32_t>{tokenizer.bos_id()}
                                   : std::vector<std::int32_t>{};
}

}  // namespace detail

/// The `text` of every line as a sample, cut at max_length tokens; of a file that is not JSONL, its text in samples of
/// max_length tokens. count: the first so many; 0: all.
inline Dataset document_samples(const std::string& path, const Tokenizer& tokenizer, Index max_length,
                                Index count) {
    Dataset documents;
    const auto begin = detail::begin_of_text(tokenizer);
    if (!path.ends_with(".jsonl")) {
        const MappedFile file(path);
        documents = text_samples(tokenizer.encode(file.text(), {.add_special = false}), max_length, begin);
        if (count > 0 && std::ssize(documents) > count) documents.resize(static_cast<std::size_t>(count));
    } else {
        read_json_lines(path, [&](const JsonRef& line) {
            if (count > 0 && std::ssize(documents) == count) return;
            auto token = begin;
            const auto ids = tokenizer.encode(line.at("text").string(), {.add_special = false});
            token.insert(token.end(), ids.begin(), ids.end());
            if (std::ssize(token) > max_length) token.resize(static_cast<std::size_t>(max_length));
            if (token.size() >= 2) documents.push_back(language_sample(std::move(token)));
        });
    }
    if (documents.size() < 2)
        throw Error{ErrorCode::data, path, "at least two documents", format("{}", documents.size())};
    return documents;
}

}  // namespace moegrad
