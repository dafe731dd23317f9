#include <doctest/doctest.h>

#include <cstdint>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <moegrad/io/tokenizer_json.hpp>

#include "support.hpp"
#include "tokenizer_support.hpp"

using namespace moegrad;
using io_test::expect_error;
using io_test::TokenizerText;
using Ids = std::vector<std::int32_t>;

namespace {

constexpr EncodeOptions kParse{.add_special = true, .parse_special = true};

std::string metaspace(const std::string& scheme, bool split) {
    return moegrad::format(R"({{"type":"Metaspace","replacement":"▁","prepend_scheme":"{}","split":{}}})",
                           scheme, split);
}

}  // namespace

// Expected ids and texts of the small tokenizers: Hugging Face tokenizers 0.23.3 on the same tokenizer.json.
TEST_CASE("tokenizer: normalizer and Metaspace") {
    struct Case {
        const char* text;
        Ids legacy, first_split, first, always_split, always, never_split, never;
    };
    const Ids empty{1}, spaces{1, 268, 259}, two{1, 259, 259}, one{1, 268};
    const Case cases[] = {
        {"", empty, empty, empty, empty, empty, empty, empty},
        {"abc",
         {1, 259, 264},
         {1, 259, 264},
         {1, 259, 264},
         {1, 259, 264},
         {1, 259, 264},
         {1, 264},
         {1, 264}},
        {"a  b",
         {1, 265, 268, 261},
         {1, 265, 259, 259, 261},
         {1, 265, 268, 261},
         {1, 265, 259, 259, 261},
         {1, 265, 268, 261},
         {1, 260, 259, 259, 261},
         {1, 260, 268, 261}},
        {" ab", {1, 259, 266}, {1, 266}, {1, 266}, {1, 266}, {1, 266}, {1, 266}, {1, 266}},
        {"  ", spaces, two, one, two, one, two, one},
        {"ab<s>ab",
         {1, 266, 1, 266},
         {1, 266, 1, 263},
         {1, 266, 1, 263},
         {1, 266, 1, 266},
         {1, 266, 1, 266},
         {1, 263, 1, 263},
         {1, 263, 1, 263}},
        {"<s> a",
         {1, 1, 259, 265},
         {1, 1, 265},
         {1, 1, 265},
         {1, 1, 265},
         {1, 1, 265},
         {1, 1, 265},
         {1, 1, 265}},
    };
    const auto with = [](const std::string& scheme, bool split) {
        TokenizerText text;
        text.normalizer = "null";
        text.pre_tokenizer = metaspace(scheme, split);
        return text.build();
    };
    const Tokenizer legacy = TokenizerText().build();
    for (const Case& c : cases) {
        CAPTURE(std::string(c.text));
        CHECK(legacy.encode(c.text, kParse) == c.legacy);
        CHECK(with("first", true).encode(c.text, kParse) == c.first_split);
        CHECK(with("first", false).encode(c.text, kParse) == c.first);
        CHECK(with("always", true).encode(c.text, kParse) == c.always_split);
        CHECK(with("always", false).encode(c.text, kParse) == c.always);
        CHECK(with("never", true).encode(c.text, kParse) == c.never_split);
        CHECK(with("never", false).encode(c.text, kParse) == c.never);
    }
    CHECK(legacy.encode("é漢") == Ids{1, 259, 269, 233, 191, 165});  // byte fallback for the second character
    CHECK(legacy.encode("cc\n") == Ids{1, 259, 262, 262, 13});
    CHECK(legacy.encode("abc", {.add_special = false}) == Ids{259, 264});
}

