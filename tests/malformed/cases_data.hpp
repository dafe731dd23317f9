#pragma once
// K12: training data. Every error names file:line.

#include <io/tokenizer_support.hpp>
#include <malformed/case.hpp>

namespace malformed {

inline Files data_file(std::string content, const std::string& name = "data.jsonl") {
    return {{name, std::move(content)}};
}

inline Cases data_cases() {
    Cases cases;
    const std::string text = R"({"text":"a b"})", pair = R"({"prompt":"a","completion":" b"})";
    const std::string choice = R"({"question":"a","choices":["b","c"],"answer":)";
    const std::string chat =
        R"({"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]})";
    const auto bad = [&](const char* id, const char* what, std::string content, const char* place,
                         const char* words, const std::string& good, ErrorCode code = ErrorCode::data) {
        cases.push_back({id, what, Reader::data, data_file(std::move(content)), data_file(good + "\n"), code,
                         std::string("data.jsonl") + place, words});
    };
    const ErrorCode format = ErrorCode::format;
    bad("K12", "empty file", "", "", "at least one record", text);
    bad("K12b", "only empty lines", "\n\n \n", "", "at least one record", text);
    bad("K12c", "invalid UTF-8 in line 2", text + "\n{\"text\":\"\xFF\"}\n", ":2", "valid JSON", text,
        format);
    bad("K12d", "byte order mark", "\xEF\xBB\xBF" + text, ":1", "byte order mark", text, format);
    bad("K12e", "a line cut in the middle", text + "\n" + text.substr(0, 8), ":2", "valid JSON", text,
        format);
    bad("K12f", "two objects in a line", text + text, ":1", "valid JSON", text, format);
    bad("K12g", "a line that is an array", "[1]", ":1", "an object", text);
    bad("K12h", "keys of no format", R"({"body":"a"})", ":1", "body", text);
    bad("K12i", "no completion in line 2", pair + "\n{\"prompt\":\"a\"}", ":2: completion", "no such key",
        pair);
    bad("K12j", "a completion that is a number", R"({"prompt":"a","completion":7})", ":1: completion",
        "a string", pair);
    bad("K12k", "an empty completion", R"({"prompt":"a","completion":""})", ":1: completion", "text", pair);
    bad("K12l", "a key twice", R"({"text":"a","text":"b"})", ":1", "\"text\" twice", text, format);
    bad("K12m", "one id for two records",
        R"({"id":"x","text":"a"})"
        "\n"
        R"({"id":"x","text":"b"})",
        ":2", "which", text);
    bad("K12n", "an answer behind the choices", choice + "2}", ":1: answer", "an integer in 0..1",
        choice + "1}");
    bad("K12o", "a negative answer", choice + "-1}", ":1: answer", "an integer in 0..1", choice + "0}");
    bad("K12p", "an answer of 1.0", choice + "1.0}", ":1: answer", "an integer in 0..1", choice + "1}");
    bad("K12q", "one choice", R"({"question":"a","choices":["b"],"answer":0})", ":1: choices", "2 to 26",
        choice + "0}");
    bad("K12r", "NUL in a line", std::string("{\"text\":\"a\0b\"}", 14), ":1", "NUL", text, format);
    bad("K12s", "nested 17 deep", "{\"text\":" + std::string(17, '['), ":1", "16 deep", text, format);
    bad("K12t", "a line of 65 MB", "{\"text\":\"" + std::string(65u << 20, 'a') + "\"}", ":1",
        "bytes of JSON", text, format);
    bad("K12u", "more tokens than max_length", "{\"text\":\"" + std::string(4000, 'c') + "\"}",
        ":1: record 1", "at most 256 tokens", text);
    bad("K12v", "no message", R"({"messages":[]})", ":1: messages", "at least one message", chat);
    bad("K12w", "an unknown role", R"({"messages":[{"role":"tool","content":"a"}]})", ":1: messages[0].role",
        "assistant", chat);
    bad("K12x", "no supervised token", R"({"messages":[{"role":"user","content":"a"}]})", ":1",
        "at least one supervised token", chat);
    bad("K12y", "a lone surrogate", R"({"text":"\ud800"})", ":1", "surrogate", text, format);
    for (const char* ending : {"\r\n", "\n", "", "\n\n\n"})
        cases.push_back({moegrad::format("K12 end {}", cases.size()),
                         "CRLF, no line end, empty lines at the end",
                         Reader::data,
                         {},
                         data_file(text + ending)});
    return cases;
}

}  // namespace malformed
