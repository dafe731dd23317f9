#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
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

std::string metaspace(const std::string& scheme, bool split) {
    return moegrad::format(R"({{"type":"Metaspace","replacement":"▁","prepend_scheme":"{}","split":{}}})",
                           scheme, split);
}

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
        CHECK(legacy.encode(c.text) == c.legacy);
        CHECK(with("first", true).encode(c.text) == c.first_split);
        CHECK(with("first", false).encode(c.text) == c.first);
        CHECK(with("always", true).encode(c.text) == c.always_split);
        CHECK(with("always", false).encode(c.text) == c.always);
        CHECK(with("never", true).encode(c.text) == c.never_split);
        CHECK(with("never", false).encode(c.text) == c.never);
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
        CHECK(tokenizer.encode(c.text) == c.ids);
        CHECK(tokenizer.decode(c.ids) == c.skipped);
        CHECK(tokenizer.decode(c.ids, DecodeSpecial::keep) == c.kept);
    }
    CHECK(tokenizer.vocab_size() == 274);
    CHECK(tokenizer.token_to_id("cab") == 272);
    CHECK(tokenizer.id_to_piece(273) == "<l>b");
    CHECK(tokenizer.token_to_id("nothing") == -1);
    // Special tokens written in untrusted text stay text on request; those that are not special are still found.
    CHECK(tokenizer.encode("ab<s>", {.split_special = false}) == Ids{1, 266, 3 + '<', 3 + 's', 3 + '>'});
    CHECK(tokenizer.encode("ab<l>", {.split_special = false}) == Ids{1, 266, 270});
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

TEST_CASE("tokenizer: the heap agrees with merging by definition") {
    // The definition: while there is one, join the pair of least rank, leftmost first.
    const std::vector<std::pair<std::string, std::string>> merges = {
        {"a", "b"},   {"a", "a"},   {"b", "a"},   {"aa", "b"}, {"ab", "a"},
        {"aa", "aa"}, {"ba", "ba"}, {"ab", "ab"}, {"aba", "b"}};
    Vocabulary vocabulary;
    std::vector<std::string> names = {"a", "b"};
    for (const auto& [left, right] : merges)
        if (std::find(names.begin(), names.end(), left + right) == names.end()) names.push_back(left + right);
    for (std::size_t i = 0; i < names.size(); ++i) vocabulary.add(names[i], static_cast<std::int32_t>(i));
    vocabulary.seal("test");
    std::vector<MergeTable::Merge> table;
    for (std::size_t i = 0; i < merges.size(); ++i)
        table.push_back({vocabulary.find(merges[i].first), vocabulary.find(merges[i].second),
                         vocabulary.find(merges[i].first + merges[i].second), static_cast<std::uint32_t>(i)});
    const BytePairModel model(vocabulary, table, {});
    std::mt19937 random(7);
    for (int round = 0; round < 2000; ++round) {
        std::vector<std::string> pieces;
        std::string word;
        for (unsigned i = 0; i < 1 + random() % 24; ++i) {
            word += random() % 2 ? "a" : "b";
            pieces.push_back(word.substr(i));
        }
        for (;;) {
            std::size_t best = merges.size(), at = 0;
            for (std::size_t i = 0; i + 1 < pieces.size(); ++i)
                for (std::size_t rank = 0; rank < best; ++rank)
                    if (merges[rank] == std::pair(pieces[i], pieces[i + 1])) {
                        best = rank;
                        at = i;
                    }
            if (best == merges.size()) break;
            pieces[at] += pieces[at + 1];
            pieces.erase(pieces.begin() + static_cast<std::ptrdiff_t>(at) + 1);
        }
        Ids expected, ids;
        for (const std::string& piece : pieces) expected.push_back(vocabulary.find(piece));
        model.encode(word, ids);
        REQUIRE(ids == expected);
    }
}

