#pragma once
// Texts that know where they come from: after normalisation, for every byte, where in the input the character it was made
// of ends. And the two things that change a text before it is cut: Normalizer, Metaspace.

#include <moegrad/io/tokenizer_decoder.hpp>
#include <moegrad/io/unicode_normalize.hpp>
#include <moegrad/io/utf8.hpp>

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace moegrad {

/// A stretch of the input, or of what became of it.
struct AlignedView {
    std::string_view text;
    const std::size_t* ends = nullptr;  // one per byte; nullptr: the bytes are those of the input
    std::size_t base = 0;               // where in the input it begins

    /// Where in the input the first `count` bytes end.
    std::size_t end(std::size_t count) const { return ends && count > 0 ? ends[count - 1] : base + count; }
    AlignedView part(std::size_t begin, std::size_t stop) const {
        return {text.substr(begin, stop - begin), ends ? ends + begin : nullptr, end(begin)};
    }
};

struct AlignedText {
    std::size_t base = 0;
    std::string text;
    std::vector<std::size_t> ends;  // left empty where nobody asks

    AlignedView view() const { return {text, ends.empty() ? nullptr : ends.data(), base}; }
    void add(std::string_view more, std::size_t end, bool track) {
        text += more;
        if (track) ends.insert(ends.end(), more.size(), end);
    }
    void copy(const AlignedView& from, bool track) {
        text += from.text;
        if (!track) return;
        for (std::size_t i = 1; i <= from.text.size(); ++i) ends.push_back(from.end(i));
    }
};

/// `prefix` in front, which comes from no byte of the input.
inline AlignedText with_prefix(std::string_view prefix, const AlignedView& in, bool track) {
    AlignedText out{in.base, {}, {}};
    out.add(prefix, in.base, track);
    out.copy(in, track);
    return out;
}

inline AlignedText spaces_to_marks(const AlignedView& in, bool track) {
    AlignedText out{in.base, {}, {}};
    for (std::size_t done = 0; done < in.text.size();) {
        const std::size_t space = in.text.find(' ', done);
        const std::size_t stop = space == std::string_view::npos ? in.text.size() : space;
        out.copy(in.part(done, stop), track);
        if (stop < in.text.size()) out.add(kSpaceMark, in.end(stop + 1), track);
        done = stop + 1;
    }
    return out;
}

/// Appends the normal form of valid UTF-8. A cluster that changes ends where it ends in the input, all its bytes.
inline void append_nfc(const AlignedView& run, AlignedText& out, bool track) {
    const NfcFunctions& nfc = require_nfc("normalizer NFC");
    const std::string normal = nfc.normalize(run.text);
    if (normal == run.text) return out.copy(run, track);
    if (!track) return out.add(normal, 0, false);
    AlignedText pieces;
    for (std::size_t at = 0; at < run.text.size();) {
        const std::size_t stop = nfc.cluster_end(run.text, at);
        const std::string cluster = nfc.normalize(run.text.substr(at, stop - at));
        if (cluster == run.text.substr(at, stop - at))
            pieces.copy(run.part(at, stop), true);
        else
            pieces.add(cluster, run.end(stop), true);
        at = stop;
    }
    if (pieces.text == normal)
        out.copy(pieces.view(), true);
    else
        out.add(normal, run.end(run.text.size()), true);
}

/// The next stretch from `at` on that is all UTF-8, or one byte that is not.
struct Utf8Run {
    std::size_t end = 0;
    bool valid = false;
};
inline Utf8Run utf8_run(std::string_view text, std::size_t at) {
    std::size_t end = at;
    while (end < text.size()) {
        const Utf8Unit unit = utf8_unit(text, end);
        if (unit.state != Utf8State::complete) break;
        end += unit.length;
    }
    return end > at ? Utf8Run{end, true} : Utf8Run{at + 1, false};
}

/// NFC, then U+2581 in front, then spaces replaced by it, each if the file asks for it. Nothing stays nothing.
struct Normalizer {
    bool nfc = false;
    bool prepend_mark = false;
    bool replace_spaces = false;

    /// Nothing when the text stays as it is.
    std::optional<AlignedText> apply(const AlignedView& in, bool track) const {
        if (in.text.empty()) return std::nullopt;
        std::optional<AlignedText> out;
        const auto now = [&] { return out ? out->view() : in; };
        if (nfc && !is_ascii(in.text)) {
            AlignedText normal{in.base, {}, {}};
            for (std::size_t at = 0; at < in.text.size();) {
                const Utf8Run run = utf8_run(in.text, at);
                if (run.valid)
                    append_nfc(in.part(at, run.end), normal, track);
                else
                    normal.copy(in.part(at, run.end), track);
                at = run.end;
            }
            out = std::move(normal);
        }
        if (prepend_mark) out = with_prefix(kSpaceMark, now(), track);
        if (replace_spaces) out = spaces_to_marks(now(), track);
        return out;
    }

    std::string apply(std::string_view text) const {
        const std::optional<AlignedText> out = apply(AlignedView{text}, false);
        return out ? out->text : std::string(text);
    }
};

/// Where the Metaspace pre-tokenizer puts a mark in front, unless the text has one there.
enum class PrependScheme { never, first, always };

struct Metaspace {
    bool active = false;
    PrependScheme scheme = PrependScheme::always;
    bool split = true;  // words begin at marks and no merge crosses them

    AlignedText apply(const AlignedView& in, bool at_start, bool track) const {
        AlignedText marked = spaces_to_marks(in, track);
        const bool wanted = scheme == PrependScheme::always || (scheme == PrependScheme::first && at_start);
        if (!wanted || marked.text.starts_with(kSpaceMark)) return marked;
        return with_prefix(kSpaceMark, marked.view(), track);
    }
    /// Where the word that begins at `at` ends.
    std::size_t word_end(std::string_view text, std::size_t at) const {
        if (!split) return text.size();
        const std::size_t skip = text.substr(at).starts_with(kSpaceMark) ? kSpaceMark.size() : 0;
        return std::min(text.find(kSpaceMark, at + skip), text.size());
    }
};

}  // namespace moegrad
