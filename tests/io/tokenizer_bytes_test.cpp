#include <doctest/doctest.h>

#include <cstdint>
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

TEST_CASE("byte level: every byte has a character and back") {
    std::string characters;
    for (unsigned byte = 0; byte < 256; ++byte) {
        const char one = static_cast<char>(byte);
        const std::string character = bytes_to_characters(std::string_view(&one, 1));
        CHECK(is_utf8(character));
        CHECK(characters_to_bytes(character) == std::string(1, one));
        characters += character;
    }
    CHECK(bytes_to_characters(" \n!\xAD") == "ĠĊ!Ń");  // encoder.json of GPT-2 has these four
    CHECK(characters_to_bytes(characters)->size() == 256);
    CHECK_FALSE(characters_to_bytes("a b").has_value());
    CHECK_FALSE(characters_to_bytes("漢").has_value());
}

TEST_CASE("UTF-8: what U+FFFD stands for") {
    CHECK(broken_length("\xE2\x82x", 0) == 2);
    CHECK(broken_length("\xF0\x9F\x98x", 0) == 3);
    CHECK(broken_length("\xE0\x80", 0) == 1);  // overlong: the second byte cannot follow
    CHECK(broken_length("\x80\x80", 0) == 1);
    std::string text;
    for (const std::uint32_t point : {0x24u, 0xA2u, 0x20ACu, 0x10348u, 0x10FFFFu}) append_utf8(text, point);
    CHECK(text == "$¢€𐍈\xF4\x8F\xBF\xBF");
}

#if defined(MOEGRAD_HAVE_PCRE2) && defined(MOEGRAD_HAVE_UTF8PROC)

namespace {

Ids integers(const Json& json) {
    Ids ids;
    for (const Json& id : *json.array()) ids.push_back(static_cast<std::int32_t>(*id.integer()));
    return ids;
}

Tokenizer small_tokenizer(const Json& golden, const Json& one) {
    Json::Members members = *one.find("tokenizer")->members();
    members.push_back({"model", *golden.find(*one.find("whole")->boolean() ? "whole" : "model")});
    return parse_tokenizer(Json::from_members(std::move(members), "golden"), "tokenizer.json");
}

const Json& golden() {
    static const Json json = parse_json_file(MOEGRAD_SOURCE_DIR "/tests/golden/tokenizers.json");
    return json;
}

Tokenizer small_tokenizer(const std::string& name) {
    for (const Json& one : *golden().find("cases")->array())
        if (*one.find("name")->string() == name) return small_tokenizer(golden(), one);
    FAIL(name);
    throw 0;
}

/// Ends grow to the length of the text, and where nothing changes the text every id ends where its bytes do.
void check_ends(const Tokenizer& tokenizer, const std::string& text, const Ids& ids, bool changes) {
    const EncodedText with = tokenizer.encode_with_ends(text, {.parse_special = true});
    REQUIRE(with.ids == ids);
    REQUIRE(with.ends.size() == ids.size());
    std::size_t before = 0;
    for (std::size_t i = 0; i < ids.size(); ++i) {
        REQUIRE(with.ends[i] >= before);
        before = with.ends[i];
        if (changes) continue;
        const Ids head(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(i) + 1);
        PieceDecoder decoder(tokenizer.decoder(), BrokenBytes::replace_run);
        std::size_t bytes = 0;
        for (const std::int32_t id : head) bytes += characters_to_bytes(tokenizer.id_to_piece(id))->size();
        REQUIRE(before == bytes);
    }
    if (!changes && !ids.empty()) REQUIRE(before == text.size());
    REQUIRE(before <= text.size());
}

}  // namespace

