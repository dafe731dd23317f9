// Expected answers are those of Python's re.fullmatch.

#include <doctest/doctest.h>

#include <moegrad/train/adapter_modules.hpp>
#include <moegrad/train/adapter_pattern.hpp>

#include "io/support.hpp"

using namespace moegrad;

TEST_CASE("name pattern: whole names, as re.fullmatch says") {
    struct Case {
        const char *pattern, *name;
        bool matches;
    };
    for (const Case& one : std::vector<Case>{
             {"q_proj", "q_proj", true},
             {"q_proj", "a.q_proj", false},
             {".*\\.(q|v)_proj", "model.layers.0.self_attn.v_proj", true},
             {".*\\.(q|v)_proj", "model.layers.0.self_attn.k_proj", false},
             {".*q_proj$", "x.q_proj", true},
             {"^x.q_proj", "x.q_proj", true},
             {"a^b", "ab", false},
             {"model\\.layers\\.\\d+\\.mlp", "model.layers.17.mlp", true},
             {"model\\.layers\\.\\d+\\.mlp", "model.layers.x.mlp", false},
             {"model.layers.[\\d]{1,}.mlp", "model.layers.123.mlp", true},
             {"layers\\.(?:[02468]|1[0-5])\\..*", "layers.13.x", true},
             {"layers\\.(?:[02468]|1[0-5])\\..*", "layers.17.x", false},
             {".*?(?:self_attn|mlp).*?(?:q_proj|w[1-3]).*?", "model.layers.0.mlp.experts.3.w2", true},
             {"\\bmodel\\b.*", "model.x", true},
             {"\\bmodel\\b.*", "models.x", false},
             {"[^.]+\\.w", "abc.w", true},
             {"[^.]+\\.w", "a.b.w", false},
             {"[]a]+", "]a]", true},
             {"[a-]+", "a-a", true},
             {"a{2,3}", "a", false},
             {"a{2,3}", "aaa", true},
             {"a{2,3}", "aaaa", false},
             {"(?P<n>ab)*c?", "ababc", true},
             {"(a*)*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaac", false},
             {"(a|aa)+", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab", false},
             {"a||b", "", true},
             {"", "", true},
             {"\\w+\\s?\\W", "ab -", true},
             {"\\D\\S", "x1", true}}) {
        CAPTURE(one.pattern);
        CAPTURE(one.name);
        CHECK(NamePattern(one.pattern, "here").matches(one.name) == one.matches);
    }
}

TEST_CASE("name pattern: what is not there is refused, nothing runs away") {
    for (const char* pattern :
         {"(?=a)", "(?!a)", "(?<=a)b", "(?i)a", "(a", "a)", "[a", "a\\", "*a", "a**", "a{3,2}", "a{1000}",
          "\\1", "\\p{L}", "(?P<n", "[b-a]", "a{", "(a{999}){999}"}) {
        CAPTURE(pattern);
        io_test::expect_error(ErrorCode::unsupported, "target_modules",
                              [&] { NamePattern(pattern, "target_modules"); });
    }
    io_test::expect_error(ErrorCode::unsupported, "less deep",
                          [] { NamePattern(std::string(1000, '(') + std::string(1000, ')'), "here"); });
    io_test::expect_error(ErrorCode::unsupported, "shorter",
                          [] { NamePattern(std::string(5000, 'a'), "here"); });
    // Each pattern fits, a hundred of them would take seconds: together they have an end.
    std::string ranks;
    for (int i = 0; i < 100; ++i)
        ranks += moegrad::format("{}\"((a{{99}}b{{{}}}){{99}}|q_proj)\": 2", i > 0 ? ", " : "", i + 1);
    const Json json = parse_json("{\"rank_pattern\": {" + ranks + "}}", "here");
    io_test::expect_error(ErrorCode::unsupported, "repeat less",
                          [&] { moegrad::detail::NumberPatterns(JsonRef(json, "here"), "rank_pattern"); });
    ranks.clear();
    for (int i = 0; i < 3000; ++i)
        ranks += moegrad::format("{}\"model.layers.{}.self_attn.q_proj\": 2", i > 0 ? ", " : "", i);
    const Json many = parse_json("{\"rank_pattern\": {" + ranks + "}}", "here");
    CHECK_NOTHROW(moegrad::detail::NumberPatterns(JsonRef(many, "here"), "rank_pattern"));
}
