#pragma once
// A mix of training texts: "world 0.6, stories 0.1 text/stories.txt, tasks 0.3 mc/*.train.jsonl". Each source has a domain,
// a share of the samples, and files, or none for the documents of the small world. A file is plain text, cut at line ends
// into documents of kTextBlock bytes or more, its repeats left out (data/repeats.hpp); or records (JSONL, TSV), each a
// document: the text that fine-tuning would read, question, answer and all. A part is held out: the end of a text, every
// n-th record.

#include <moegrad/core/error.hpp>
#include <moegrad/data/heldout.hpp>
#include <moegrad/data/training_records.hpp>
#include <moegrad/data/world_tokenizer.hpp>
#include <moegrad/io/mapped_file.hpp>
#include <moegrad/io/tokenizer_json.hpp>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace moegrad {

struct MixSource {
    std::string domain;
    double share = 0;                // of the samples
    std::vector<std::string> files;  // patterns, `*` in the last part; empty: the small world
};

/// The documents of a source's files.
struct MixTexts {
    std::vector<std::string> train, heldout;
    HeldoutLeak leak;          // of every text on its own, of all records together
    std::size_t repeated = 0;  // bytes of texts that are left out
};

inline constexpr std::size_t kTextBlock = 4096;

namespace detail {

inline MixSource parse_mix_source(std::string_view item) {
    const auto words = split_words(item);
    MixSource source;
    const std::string_view number = words.size() > 1 ? words[1] : std::string_view();
    const auto [end, problem] = std::from_chars(number.data(), number.data() + number.size(), source.share);
    if (problem != std::errc{} || end != number.data() + number.size() || !(source.share > 0) ||
        source.share > 1) {
        throw Error{ErrorCode::config, "data.mix", "a domain, its share from 0 to 1, and files",
                    moegrad::format("\"{}\"", printable(item, 80)), "\"stories 0.1 text/stories.txt\""};
    }
    source.domain = words[0];
    source.files.assign(words.begin() + 2, words.end());
    return source;
}

inline bool matches(std::string_view name, std::string_view pattern) {
    const std::size_t star = pattern.find('*');
    if (star == std::string_view::npos) return name == pattern;
    const std::string_view before = pattern.substr(0, star), after = pattern.substr(star + 1);
    if (!name.starts_with(before)) return false;
    for (std::size_t at = before.size(); at <= name.size(); ++at)
        if (matches(name.substr(at), after)) return true;
    return false;
}

/// A file that others keep for evaluation is no training text, however it got into the list.
inline void require_training_split(const std::string& path) {
    std::string name = std::filesystem::path(path).filename().string();
    std::replace_if(
        name.begin(), name.end(), [](char c) { return c == '.' || c == '_' || c == '-'; }, ' ');
    for (const std::string_view part : split_words(name)) {
        for (const std::string_view kept : {"test", "val", "valid", "validation", "dev", "heldout"}) {
            if (part != kept) continue;
            throw Error{ErrorCode::config, "data.mix", "training splits", path,
                        "its name says that it is for evaluation"};
        }
    }
}

inline void add(const HeldoutLeak& one, HeldoutLeak& all) {
    all.parts += one.parts;
    all.known += one.known;
}

inline void add_text(std::string_view whole, double heldout, MixTexts& texts) {
    const TextParts parts = split_text(whole, heldout);
    const std::string_view train = parts.train();
    for (std::size_t at = 0; at < train.size();) {
        std::size_t stop = train.find('\n', std::min(train.size(), at + kTextBlock) - 1);
        stop = stop == std::string_view::npos ? train.size() : stop + 1;
        texts.train.emplace_back(train.substr(at, stop - at));
        at = stop;
    }
    if (!parts.heldout().empty()) texts.heldout.emplace_back(parts.heldout());
    add(heldout_leak(parts.heldout(), train), texts.leak);
    texts.repeated += parts.repeated;
}

inline void add_records(const std::string& path, double heldout, MixTexts& texts) {
    // The text of a record does not depend on the tokenizer but for the names of special tokens, which are left out.
    static const Tokenizer plain = parse_tokenizer(world_tokenizer_json(), "tokenizer.json");
    const auto every = heldout > 0 ? static_cast<std::size_t>(std::llround(1 / heldout)) : 0;
    std::size_t number = 0;
    DataOptions options;
    options.unsupervised = "drop";
    for (const TrainingRecord& record : read_training_records(path, plain, options).records) {
        std::string text;
        for (const TextPiece& piece : record.pieces)
            if (!piece.special) text += piece.text;
        const bool aside = every > 0 && ++number % every == 0;
        (aside ? texts.heldout : texts.train).push_back(std::move(text));
    }
}

}  // namespace detail

/// Shares are made to add up to 1.
inline std::vector<MixSource> parse_mix(std::string_view text) {
    std::vector<MixSource> sources;
    double sum = 0;
    while (!text.empty()) {
        const std::size_t end = std::min(text.find(','), text.size());
        sources.push_back(detail::parse_mix_source(text.substr(0, end)));
        sum += sources.back().share;
        for (std::size_t i = 0; i + 1 < sources.size(); ++i) {
            if (sources[i].domain != sources.back().domain) continue;
            throw Error{ErrorCode::config, "data.mix", "domains of different names", sources[i].domain};
        }
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    for (MixSource& source : sources) source.share /= sum;
    return sources;
}

/// The files of a source by name, patterns in their order.
inline std::vector<std::string> mix_files(const MixSource& source, const std::string& folder) {
    namespace fs = std::filesystem;
    std::vector<std::string> all;
    for (const std::string& pattern : source.files) {
        const fs::path path = fs::path(folder) / pattern, parent = path.parent_path();
        std::vector<std::string> found;
        if (fs::is_directory(parent)) {
            for (const auto& entry : fs::directory_iterator(parent)) {
                if (entry.is_regular_file() &&
                    detail::matches(entry.path().filename().string(), path.filename().string()))
                    found.push_back(entry.path().string());
            }
        }
        if (found.empty()) {
            throw Error{ErrorCode::file, "data.mix", "a file", moegrad::format("none at {}", path.string()),
                        "data.folder is where patterns start"};
        }
        std::sort(found.begin(), found.end());
        for (const std::string& file : found) detail::require_training_split(file);
        all.insert(all.end(), found.begin(), found.end());
    }
    return all;
}

/// `heldout`: the share of every file that is held out.
inline MixTexts mix_texts(const MixSource& source, const std::string& folder, double heldout) {
    MixTexts texts, records;
    for (const std::string& path : mix_files(source, folder)) {
        if (is_plain_text(path, {})) {
            detail::add_text(MappedFile(path).text(), heldout, texts);
        } else {
            detail::add_records(path, heldout, records);
        }
    }
    std::erase(records.train, std::string());
    std::erase(records.heldout, std::string());
    detail::add(heldout_leak(records.heldout, records.train), texts.leak);
    std::move(records.train.begin(), records.train.end(), std::back_inserter(texts.train));
    std::move(records.heldout.begin(), records.heldout.end(), std::back_inserter(texts.heldout));
    if (texts.train.empty()) throw Error{ErrorCode::data, source.domain, "some text", "none"};
    return texts;
}

}  // namespace moegrad
