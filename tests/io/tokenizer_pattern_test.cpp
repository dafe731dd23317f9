#include <doctest/doctest.h>

#include <algorithm>
#include <ctime>
#include <string>
#include <utility>
#include <vector>

#include <moegrad/io/tokenizer_json.hpp>
#include <moegrad/io/tokenizer_make.hpp>
#include <moegrad/io/unicode_pattern.hpp>

#include "support.hpp"
#include "tokenizer_support.hpp"

using namespace moegrad;
using io_test::expect_error;

TEST_CASE("pattern: what is rewritten for PCRE2") {
    const std::pair<const char*, const char*> cases[] = {
        {R"(\s+(?!\S)|[^\s\p{L}]?)", R"(\p{White_Space}+(?!\P{White_Space})|[^\p{White_Space}\p{L}]?)"},
        {R"(\w\W[\w.])",
         R"([\p{Alphabetic}\p{M}\p{Nd}\p{Pc}][^\p{Alphabetic}\p{M}\p{Nd}\p{Pc}][\p{Alphabetic}\p{M}\p{Nd}\p{Pc}.])"},
        {R"(^a$|[$^])", R"((?m:^)a(?m:$)|[$^])"},
        {R"(\p{Han}\P{Greek}\p{^Lu}\p{Alphabetic})", R"(\p{sc:Han}\P{sc:Greek}\p{^Lu}\p{Alphabetic})"},
        {R"(\u00e9\x41\x{1F600}[\u4e00-\u9fa5])", R"(\x{00e9}\x{41}\x{1F600}[\x{4e00}-\x{9fa5}])"},
        {R"((?i:'s)(?=a)(?!b)(?<=c)(?<!d)(?>e)(?:f)(g)h{2}i{2,}j{2,3}k{2,3}?l?+m*?)",
         R"((?i:'s)(?=a)(?!b)(?<=c)(?<!d)(?>e)(?:f)(g)h{2}i{2,}j{2,3}k{2,3}?l?+m*?)"},
        {R"((?i)a\.\[\\\]\-\/ \d\D\r\n\t)", R"((?i)a\.\[\\\]\-\/ \d\D\r\n\t)"},
        {"漢|[é-ü]", "漢|[é-ü]"},
    };
    for (const auto& [from, to] : cases) CHECK(PatternTranslator(from, "here").translate() == to);
}

