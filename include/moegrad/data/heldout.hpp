#pragma once
// What is held out of a file, one rule for all that read it: of a text the end of what is left without its repeats, of
// records every n-th. HeldoutLeak says how much of it is trained on all the same; it knows nothing of the rule.

#include <moegrad/core/format.hpp>
#include <moegrad/core/view.hpp>
#include <moegrad/data/repeats.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <iterator>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

namespace moegrad {

/// A text without its repeats, cut in two after a line end.
struct TextParts {
    std::string text;
    std::size_t begin = 0;     // of what is held out
    std::size_t repeated = 0;  // bytes that were dropped

    std::string_view train() const { return std::string_view(text).substr(0, begin); }
    std::string_view heldout() const { return std::string_view(text).substr(begin); }
};

namespace detail {

/// Where the last `share` of a text begins, after a line end.
inline std::size_t heldout_begin(std::string_view text, double share) {
    const auto kept = static_cast<std::size_t>(std::floor(static_cast<double>(text.size()) * (1 - share)));
    const std::size_t line = share > 0 ? text.find('\n', kept) : std::string_view::npos;
    return line == std::string_view::npos ? text.size() : line + 1;
}

}  // namespace detail

/// The last `share` is held out.
inline TextParts split_text(std::string_view text, double share) {
    TextParts parts{.text = without_repeats(text)};
    parts.begin = detail::heldout_begin(parts.text, share);
    parts.repeated = text.size() - parts.text.size();
    return parts;
}

/// Of `parts` that are held out, `known` also stand in the training part.
struct HeldoutLeak {
    Index parts = 0, known = 0;
    double share() const { return parts == 0 ? 0 : static_cast<double>(known) / static_cast<double>(parts); }
};

inline constexpr std::size_t kLeakWindow = 200, kLeakStep = 100;
inline constexpr double kLeakWarning = 0.05;

namespace detail {

/// The hash of a window, b_0 m^(n-1) + .. + b_(n-1) mod 2^64, from that of the window one byte before.
class RollingHash {
public:
    explicit RollingHash(std::size_t width) : width_(width) {
        for (std::size_t i = 1; i < width; ++i) first_ *= kFactor;
    }
    std::uint64_t of(std::string_view window) const {
        std::uint64_t hash = 0;
        for (const char c : window) hash = hash * kFactor + byte(c);
        return hash;
    }
    /// From the window that begins at `at` to the next.
    std::uint64_t next(std::uint64_t hash, std::string_view text, std::size_t at) const {
        return (hash - first_ * byte(text[at])) * kFactor + byte(text[at + width_]);
    }

private:
    static constexpr std::uint64_t kFactor = 0x9e3779b97f4a7c15ull;
    static std::uint64_t byte(char c) { return static_cast<unsigned char>(c) + 1u; }
    std::size_t width_;
    std::uint64_t first_ = 1;  // m^(n-1)
};

}  // namespace detail

/// Windows of kLeakWindow bytes, one every kLeakStep; a text that is shorter is one window.
inline HeldoutLeak heldout_leak(std::string_view heldout, std::string_view train) {
    const std::size_t width = std::min(kLeakWindow, heldout.size());
    if (width == 0) return {};
    const detail::RollingHash rolling(width);
    HeldoutLeak leak;
    std::unordered_multimap<std::uint64_t, std::string_view> asked;
    std::vector<bool> some(std::size_t{1} << 20);  // by the first bits of a hash: most look-ups end here
    for (std::size_t at = 0; at + width <= heldout.size(); at += kLeakStep, ++leak.parts) {
        const std::string_view window = heldout.substr(at, width);
        asked.emplace(rolling.of(window), window);
        some[rolling.of(window) >> 44] = true;
    }
    std::uint64_t hash = rolling.of(train.substr(0, width));
    for (std::size_t at = 0; at + width <= train.size(); ++at) {
        const auto [first, end] =
            some[hash >> 44] ? asked.equal_range(hash) : std::pair(asked.end(), asked.end());
        for (auto found = first; found != end;) {
            const bool same = found->second == train.substr(at, width);
            leak.known += same;
            found = same ? asked.erase(found) : std::next(found);
        }
        if (at + width < train.size()) hash = rolling.next(hash, train, at);
    }
    return leak;
}

/// Records count where they are the same to the byte.
inline HeldoutLeak heldout_leak(std::span<const std::string> heldout, std::span<const std::string> train) {
    const std::unordered_set<std::string_view> known(train.begin(), train.end());
    HeldoutLeak leak{.parts = static_cast<Index>(heldout.size())};
    for (const std::string& record : heldout) leak.known += known.contains(record);
    return leak;
}

/// "held out: 76992 bytes, 0.0 % of it also stands in the training part"
inline std::string heldout_leak_text(std::size_t bytes, const HeldoutLeak& leak) {
    return moegrad::format("held out: {} bytes, {:.1f} % of it also stands in the training part{}", bytes,
                           100 * leak.share(),
                           leak.share() > kLeakWarning ? "; warning: figures on it show memory" : "");
}

}  // namespace moegrad
