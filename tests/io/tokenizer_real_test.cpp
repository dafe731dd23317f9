#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include <moegrad/io/tokenizer_json.hpp>
#include <moegrad/io/tokenizer_make.hpp>

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

struct Vectors {
    std::vector<std::string> texts;
    std::vector<Ids> ids;
};

/// llama.cpp's 47 texts and the ids of one tokenizer; nothing when they are absent.
Vectors vectors(io_test::Inputs& inputs, const std::string& name) {
    const std::string texts = inputs.data("tokenizers/vectors/" + name + ".inp");
    const std::string ids = inputs.data("tokenizers/vectors/" + name + ".out");
    if (texts.empty() || ids.empty()) return {};
    Vectors out{split_text(io_test::read_text(texts), "\n__ggml_vocab_test__\n"), {}};
    const auto lines = split_text(io_test::read_text(ids), "\n");
    REQUIRE(out.texts.size() == 47);
    REQUIRE(lines.size() >= 47);
    for (std::size_t i = 0; i < 47; ++i) out.ids.push_back(parse_ids(lines[i]));
    return out;
}

/// The texts are what users write: special tokens in them stay text.
void check_vectors(const Tokenizer& tokenizer, const Vectors& wanted) {
    int encoded = 0, decoded = 0, ended = 0;
    for (std::size_t i = 0; i < wanted.texts.size(); ++i) {
        const EncodedText ours = tokenizer.encode_with_ends(wanted.texts[i], {.add_special = false});
        encoded += ours.ids == wanted.ids[i];
        decoded += tokenizer.decode(wanted.ids[i]) == wanted.texts[i];
        ended += ours.ends.empty() ? wanted.texts[i].empty() : ours.ends.back() == wanted.texts[i].size();
    }
    CHECK(encoded == 47);
    CHECK(decoded == 47);
    CHECK(ended == 47);
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
    const Vectors wanted = vectors(inputs, "llama-spm");
    if (model.empty() || wanted.ids.empty()) return;
    const auto pieces = io_test::read_sentencepiece(io_test::read_text(model));
    REQUIRE(pieces.size() == 32000);
    check_vectors(io_test::text_of_sentencepiece(pieces).build(), wanted);
#ifdef MOEGRAD_HAVE_SENTENCEPIECE
    check_vectors(load_tokenizer(inputs.data("tokenizers/llama2")), wanted);
#endif
}

#if defined(MOEGRAD_HAVE_PCRE2) && defined(MOEGRAD_HAVE_UTF8PROC)

TEST_CASE("tokenizer: GPT-2, llama.cpp's 47 vectors") {
    io_test::Inputs inputs;
    const std::string folder = inputs.data("tokenizers/gpt2");
    const Vectors wanted = vectors(inputs, "gpt-2");
    if (folder.empty() || wanted.ids.empty()) return;
    check_vectors(load_tokenizer(folder), wanted);
    const MadeTokenizer made = make_tokenizer("gpt-2", {folder + "/encoder.json", folder + "/vocab.bpe"});
    CHECK(made.notes.empty());
    check_vectors(parse_tokenizer(made.json, "made"), wanted);
}

TEST_CASE("tokenizer: Llama 3, llama.cpp's 47 vectors") {
    io_test::Inputs inputs;
    const std::string ranks = inputs.data("tokenizers/llama3/tokenizer.model");
    const Vectors wanted = vectors(inputs, "llama-bpe");
    if (ranks.empty() || wanted.ids.empty()) return;
    const Tokenizer tokenizer = parse_tokenizer(make_tokenizer("llama-3", {ranks}).json, "made");
    check_vectors(tokenizer, wanted);
    CHECK(tokenizer.vocab_size() == 128256);
    CHECK(tokenizer.token_to_id("<|begin_of_text|>") == 128000);
    CHECK(tokenizer.token_to_id("<|eot_id|>") == 128009);
}

TEST_CASE("tokenizer: Qwen 3, llama.cpp's 47 vectors of Qwen 2") {
    io_test::Inputs inputs;
    const std::string folder = inputs.data("tokenizers/qwen3");
    const Vectors wanted = vectors(inputs, "qwen2");
    if (folder.empty() || wanted.ids.empty()) return;
    const MadeTokenizer made = make_tokenizer("qwen2", {folder + "/vocab.txt", folder + "/merges.txt"});
    REQUIRE(made.notes.size() == 1);  // this copy of merges.txt has lost its last line
    CHECK(made.notes[0].find("151642") != std::string::npos);
    const Tokenizer tokenizer = parse_tokenizer(made.json, "made");
    check_vectors(tokenizer, wanted);
    CHECK(tokenizer.encode("\u2F57") == Ids{151642});
    CHECK(tokenizer.vocab_size() == 151669);
    CHECK(tokenizer.token_to_id("<|im_start|>") == 151644);
}

#endif

#if defined(MOEGRAD_HAVE_PCRE2) && defined(MOEGRAD_HAVE_UTF8PROC) && defined(MOEGRAD_HAVE_SENTENCEPIECE)

namespace {

/// Pieces of the file: cut at single newlines before "#", which are left out.
std::vector<std::string> wikipedia_pieces(const std::string& text) {
    std::vector<std::string> pieces;
    std::size_t begin = 0;
    for (std::size_t at = 1; at + 1 < text.size(); ++at) {
        if (text[at] != '\n' || text[at + 1] != '#' || text[at - 1] == '\n') continue;
        pieces.push_back(text.substr(begin, at - begin));
        begin = at + 1;
    }
    pieces.push_back(text.substr(begin));
    return pieces;
}

/// How often each id went through the first layer of the model: counts of its experts over k.
std::map<std::int32_t, std::int64_t> routed_tokens(const Json& model, std::int64_t k) {
    std::map<std::int32_t, std::int64_t> tokens;
    for (const JsonMember& token : *model.find("layer 0")->members()) {
        std::int64_t sum = 0;
        for (const Json& expert : *token.value.array()) sum += *(*expert.array())[1].integer();
        CHECK(sum % k == 0);
        tokens[std::stoi(token.key)] = sum / k;
    }
    return tokens;
}

}  // namespace

// The counts were taken by others, with the tokenizers of the models (recipe: README of the data).
TEST_CASE("tokenizer: OLMoE and Mixtral, the tokens behind published routing counts") {
    io_test::Inputs inputs;
    const std::string text = inputs.data("text/olmoe_domains/wikipedia_texts.txt");
    const std::string counts = inputs.data("routing/moe_token_to_expert_wikipedia.json");
    const std::string olmoe = inputs.data("tokenizers/olmoe"), mixtral = inputs.data("tokenizers/mistral_v1");
    if (text.empty() || counts.empty() || olmoe.empty() || mixtral.empty()) return;
    const Json json = parse_json_file(counts);
    const auto pieces = wikipedia_pieces(io_test::read_text(text));
    const auto check = [&](const std::string& folder, const char* name, std::int64_t k) {
        const Tokenizer tokenizer = load_tokenizer(folder);
        std::map<std::int32_t, std::int64_t> ours;
        std::size_t left = 208'896;
        for (const std::string& piece : pieces)
            for (const std::int32_t id : tokenizer.encode(piece))
                if (left > 0) {
                    ++ours[id];
                    --left;
                }
        CHECK(left == 0);
        CHECK(ours == routed_tokens(*json.find(name), k));
    };
    check(olmoe, "olmoe", 8);
    check(mixtral, "mistral", 2);  // without tokenizer_config.json: <s> before each piece
}

#endif
