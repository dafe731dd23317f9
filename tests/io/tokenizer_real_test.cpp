#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include <moegrad/io/tokenizer_json.hpp>

#include "support.hpp"
#include "tokenizer_support.hpp"

using namespace moegrad;
using Ids = std::vector<std::int32_t>;

namespace {

Ids parse_ids(const std::string& line) {
    Ids ids;
    for (std::size_t at = 0; at < line.size();) {
        const std::size_t space = std::min(line.find(' ', at), line.size());
        if (space > at) ids.push_back(std::stoi(line.substr(at, space - at)));
        at = space + 1;
    }
    return ids;
}

std::vector<std::string> split_text(const std::string& text, const std::string& separator) {
    std::vector<std::string> parts;
    std::size_t begin = 0;
    for (std::size_t at = text.find(separator); at != std::string::npos; at = text.find(separator, begin)) {
        parts.push_back(text.substr(begin, at - begin));
        begin = at + separator.size();
    }
    parts.push_back(text.substr(begin));
    return parts;
}

Ids integers(const Json& json) {
    Ids ids;
    for (const Json& id : *json.array()) ids.push_back(static_cast<std::int32_t>(*id.integer()));
    return ids;
}

}  // namespace

TEST_CASE("tokenizer: stories260K, real texts and ids") {
    io_test::Inputs inputs;
    const std::string folder = inputs.shared("data/models/stories260K-llama");
    if (folder.empty()) return;
    const Tokenizer tokenizer = load_tokenizer(folder);
    CHECK(tokenizer.vocab_size() == 512);
    CHECK(tokenizer.encode("") == Ids{1});
    int equal = 0, round_trips = 0;
    for (const std::string& line : split_text(io_test::read_text(folder + "/stories_64.jsonl"), "\n")) {
        if (line.empty()) continue;
        const Json story = parse_json(line, "stories_64.jsonl");
        const std::string& text = *story.find("text")->string();
        Ids ids = tokenizer.encode(text);
        round_trips += tokenizer.decode(ids) == text;
        CHECK(static_cast<std::int64_t>(ids.size()) == story.find("n_ids")->integer());
        ids.resize(std::min<std::size_t>(ids.size(), 256));
        equal += ids == integers(*story.find("input_ids"));
    }
    CHECK(equal == 64);
    CHECK(round_trips == 64);
    const Json expected = parse_json_file(folder + "/expected_tokens.json");
    const Ids greedy = integers(*expected.find("greedy_ids"));
    const std::string wanted = io_test::read_text(folder + "/expected_greedy_200.txt");
    CHECK(greedy.size() == 200);
    CHECK(tokenizer.decode(greedy) == wanted);
    Detokenizer stream(tokenizer);
    std::string streamed;
    for (const std::int32_t id : greedy) streamed += stream.push(id);
    CHECK(streamed + stream.finish() == wanted);
}

TEST_CASE("tokenizer: Llama 2, llama.cpp's 47 vectors") {
    io_test::Inputs inputs;
    const std::string model = inputs.data("tokenizers/llama2/tokenizer.model");
    const std::string texts = inputs.data("tokenizers/vectors/llama-spm.inp");
    const std::string ids = inputs.data("tokenizers/vectors/llama-spm.out");
    if (model.empty() || texts.empty() || ids.empty()) return;
    const auto pieces = io_test::read_sentencepiece(io_test::read_text(model));
    REQUIRE(pieces.size() == 32000);
    const Tokenizer tokenizer = io_test::text_of_sentencepiece(pieces).build();
    const auto cases = split_text(io_test::read_text(texts), "\n__ggml_vocab_test__\n");
    const auto lines = split_text(io_test::read_text(ids), "\n");
    REQUIRE(cases.size() == 47);
    REQUIRE(lines.size() >= 47);
    int equal = 0;
    for (std::size_t i = 0; i < cases.size(); ++i)
        equal += tokenizer.encode(cases[i], {.add_special = false}) == parse_ids(lines[i]);
    CHECK(equal == 47);
}