TEST_CASE("tokenizer: a megabyte of one character takes n log n") {
    const Tokenizer tokenizer = TokenizerText().build();
    const auto seconds = [&](std::size_t bytes) {
        double best = 1e9;
        for (int i = 0; i < 3; ++i) {
            const auto start = std::chrono::steady_clock::now();
            CHECK(tokenizer.encode(std::string(bytes, ' ')).size() > bytes / 2);
            best = std::min(best,
                            std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
        }
        return best;
    };
    const double small = seconds(1 << 17), large = seconds(1 << 20);
    CHECK(large < 8 * 6 * small + 0.05);  // a quadratic method takes 64 times as long
}

TEST_CASE("tokenizer: malformed and unsupported files") {
    struct Case {
        std::string TokenizerText::*section;
        std::string content;
        ErrorCode code;
        const char* words;
    };
    const ErrorCode format = ErrorCode::format, unsupported = ErrorCode::unsupported;
    const std::string bytes = TokenizerText::small_vocab();
    const std::string vocab = bytes.substr(0, bytes.size() - 1);
    const auto sequence = [](const std::string& steps) {
        return R"({"type":"Sequence","decoders":[)" + steps + "]}";
    };
    const Case cases[] = {
        {&TokenizerText::merges, R"(["a bc d"])", format, "merges[0]"},
        {&TokenizerText::merges, R"(["abc"])", format, "one space"},
        {&TokenizerText::merges, R"([["a"]])", format, "two pieces"},
        {&TokenizerText::merges, R"([["a",1]])", format, "two pieces"},
        {&TokenizerText::merges, "[7]", format, "merges[0]"},
        {&TokenizerText::merges, "{}", format, "an array"},
        {&TokenizerText::merges, R"(["a b","a q"])", format, "\"q\" in the vocabulary"},
        {&TokenizerText::merges, R"(["c a"])", format, "\"ca\" in the vocabulary"},
        {&TokenizerText::vocab, "[]", format, "an object"},
        {&TokenizerText::vocab, vocab + R"(,"x":-1})", format, "model.vocab.x"},
        {&TokenizerText::vocab, vocab + R"(,"x":2147483648})", format, "model.vocab.x"},
        {&TokenizerText::vocab, vocab + R"(,"x":1.5})", format, "model.vocab.x"},
        {&TokenizerText::vocab, vocab + R"(,"x":"270"})", format, "model.vocab.x"},
        {&TokenizerText::vocab, vocab + R"(,"x":2000000000})", format, "ids in 0.."},
        {&TokenizerText::vocab, vocab + R"(,"x":260})", format, "one token for each id"},
        {&TokenizerText::vocab, vocab + R"(,"a":270})", format, "twice"},
        {&TokenizerText::added, R"([{"id":270,"content":""}])", format, "at least one character"},
        {&TokenizerText::added, R"([{"content":"x"}])", format, "added_tokens[0].id"},
        {&TokenizerText::added, R"([{"id":-1,"content":"x"}])", format, "added_tokens[0].id"},
        {&TokenizerText::added, R"([{"id":7,"content":"a"}])", format, "260, the id of that piece"},
        {&TokenizerText::added, R"([{"id":260,"content":"x"}])", format, "one token for each id"},
        {&TokenizerText::added, R"([{"id":270,"content":"x"},{"id":271,"content":"x"}])", format,
         "one id for each"},
        {&TokenizerText::added, R"([{"id":270,"content":"x","special":"yes"}])", format, "true or false"},
        {&TokenizerText::added, R"([{"id":270,"content":"x","single_word":true}])", unsupported,
         "single_word"},
        {&TokenizerText::normalizer, R"({"type":"NFC"})", unsupported, "NFC"},
        {&TokenizerText::normalizer, R"({})", format, "normalizer.type"},
        {&TokenizerText::normalizer, R"({"type":"Prepend","prepend":"xxxxxxxx"})", unsupported,
         "normalizer.prepend"},
        {&TokenizerText::normalizer, R"({"type":"Replace","pattern":{"Regex":"(a+)+"},"content":"▁"})",
         unsupported, "a String pattern"},
        {&TokenizerText::normalizer, R"({"type":"Replace","pattern":{"String":"a"},"content":"▁"})",
         unsupported, "pattern.String"},
        {&TokenizerText::pre_tokenizer, R"({"type":"ByteLevel","add_prefix_space":false})", unsupported,
         "ByteLevel"},
        {&TokenizerText::pre_tokenizer, R"({"type":"Split","pattern":{"Regex":"x"}})", unsupported, "Split"},
        {&TokenizerText::pre_tokenizer, R"({"type":"Metaspace","replacement":"_","prepend_scheme":"first"})",
         unsupported, "pre_tokenizer.replacement"},
        {&TokenizerText::pre_tokenizer, R"({"type":"Metaspace","replacement":"▁","prepend_scheme":"last"})",
         format, "prepend_scheme"},
        {&TokenizerText::post_processor, R"({"type":"ByteLevel"})", unsupported, "ByteLevel"},
        {&TokenizerText::post_processor, R"({"type":"TemplateProcessing","single":[],"special_tokens":{}})",
         format, "a place for the text A"},
        {&TokenizerText::post_processor,
         R"({"type":"TemplateProcessing","single":[{"Sequence":{"id":"B"}}],"special_tokens":{}})", format,
         "text A, once"},
        {&TokenizerText::post_processor,
         R"({"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"x"}}],
            "special_tokens":{}})",
         format, "special_tokens.x"},
        {&TokenizerText::post_processor,
         R"({"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"x"}},
            {"Sequence":{"id":"A"}}],"special_tokens":{"x":{"ids":[9999]}}})",
         format, "an id of the vocabulary"},
        {&TokenizerText::decoder, "null", unsupported, "a decoder"},
        {&TokenizerText::decoder, R"({"type":"ByteLevel"})", unsupported, "ByteLevel"},
        {&TokenizerText::decoder, sequence(R"({"type":"Fuse"},{"type":"ByteFallback"})"), unsupported,
         "in the order"},
        {&TokenizerText::decoder, sequence(R"({"type":"Strip","content":" ","start":1,"stop":0})"),
         unsupported, "in the order"},
        {&TokenizerText::decoder,
         sequence(R"({"type":"Fuse"},{"type":"Strip","content":" ","start":1,"stop":1})"), unsupported,
         "stop"},
        {&TokenizerText::decoder,
         sequence(R"({"type":"Fuse"},{"type":"Strip","content":"x","start":1,"stop":0})"), unsupported,
         "content"},
        {&TokenizerText::model_options, R"("type":"WordPiece","unk_token":"<unk>")", unsupported,
         "WordPiece"},
        {&TokenizerText::model_options, R"("type":"Unigram","unk_token":"<unk>")", unsupported, "Unigram"},
        {&TokenizerText::model_options, R"("unk_token":"<unk>")", format, "model.type"},
        {&TokenizerText::model_options, R"("type":"BPE","unk_token":"<what>")", format, "unk_token"},
        {&TokenizerText::model_options, R"("type":"BPE","unk_token":"<unk>","dropout":0.1)", unsupported,
         "dropout"},
        {&TokenizerText::model_options, R"("type":"BPE","unk_token":"<unk>","end_of_word_suffix":"</w>")",
         unsupported, "end_of_word_suffix"},
        {&TokenizerText::model_options, R"("type":"BPE","unk_token":"<unk>","new_setting":1)", unsupported,
         "new_setting"},
        {&TokenizerText::more, R"(,"chat":1)", unsupported, "chat"},
    };
    for (const Case& bad : cases) {
        CAPTURE(bad.content);
        TokenizerText text;
        CHECK_NOTHROW(text.build());
        text.*bad.section = bad.content;
        expect_error(bad.code, bad.words, [&] { text.build(); });
    }
    std::string nested = R"({"type":"Prepend","prepend":"▁"})";
    for (int i = 0; i < 1000; ++i) nested = R"({"type":"Sequence","normalizers":[)" + nested + "]}";
    TokenizerText deep;
    deep.normalizer = nested;
    expect_error(format, "deep", [&] { deep.build(); });
}

TEST_CASE("tokenizer: truncation and padding of the file are noted, not applied") {
    TokenizerText text;
    CHECK(text.build().notes().empty());
    std::string changed = text.text();
    changed.replace(changed.find("\"truncation\":null"), 17, "\"truncation\":{\"max_length\":1}");
    const Tokenizer tokenizer = parse_tokenizer(parse_json(changed, "t"), "t");
    CHECK(tokenizer.notes().size() == 1);
    CHECK(tokenizer.encode("abcabc").size() > 2);
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
    for (const auto& [id, text] : steps) {
        CAPTURE(id);
        CHECK(stream.push(id) == text);
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
        const Ids ids = tokenizer.encode(text);
        Detokenizer stream(tokenizer);
        for (const std::int32_t id : ids) streamed += stream.push(id);
        CHECK(streamed + stream.finish() == tokenizer.decode(ids));
    }
}

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
