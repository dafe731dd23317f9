#pragma once
// UnicodeRegex: the regular expressions of tokenizer.json, behind a seam. unicode_pcre2.hpp fills the slot where PCRE2 is
// there (macro MOEGRAD_HAVE_PCRE2); without it make_regex says which package brings it.

#include <moegrad/core/error.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace moegrad {

struct RegexMatch {
    std::size_t begin = 0, end = 0;
};

/// Steps that all searches in one text may take beyond those that are free.
struct RegexBudget {
    explicit RegexBudget(std::string_view text) : steps((std::uint64_t{1} << 20) + 64 * text.size()) {}
    std::uint64_t steps;
};

class UnicodeRegex {
public:
    virtual ~UnicodeRegex() = default;
    /// The leftmost match that begins at `from` or later; what lies before `from` is seen by look-behind only. `text` is
    /// valid UTF-8. Throws when the budget is spent.
    virtual std::optional<RegexMatch> find(std::string_view text, std::size_t from,
                                           RegexBudget& budget) const = 0;
};

/// `place` is the key that the pattern came from.
using MakeRegex = std::shared_ptr<const UnicodeRegex> (*)(const std::string& pattern,
                                                          const std::string& place);

inline MakeRegex& regex_slot() {
    static MakeRegex slot = nullptr;
    return slot;
}

inline std::shared_ptr<const UnicodeRegex> make_regex(const std::string& pattern, const std::string& place) {
    if (!regex_slot())
        throw Error{ErrorCode::unsupported, place, "a tokenizer that needs no regular expressions",
                    "one that does, in a build without PCRE2",
                    "install the Debian package libpcre2-dev and build again"};
    return regex_slot()(pattern, place);
}

}  // namespace moegrad