// Expected: Hugging Face tokenizers 0.23.3 on the same files (tests/golden/make_tokenizers.py).
TEST_CASE("byte level: the golden tokenizers") {
    std::size_t compared = 0;
    for (const Json& one : *golden().find("cases")->array()) {
        const std::string& name = *one.find("name")->string();
        CAPTURE(name);
        const Tokenizer tokenizer = small_tokenizer(golden(), one);
        const Json::Array& texts = *golden().find("texts")->array();
        for (std::size_t i = 0; i < texts.size(); ++i) {
            const std::string& text = *texts[i].string();
            const std::string number = std::to_string(i);
            CAPTURE(text);
            const Ids ids = integers((*one.find("ids")->array())[i]);
            CHECK(tokenizer.encode(text, {.parse_special = true}) == ids);
            const Json* plain = one.find("plain")->find(number);
            CHECK(tokenizer.encode(text) == (plain ? integers(*plain) : ids));
            const Json* decoded = one.find("decoded")->find(number);
            CHECK(tokenizer.decode(ids, DecodeSpecial::keep) == (decoded ? *decoded->string() : text));
            const bool changes = name.find("prefix") != name.npos || name.find("Removed") != name.npos ||
                                 name.find("template") != name.npos || name == "qwen" || name == "added" ||
                                 text.find("<|end|>") != text.npos;
            check_ends(tokenizer, text, ids, changes);
            compared += ids.size();
        }
    }
    CHECK(compared > 15000);
}

TEST_CASE("byte level: where ids end in a text that changes") {
    using Ends = std::vector<std::size_t>;
    const auto ends = [](const Tokenizer& tokenizer, const std::string& text) {
        return tokenizer.encode_with_ends(text, {.parse_special = true}).ends;
    };
    // A space that nobody wrote ends where the text begins.
    const Tokenizer spaced = small_tokenizer("gpt2, prefix space");
    CHECK(spaced.encode("he") == Ids{32, 262});
    CHECK(ends(spaced, "he") == Ends{0, 2});
    CHECK(ends(spaced, "x<|end|>he") == Ends{1, 8, 8, 10});
    // e + U+0301 becomes one character of two bytes, both of which end behind the accent; its neighbours stay.
    const Tokenizer normal = small_tokenizer("qwen");
    CHECK(normal.encode("xe\u0301\u00e9y") == Ids{120, 268, 268, 121});
    CHECK(ends(normal, "xe\u0301\u00e9y") == Ends{1, 4, 6, 7});
    CHECK(ends(normal, "\u212b!") == Ends{3, 3, 4});
    CHECK(ends(normal, "\u1100\u1161\u11a8\xFF\u0344") == Ends{9, 9, 9, 10, 12, 12, 12, 12});
    // Bytes of a character that is spelled in bytes end inside it.
    CHECK(ends(small_tokenizer("gpt2"), "a\u6f22") == Ends{1, 2, 3, 4});
    // Added tokens end with the white space that they take.
    const Tokenizer added = small_tokenizer("added");
    CHECK(added.encode("ab [R]  ab", {.parse_special = true}) == Ids{257, 32, 283, 257});
    CHECK(ends(added, "ab [R]  ab") == Ends{2, 3, 8, 10});
    CHECK(ends(added, "cafe\u0301!") == Ends{6, 7});
    // The template's token is no part of the text.
    CHECK(ends(small_tokenizer("llama3, template"), "ab") == Ends{0, 2});
}

TEST_CASE("byte level: special tokens in a text are text unless asked for") {
    const Tokenizer tokenizer = small_tokenizer("gpt2");
    CHECK(tokenizer.encode("<|end|>", {.parse_special = true}) == Ids{280});
    CHECK(tokenizer.encode("<|end|>") == Ids{'<', '|', 'e', 'n', 'd', '|', '>'});
    CHECK(tokenizer.decode(tokenizer.encode("<|end|>")) == "<|end|>");
}

TEST_CASE("byte level: bytes that are not UTF-8") {
    const Tokenizer tokenizer = small_tokenizer("llama3");
    for (int byte = 0x80; byte < 256; ++byte) {
        const std::string text = "ab" + std::string(1, static_cast<char>(byte)) + " a";
        CHECK(tokenizer.encode(text) == Ids{257, byte, 256});
        CHECK(tokenizer.decode(tokenizer.encode(text)) == "ab\uFFFD a");
    }
    CHECK(tokenizer.encode("\xE6\xBC") == Ids{0xE6, 0xBC});
    CHECK(tokenizer.decode(Ids{0xE6, 0xBC}) == "\uFFFD");
    CHECK(tokenizer.decode(Ids{0xE6, 0xBC, 'x', 0xE6}) == "\uFFFDx\uFFFD");
    CHECK(tokenizer.decode(Ids{0xE0, 0x80, 0xF0, 0x9F, 0x98}) == "\uFFFD\uFFFD\uFFFD");
    Detokenizer stream(tokenizer);
    std::string said;
    for (const std::int32_t id : Ids{0xE6, 0xBC, 0xA2, 0xE6, 'x', 0xF0}) said += stream.push(id) + "/";
    CHECK(said + stream.finish() == "//漢//\uFFFDx//\uFFFD");
}