TEST_CASE("tokenizer: added tokens") {
    TokenizerText text;
    text.added.pop_back();
    text.added += R"(,{"id":270,"content":"<l>","lstrip":true,"normalized":false},
        {"id":271,"content":"<r>","rstrip":true,"normalized":false,"special":true},
        {"id":272,"content":"cab","normalized":true},{"id":273,"content":"<l>b","normalized":false}])";
    const Tokenizer tokenizer = text.build();
    struct Case {
        const char* text;
        Ids ids;
        const char *skipped, *kept;
    };
    const Case cases[] = {
        {"a \t<l> a", {1, 265, 270, 259, 265}, "a<l>  a", "<s> a<l>  a"},
        {"a<r>\xE3\x80\x80 a", {1, 265, 271, 265}, "a a", "<s> a<r> a"},
        {"cab", {1, 272}, "cab", "<s> cab"},
        {"xcab", {1, 259, 123, 262, 263}, "xcab", "<s> xcab"},
        {" cab ab", {1, 259, 272, 266}, " cab ab", "<s>  cab ab"},
        {"<l>bc", {1, 273, 259, 262}, "<l>b c", "<s><l>b c"},
        {"<l> <r> <l>", {1, 270, 268, 271, 270}, "<l>  <l>", "<s><l>  <r><l>"},
        {"abcab", {1, 259, 264, 263}, "abcab", "<s> abcab"},
    };
    for (const Case& c : cases) {
        CAPTURE(std::string(c.text));
        CHECK(tokenizer.encode(c.text, kParse) == c.ids);
        CHECK(tokenizer.decode(c.ids) == c.skipped);
        CHECK(tokenizer.decode(c.ids, DecodeSpecial::keep) == c.kept);
    }
    CHECK(tokenizer.vocab_size() == 274);
    CHECK(tokenizer.token_to_id("cab") == 272);
    CHECK(tokenizer.id_to_piece(273) == "<l>b");
    CHECK(tokenizer.token_to_id("nothing") == -1);
    // Special tokens written in untrusted text stay text unless asked for; those that are not special are always found.
    CHECK(tokenizer.encode("ab<s>") == Ids{1, 266, 3 + '<', 3 + 's', 3 + '>'});
    CHECK(tokenizer.encode("ab<l>") == Ids{1, 266, 270});
}

TEST_CASE("tokenizer: decoding") {
    const Tokenizer tokenizer = TokenizerText().build();
    struct Case {
        Ids ids;
        const char *skipped, *kept;
    };
    const Case cases[] = {
        {{}, "", ""},
        {{1, 265}, "a", "<s> a"},
        {{259, 265}, " a", " a"},
        {{1, 265, 2}, "a", "<s> a</s>"},
        {{233, 191, 165, 260}, "漢a", "漢a"},
        {{233, 191, 260},
         "\xEF\xBF\xBD\xEF\xBF\xBD"
         "a",
         "\xEF\xBF\xBD\xEF\xBF\xBD"
         "a"},
        {{100, 260}, "aa", "aa"},
        {{233, 1, 191, 165}, "漢", "\xEF\xBF\xBD<s>\xEF\xBF\xBD\xEF\xBF\xBD"},
    };
    for (const Case& c : cases) {
        CHECK(tokenizer.decode(c.ids) == c.skipped);
        CHECK(tokenizer.decode(c.ids, DecodeSpecial::keep) == c.kept);
    }
    expect_error(ErrorCode::value, "270", [&] { tokenizer.decode(Ids{270}); });
    expect_error(ErrorCode::value, "-1", [&] { tokenizer.decode(Ids{-1}); });
    TokenizerText other;
    other.decoder = metaspace("always", true);
    CHECK(other.build().decode(Ids{268, 265, 13}) ==
          " a<0x0A>");  // first piece loses all marks, no byte fallback
    other.decoder = metaspace("never", true);
    CHECK(other.build().decode(Ids{268, 265}) == "   a");
}

TEST_CASE("tokenizer: text that is not UTF-8 becomes byte pieces") {
    const Tokenizer tokenizer = TokenizerText().build();
    const auto byte = [](int value) { return 3 + value; };
    CHECK(tokenizer.encode("a\xFF"
                           "b",
                           {.add_special = false}) == Ids{265, byte(0xFF), 261});
    CHECK(tokenizer.encode("\xE6\xBC", {.add_special = false}) == Ids{259, byte(0xE6), byte(0xBC)});
    CHECK(tokenizer.encode("\xC0\xAF", {.add_special = false}) == Ids{259, byte(0xC0), byte(0xAF)});
    CHECK(tokenizer.encode("\xED\xA0\x80", {.add_special = false}) ==
          Ids{259, byte(0xED), byte(0xA0), byte(0x80)});
    // A broken character does not swallow the good one behind it.
    CHECK(tokenizer.encode("\xC3\xC3\xA9", {.add_special = false}) == Ids{259, byte(0xC3), 269});
    for (int value = 0; value < 256; ++value) {
        const std::string text(1, static_cast<char>(value));
        const Ids ids = tokenizer.encode(text, {.add_special = false});
        if (value != ' ' && !(value >= 'a' && value <= 'c')) CHECK(ids == Ids{259, byte(value)});
    }
}

