#pragma once
// UnicodeRegex through PCRE2 10.40 or later, where MOEGRAD_HAVE_PCRE2 says that it is there. UTF and UCP, compiled to
// machine code where the machine allows.
// The steps of a search are bounded, and so is its time: first every start gets kFreeSteps, which is linear over all; where
// one of them needs more, starts are tried one by one with limits that double, paid from a budget that grows with the
// text. Nested quantifiers and quadratic patterns end there in an Error.

#include <moegrad/io/unicode_regex.hpp>

#ifdef MOEGRAD_HAVE_PCRE2
#include <moegrad/core/format.hpp>
#include <moegrad/io/unicode_pattern.hpp>
#include <moegrad/io/utf8.hpp>

#ifndef PCRE2_CODE_UNIT_WIDTH
#define PCRE2_CODE_UNIT_WIDTH 8
#endif
#include <pcre2.h>
#if PCRE2_MAJOR * 100 + PCRE2_MINOR < 1040
#error "moegrad: PCRE2 10.40 or later, for \\p{Alphabetic} and \\p{White_Space}"
#endif

#include <cstdint>
#include <utility>

namespace moegrad {

class Pcre2Regex final : public UnicodeRegex {
public:
    Pcre2Regex(const std::string& pattern, std::string place) : place_(std::move(place)) {
        const std::string translated = PatternTranslator(pattern, place_).translate();
        int code = 0;
        std::size_t offset = 0;
        const Owner<pcre2_compile_context_8, pcre2_compile_context_free_8> context(
            pcre2_compile_context_create_8(nullptr));
        pcre2_set_newline_8(context.get(), PCRE2_NEWLINE_LF);
        pcre2_set_parens_nest_limit_8(context.get(), 64);
        code_.reset(pcre2_compile_8(reinterpret_cast<PCRE2_SPTR8>(translated.data()), translated.size(),
                                    PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &code, &offset,
                                    context.get()));
        if (!code_)
            throw Error{ErrorCode::format, place_, "a regular expression",
                        moegrad::format("{} at byte {} of \"{}\"", message(code), offset,
                                        printable(translated, 200))};
        pcre2_jit_compile_8(code_.get(), PCRE2_JIT_COMPLETE);
    }

    std::optional<RegexMatch> find(std::string_view text, std::size_t from,
                                   RegexBudget& budget) const override {
        Search search(text);
        const int result = search.run(*this, from, kFreeSteps, 0);
        if (result >= 0) return search.match();
        if (result == PCRE2_ERROR_NOMATCH) return std::nullopt;
        require_limit(result);
        return find_slowly(search, from, budget);
    }

private:
    template <class T, void (*free)(T*)>
    struct Free {
        void operator()(T* pointer) const { free(pointer); }
    };
    template <class T, void (*free)(T*)>
    using Owner = std::unique_ptr<T, Free<T, free>>;

    static constexpr std::uint32_t kFreeSteps = 1024;
    static constexpr std::uint32_t kMostSteps = 1u << 30;

    /// Scratch space of a thread: no pattern needs more than the pair of the whole match.
    struct Scratch {
        Owner<pcre2_match_data_8, pcre2_match_data_free_8> data{pcre2_match_data_create_8(1, nullptr)};
        Owner<pcre2_match_context_8, pcre2_match_context_free_8> context{
            pcre2_match_context_create_8(nullptr)};
    };

    class Search {
    public:
        explicit Search(std::string_view text) : text_(text), scratch_(scratch()) {}
        int run(const Pcre2Regex& regex, std::size_t from, std::uint32_t steps, std::uint32_t options) {
            pcre2_set_match_limit_8(scratch_.context.get(), steps);
            pcre2_set_depth_limit_8(scratch_.context.get(), steps);
            pcre2_set_heap_limit_8(scratch_.context.get(), kHeapKibibytes);
            const auto go = [&](std::uint32_t more) {
                return pcre2_match_8(regex.code_.get(), reinterpret_cast<PCRE2_SPTR8>(text_.data()),
                                     text_.size(), from, PCRE2_NO_UTF_CHECK | options | more,
                                     scratch_.data.get(), scratch_.context.get());
            };
            // Machine code has a small stack; the interpreter takes from the heap.
            const int result = go(0);
            return result == PCRE2_ERROR_JIT_STACKLIMIT ? go(PCRE2_NO_JIT) : result;
        }
        RegexMatch match() const {
            const std::size_t* pair = pcre2_get_ovector_pointer_8(scratch_.data.get());
            return {pair[0], pair[1]};
        }
        std::string_view text() const { return text_; }

    private:
        static constexpr std::uint32_t kHeapKibibytes = 1u << 18;
        static Scratch& scratch() {
            thread_local Scratch one;
            return one;
        }
        std::string_view text_;
        Scratch& scratch_;
    };

    /// Start by start.
    std::optional<RegexMatch> find_slowly(Search& search, std::size_t from, RegexBudget& budget) const {
        const std::string_view text = search.text();
        for (std::size_t at = from; at <= text.size();) {
            for (std::uint32_t steps = kFreeSteps;; steps *= 2) {
                const int result = search.run(*this, at, steps, PCRE2_ANCHORED);
                if (result >= 0) return search.match();
                if (result == PCRE2_ERROR_NOMATCH) break;
                require_limit(result);
                if (steps > budget.steps || steps >= kMostSteps) over_budget(text, at);
                budget.steps -= steps;
            }
            at += at < text.size() ? utf8_unit(text, at).length : 1;
        }
        return std::nullopt;
    }

    void require_limit(int result) const {
        if (result == PCRE2_ERROR_MATCHLIMIT || result == PCRE2_ERROR_DEPTHLIMIT) return;
        throw Error{ErrorCode::data, place_, "a text that this pattern can be looked for in",
                    message(result)};
    }
    [[noreturn]] void over_budget(std::string_view text, std::size_t at) const {
        throw Error{ErrorCode::data, place_, "a search within the budget of steps",
                    moegrad::format("more, at byte {} of {} (\"{}\")", at, text.size(),
                                    printable(text.substr(at, 40))),
                    "the pattern takes exponential or quadratic time on this text"};
    }
    static std::string message(int code) {
        unsigned char text[256] = {};
        pcre2_get_error_message_8(code, text, sizeof text);
        return reinterpret_cast<const char*>(text);
    }

    std::string place_;
    Owner<pcre2_code_8, pcre2_code_free_8> code_;
};

inline const bool pcre2_in_slot = [] {
    regex_slot() = [](const std::string& pattern,
                      const std::string& place) -> std::shared_ptr<const UnicodeRegex> {
        return std::make_shared<Pcre2Regex>(pattern, place);
    };
    return true;
}();

}  // namespace moegrad
#endif