TEST_CASE("byte level: files that ask for something else") {
    TokenizerText text = io_test::byte_level_text();
    CHECK(text.build().encode("ab") == Ids{257});
    CHECK(text.build().bos_id() == -1);
    struct Case {
        std::string TokenizerText::*section;
        std::string content;
        ErrorCode code;
        const char* words;
    };
    const auto split = [](const std::string& pattern) {
        return R"({"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":")" + pattern +
               R"("},"behavior":"Isolated"},{"type":"ByteLevel","use_regex":false}]})";
    };
    const ErrorCode format = ErrorCode::format, unsupported = ErrorCode::unsupported;
    const Case cases[] = {
        {&TokenizerText::decoder, R"({"type":"Fuse"})", unsupported,
         "ByteLevel as pre-tokenizer and as decoder"},
        {&TokenizerText::decoder, R"({"type":"Sequence","decoders":[{"type":"ByteLevel"},{"type":"Fuse"}]})",
         unsupported, "ByteLevel alone"},
        {&TokenizerText::pre_tokenizer, "null", format, "unk_token"},
        {&TokenizerText::pre_tokenizer,
         R"({"type":"Sequence","pretokenizers":[{"type":"ByteLevel"},{"type":"Digits"}]})", unsupported,
         "nothing after ByteLevel"},
        {&TokenizerText::pre_tokenizer, split("(a"), format, "pattern.Regex"},
        {&TokenizerText::pre_tokenizer, split("[a&&b]"), unsupported, "&&"},
        {&TokenizerText::pre_tokenizer, split("(a)\\\\1"), unsupported, "escape"},
        {&TokenizerText::vocab, io_test::byte_level_vocab('q'), format, "0x71"},
        {&TokenizerText::post_processor,
         R"({"type":"Sequence","processors":[{"type":"ByteLevel"},{"type":"BertProcessing"}]})", unsupported,
         "BertProcessing"},
    };
    for (const Case& bad : cases) {
        CAPTURE(bad.content);
        TokenizerText changed = io_test::byte_level_text();
        changed.*bad.section = bad.content;
        expect_error(bad.code, bad.words, [&] { changed.build(); });
    }
    // GPT-NeoX has no pieces for the 13 bytes that UTF-8 never uses.
    text.vocab = io_test::byte_level_vocab(0xC0);
    CHECK(text.build().encode("a\xC0") == Ids{'a', 0xEF, 0xBF, 0xBD});
}

TEST_CASE("NFC: more marks in a row than a text has is an error") {
    const Tokenizer tokenizer = small_tokenizer("qwen");
    std::string marks = "a";
    for (int i = 0; i < 5000; ++i) marks += "\u0301\u0323";  // out of order: sorted, at a quadratic price
    CHECK(tokenizer.encode(marks).size() > 10000);
    for (int i = 0; i < 5000; ++i) marks += "\u0301\u0323";
    expect_error(ErrorCode::data, "combining marks", [&] { tokenizer.encode(marks); });
}

#endif

#ifndef MOEGRAD_HAVE_PCRE2
TEST_CASE("byte level: without PCRE2 the error names the package") {
    expect_error(ErrorCode::unsupported, "libpcre2-dev", [] { io_test::byte_level_text().build(); });
    TokenizerText text = io_test::byte_level_text();
    text.pre_tokenizer = R"({"type":"ByteLevel","add_prefix_space":false,"use_regex":false})";
    CHECK(text.build().encode("ab ab") == Ids{257, 258});
    text.added = R"([{"id":400,"content":"cat","single_word":true}])";
    expect_error(ErrorCode::unsupported, "added_tokens[0].single_word", [&] { text.build(); });
}
#endif

#ifndef MOEGRAD_HAVE_UTF8PROC
TEST_CASE("byte level: without utf8proc the error names the package") {
    TokenizerText text = io_test::byte_level_text();
    text.normalizer = R"({"type":"NFC"})";
    expect_error(ErrorCode::unsupported, "libutf8proc-dev", [&] { text.build(); });
}
#endif
