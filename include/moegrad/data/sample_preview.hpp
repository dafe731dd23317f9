#pragma once
// What a file became, to look at before training: counts, lengths, the supervised share, and samples as text with what is
// supervised marked: [in brackets], or in colour on a terminal.

#include <moegrad/data/training_samples.hpp>

#include <algorithm>
#include <span>
#include <string>
#include <vector>

namespace moegrad {

struct MarkStyle {
    const char *begin = "[", *end = "]";
};
inline constexpr MarkStyle kColourMarks{"\x1b[32m", "\x1b[0m"};

namespace detail {

/// Is token t the target of the row before it?
inline bool is_supervised(const Sample& sample, std::size_t t) {
    return t > 0 && sample.target[t - 1] != kIgnoreTarget;
}

/// Control bytes as \xNN but for the line end, so that a text cannot steer the terminal.
inline std::string shown_text(std::string_view text) {
    std::string out;
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (c == '\n' || (byte >= 0x20 && byte != 0x7F)) {
            out += c;
        } else {
            out += moegrad::format("\\x{:02X}", static_cast<unsigned>(byte));
        }
    }
    return out;
}

}  // namespace detail

/// The sample as text, special tokens by their names, supervised stretches between marks.
inline std::string sample_text(const Tokenizer& tokenizer, const Sample& sample, MarkStyle marks = {}) {
    Detokenizer detokenizer(tokenizer, DecodeSpecial::keep);
    std::string out;
    bool open = false;
    for (std::size_t t = 0; t < sample.token.size(); ++t) {
        const bool supervised = detail::is_supervised(sample, t);
        if (supervised != open) out += supervised ? marks.begin : marks.end;
        open = supervised;
        out += detail::shown_text(detokenizer.push(sample.token[t]));
    }
    out += detail::shown_text(detokenizer.finish());
    return open ? out + marks.end : out;
}

/// "1 22 [33 44]": ids, those that are supervised between marks.
inline std::string sample_ids(const Sample& sample, MarkStyle marks = {}) {
    std::string out;
    for (std::size_t t = 0; t < sample.token.size(); ++t) {
        const bool supervised = detail::is_supervised(sample, t);
        out += t > 0 ? " " : "";
        if (supervised && !detail::is_supervised(sample, t - 1)) out += marks.begin;
        out += moegrad::format("{}", sample.token[t]);
        if (supervised && (t + 1 == sample.token.size() || !detail::is_supervised(sample, t + 1)))
            out += marks.end;
    }
    return out;
}

/// Lines of "tokens  samples  bar", in eight ranges of equal width up to the longest sample.
inline std::string length_histogram(const Dataset& samples) {
    Index longest = 1;
    for (const Sample& sample : samples) longest = std::max(longest, std::ssize(sample.token));
    const Index width = (longest + 7) / 8;
    std::vector<Index> counts(static_cast<std::size_t>((longest + width - 1) / width), 0);
    for (const Sample& sample : samples)
        ++counts[static_cast<std::size_t>((std::ssize(sample.token) - 1) / width)];
    const Index most = *std::max_element(counts.begin(), counts.end());
    std::string out;
    for (std::size_t i = 0; i < counts.size(); ++i) {
        const Index low = static_cast<Index>(i) * width + 1;
        const auto bar = static_cast<std::size_t>((40 * counts[i] + most - 1) / std::max<Index>(most, 1));
        const std::string line = moegrad::format("  {:>6} to {:>6}  {:>8}  {}", low, low + width - 1,
                                                 counts[i], std::string(bar, '#'));
        out += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
    }
    return out;
}

/// Everything but the samples themselves.
inline std::string samples_summary(const std::string& path, const LoadedSamples& loaded) {
    Index tokens = 0, supervised = 0;
    std::vector<Index> lengths;
    for (const Sample& sample : loaded.samples) {
        lengths.push_back(std::ssize(sample.token));
        tokens += lengths.back();
        supervised += sample.supervised();
    }
    const std::size_t count = loaded.samples.size();
    std::string out =
        moegrad::format("{}: {}, {} {}\n", path, loaded.format, count, count == 1 ? "sample" : "samples");
    for (const std::string& note : loaded_notes(loaded)) out += "  " + note + "\n";
    if (loaded.samples.empty()) return out;
    std::sort(lengths.begin(), lengths.end());
    const auto rank = [&](std::size_t percent) { return lengths[(lengths.size() * percent + 99) / 100 - 1]; };
    out += moegrad::format("  tokens      {}; a sample has {} to {}, half at most {}, 99 % at most {}\n",
                           tokens, lengths.front(), lengths.back(), rank(50), rank(99));
    out += moegrad::format("  supervised  {} ({:.1f} %)\n", supervised,
                           100 * static_cast<double>(supervised) / static_cast<double>(tokens));
    if (lengths.front() == lengths.back()) return out;
    return out + "  tokens             samples\n" + length_histogram(loaded.samples);
}

}  // namespace moegrad