TEST_CASE("tokenizer: unknown characters where bytes are missing") {
    TokenizerText text;
    text.vocab = TokenizerText::small_vocab('x');
    CHECK(text.build().encode("axxb", {.add_special = false}) == Ids{265, 0, 261});  // fused
    text.model_options = R"("type":"BPE","unk_token":"<unk>","fuse_unk":false,"byte_fallback":true)";
    CHECK(text.build().encode("axxb", {.add_special = false}) == Ids{265, 0, 0, 261});
    text.model_options = R"("type":"BPE","unk_token":null,"fuse_unk":true,"byte_fallback":true)";
    expect_error(ErrorCode::format, "256 bytes", [&] { text.build(); });
    text.vocab = TokenizerText::small_vocab();
    CHECK(text.build().encode("ax", {.add_special = false}) == Ids{265, 3 + 'x'});
    text.model_options = R"("type":"BPE","unk_token":"<unk>","fuse_unk":true,"byte_fallback":false)";
    CHECK(text.build().encode("axxb", {.add_special = false}) == Ids{265, 0, 261});
}

TEST_CASE("tokenizer: ignore_merges takes a whole word, but not from the added tokens") {
    TokenizerText text;
    text.normalizer = "null";
    text.merges = "[]";
    text.added.pop_back();
    text.added += R"(,{"id":270,"content":"▁bc","normalized":true}])";
    text.pre_tokenizer = metaspace("always", true);
    CHECK(text.build().encode("ab abc bc", {.add_special = false}) ==
          Ids{259, 260, 261, 259, 260, 261, 262, 259, 261, 262});
    text.model_options = R"("type":"BPE","unk_token":"<unk>","byte_fallback":true,"ignore_merges":true)";
    CHECK(text.build().encode("ab abc bc", {.add_special = false}) ==
          Ids{266, 259, 260, 261, 262, 259, 261, 262});
}

TEST_CASE("tokenizer: BOS and EOS") {
    TokenizerText text;
    CHECK(text.build().bos_id() == 1);
    CHECK(text.build().eos_id() == 2);
    CHECK(text.build().is_special(2));
    CHECK_FALSE(text.build().is_special(265));
    text.post_processor = "null";
    CHECK(text.build().encode("").empty());
    CHECK(text.build().bos_id() == 1);
    text.post_processor = R"({"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"B","type_id":0}},
        {"Sequence":{"id":"A","type_id":0}},{"SpecialToken":{"id":"E","type_id":0}}],"pair":[],
        "special_tokens":{"B":{"id":"B","ids":[2,1],"tokens":[]},"E":{"id":"E","ids":[260],"tokens":[]}}})";
    CHECK(text.build().encode("a") == Ids{2, 1, 265, 260});
    CHECK(text.build().bos_id() == 2);
    CHECK(text.build().eos_id() == 260);
}

TEST_CASE("tokenizer: merges as strings and as pairs are the same") {
    TokenizerText text;
    const Tokenizer strings = text.build();
    text.merges = R"([["a","b"],["▁","a"],["b","c"],["ab","c"],["▁a","b"],["▁","ab"],["▁","▁"]])";
    const Tokenizer pairs = text.build();
    for (const char* sample : {"abc", "a b c abc", "   ", "cab"})
        CHECK(strings.encode(sample) == pairs.encode(sample));
}

TEST_CASE("detokenizer: characters come out when they are complete") {
    const Tokenizer tokenizer = TokenizerText().build();
    Detokenizer stream(tokenizer);
    const std::pair<std::int32_t, std::string> steps[] = {{1, ""},
                                                          {265, "a"},
                                                          {259, " "},
                                                          {3 + 0xE6, ""},
                                                          {3 + 0xBC, ""},
                                                          {3 + 0xA2, "漢"},
                                                          {3 + '\n', "\n"},
                                                          {3 + 0xF0, ""},
                                                          {3 + 0x9F, ""},
                                                          {260,
                                                           "\xEF\xBF\xBD\xEF\xBF\xBD"
                                                           "a"},
                                                          {2, ""},
                                                          {3 + 0xC3, ""}};
    for (const auto& step : steps) {
        CAPTURE(step.first);
        CHECK(stream.push(step.first) == step.second);
    }
    CHECK(stream.finish() == "\xEF\xBF\xBD");
    expect_error(ErrorCode::value, "999", [&] { stream.push(999); });
}

TEST_CASE("detokenizer: the pieces together are decode()") {
    const Tokenizer tokenizer = TokenizerText().build();
    std::mt19937 random(3);
    const std::string letters[] = {"a", "b", "c", " ", "é", "漢", "🙂", "\n", "<s>", "▁"};
    for (int round = 0; round < 500; ++round) {
        std::string text, streamed;
        for (unsigned i = 0; i < random() % 20; ++i) text += letters[random() % 10];
        const Ids ids = tokenizer.encode(text, kParse);
        Detokenizer stream(tokenizer);
        for (const std::int32_t id : ids) streamed += stream.push(id);
        CHECK(streamed + stream.finish() == tokenizer.decode(ids));
    }
}