TEST_CASE("pattern: what another engine reads otherwise is refused by name") {
    const std::pair<const char*, const char*> cases[] = {
        {"[a[b]]", "in a class"}, {"[a&&b]", "&&"},           {"[[:alpha:]]", "in a class"},
        {"[]a]", "first"},        {"[a", "end of a class"},   {"a{1,3}+", "{1,3}+"},
        {"a{3}?", "{3}?"},        {"a{,3}", "another brace"}, {"a{", "another brace"},
        {R"((a)\1)", "\\1"},      {R"(\k<a>)", "\\k"},        {R"(\h)", "\\h"},
        {R"(\v)", "\\v"},         {R"(\R)", "\\R"},           {R"(\X)", "\\X"},
        {R"(\G)", "\\G"},         {R"(\K)", "\\K"},           {R"(\b)", "\\b"},
        {R"([\W])", "\\W"},       {"(?<n>a)", "(?<n"},        {"(?s:.)", "(?s:"},
        {"a(?i)b", "(?i)"},       {"(?#x)", "(?#x"},          {"(*UTF)a", "(*"},
        {R"(\p{L)", "\\p{"},      {R"(\pL)", "\\pL"},         {R"(\p{Lx})", "Lx"},
        {R"(\x{)", "\\xHH"},      {R"(\xE9)", "\\xHH"},       {R"(\u12)", "\\u12"},
        {"a\\", "escape"},        {R"(\é)", "escape"},        {"\xFF", "UTF-8"},
    };
    for (const auto& [pattern, words] : cases) {
        CAPTURE(std::string(pattern));
        expect_error(ErrorCode::unsupported, words,
                     [&, text = pattern] { static_cast<void>(PatternTranslator(text, "here").translate()); });
    }
    expect_error(ErrorCode::unsupported, "16384 bytes",
                 [] { static_cast<void>(PatternTranslator(std::string(100'000, 'a'), "here").translate()); });
}

#ifdef MOEGRAD_HAVE_PCRE2

namespace {

std::vector<std::string> pieces(const std::string& pattern, const std::string& text) {
    std::vector<std::string> out;
    for (const TextRange& range : cut_text({{make_regex(pattern, "here"), {}}}, text))
        out.push_back(text.substr(range.begin, range.end - range.begin));
    return out;
}

double seconds(const std::string& pattern, const std::string& text, std::size_t least) {
    const auto regex = make_regex(pattern, "here");
    double best = 1e9;
    for (int i = 0; i < 3; ++i) {
        const std::clock_t start = std::clock();  // of this process: other work on the machine does not count
        CHECK(cut_text({{regex, {}}}, text).size() >= least);
        best = std::min(best, static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC);
    }
    return best;
}

}  // namespace

TEST_CASE("pattern: words") {
    using Words = std::vector<std::string>;
    CHECK(pieces(std::string(kGpt2Pattern), "It's 2  days") == Words{"It", "'s", " 2", " ", " days"});
    CHECK(pieces(std::string(kLlama3Pattern), "IT'S 12345\n\n x") ==
          Words{"IT", "'S", " ", "123", "45", "\n\n", " x"});
    CHECK(pieces(std::string(kQwen2Pattern), "a 12") == Words{"a", " ", "1", "2"});
    CHECK(pieces(R"(\s+)", "a\u180e b\u0085c") == Words{"a\u180e", " ", "b", "\u0085", "c"});
    CHECK(pieces(R"(\p{Han}+)", "漢、字") ==
          Words{"漢", "、", "字"});  // the comma is common, shared by scripts
    CHECK(pieces(R"(\w+)", "e\u0301_\u24d0!") == Words{"e\u0301_\u24d0", "!"});
    CHECK(pieces(R"((?<=a)b)", "abb") == Words{"a", "b", "b"});
}

TEST_CASE("pattern: a search that takes too long is an error, not a wait") {
    const auto over = [](const std::string& pattern, const std::string& text) {
        const auto regex = make_regex(pattern, "pre_tokenizer.pattern.Regex");
        expect_error(ErrorCode::data, "pre_tokenizer.pattern.Regex", [&] { cut_text({{regex, {}}}, text); });
    };
    over("(a+)+$", std::string(40, 'a') + "b");
    over("(?:a|aa)+$", std::string(60, 'a') + "b");
    over("(?:a|a)*[cd]", std::string(60, 'a') + "b");
    over("\\s+$", std::string(20'000, ' ') + "b");
    std::string runs;  // none of which is too long alone
    for (int i = 0; i < 30; ++i) runs += std::string(2000, ' ') + "b";
    over("\\s+$", runs);
    over("(?:a|b)*(?:a|b)*(?:a|b)*[cd]", std::string(3000, 'a'));
    // Long, but linear.
    CHECK(pieces("(?:a|b)+", std::string(300'000, 'a')).size() == 1);
    CHECK(pieces(std::string(kLlama3Pattern), runs).size() == 60);
    CHECK(pieces("(a+)+$", std::string(40, 'a')).size() == 1);
}

TEST_CASE("pattern: malformed ones") {
    for (const char* pattern :
         {"(", ")", "*a", "a**", "(?<=a+)b", "[z-a]", "a{3,1}", "a{99999}", R"(\p{Nowhere})"}) {
        CAPTURE(std::string(pattern));
        expect_error(ErrorCode::format, "here", [&] { make_regex(pattern, "here"); });
    }
    std::string deep;
    for (int i = 0; i < 5000; ++i) deep += "(";
    expect_error(ErrorCode::format, "here", [&] { make_regex(deep, "here"); });
    std::string wide = "a";
    for (int i = 0; i < 6; ++i) wide = "(?:" + wide + "){1000}";
    expect_error(ErrorCode::format, "too large", [&] { make_regex(wide, "here"); });
}

TEST_CASE("pattern: time grows with the text") {
    const std::string texts[] = {"a", " ", "\n", "1", "a ", "' ", "漢", "\u0301"};
    for (const std::string_view pattern : {kGpt2Pattern, kLlama3Pattern, kQwen2Pattern})
        for (const std::string& unit : texts) {
            std::string text;
            while (text.size() < (std::size_t{1} << 15)) text += unit;
            std::string longer = text;
            for (int i = 0; i < 7; ++i) longer += text;
            const double small = seconds(std::string(pattern), text, 1);
            CHECK(seconds(std::string(pattern), longer + "b", 1) < 8 * 3 * small + 0.02);
        }
}

#endif
