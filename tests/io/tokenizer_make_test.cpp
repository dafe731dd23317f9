#include <doctest/doctest.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <moegrad/io/tokenizer_json.hpp>
#include <moegrad/io/tokenizer_make.hpp>

#include "support.hpp"
#include "tokenizer_support.hpp"

using namespace moegrad;
using io_test::expect_error;
using Ids = std::vector<std::int32_t>;

namespace {

std::string base64(std::string_view bytes) {
    constexpr std::string_view digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    std::string out;
    for (std::size_t at = 0; at < bytes.size(); at += 3) {
        std::uint32_t bits = 0;
        for (std::size_t i = 0; i < 3; ++i)
            bits = bits << 8 | (at + i < bytes.size() ? static_cast<unsigned char>(bytes[at + i]) : 0u);
        for (int i = 3; i >= 0; --i) out += digits[(bits >> (6 * i)) & 63];
    }
    const std::size_t missing = (3 - bytes.size() % 3) % 3;
    return out.substr(0, out.size() - missing) + std::string(missing, '=');
}

/// 256 bytes, then these.
std::string rank_lines(const std::vector<std::string>& more) {
    std::string out;
    int rank = 0;
    for (int byte = 0; byte < 256; ++byte)
        out += base64(std::string(1, static_cast<char>(byte))) + " " + std::to_string(rank++) + "\n";
    for (const std::string& token : more) out += base64(token) + " " + std::to_string(rank++) + "\n";
    return out;
}

}  // namespace

TEST_CASE("tokenizer from ranks: base64") {
    // RFC 4648, section 10.
    const std::pair<const char*, const char*> cases[] = {
        {"Zg==", "f"}, {"Zm8=", "fo"}, {"Zm9v", "foo"}, {"Zm9vYg==", "foob"}, {"Zm9vYmFy", "foobar"}};
    for (const auto& [from, to] : cases) CHECK(decode_base64(from, "here") == to);
    CHECK(decode_base64("/+8=", "here") == "\xFF\xEF");
    for (const char* bad : {"", "Zg", "Zg=", "Z===", "Zm9*", "Zg==Zg=="})
        expect_error(ErrorCode::format, "base64", [&] { decode_base64(bad, "here"); });
}

TEST_CASE("tokenizer from ranks: every cut of a token into tokens is a merge") {
    const ByteLevelSource source = read_ranks(rank_lines({"ab", "bc", "abc", " a", " ab"}), "ranks");
    const std::vector<std::pair<std::string, std::string>> expected = {
        {"a", "b"}, {"b", "c"}, {"a", "bc"}, {"ab", "c"}, {"Ġ", "a"}, {"Ġ", "ab"}, {"Ġa", "b"}};
    CHECK(source.merges == expected);
    CHECK(source.pieces.size() == 261);
    CHECK(source.pieces[259] == "Ġa");
}

TEST_CASE("tokenizer from ranks: malformed files") {
    const std::string good = rank_lines({"ab"});
    const std::pair<std::string, const char*> cases[] = {
        {good + "YWM= 256\n", "one token for each id"},
        {good + "YWI= 257\n", "one id for each token"},
        {good + "YWI= 300\n", "line 258"},
        {good + "YWI= -1\n", "a rank below"},
        {good + "YWI= 25x\n", "a rank below"},
        {good + "YWI=257\n", "a rank below"},
        {good + "YWJ 257\n", "base64"},
        {good + " 257\n", "base64"},
        {good + "\n", "line 258"},
    };
    for (const auto& [text, words] : cases) {
        CAPTURE(std::string(words));
        expect_error(ErrorCode::format, words, [&, content = text] { read_ranks(content, "ranks"); });
    }
}

TEST_CASE("tokenizer from pieces and merges: malformed files") {
    expect_error(ErrorCode::format, "an integer in 0..1", [] { read_pieces(R"({"a":0,"b":2})", "v"); });
    expect_error(ErrorCode::format, "an id of its own", [] { read_pieces(R"({"a":0,"b":0})", "v"); });
    expect_error(ErrorCode::format, "twice", [] { read_pieces(R"({"a":0,"a":1})", "v"); });
    CHECK(read_pieces("a\r\nb\n", "v") == std::vector<std::string>{"a", "b"});
    CHECK(read_merge_lines("#version: 0.2\na b\n", "m").size() == 1);
    for (const char* bad : {"ab", "a b c", " ab", "a ", "a b\n\n"})
        expect_error(ErrorCode::format, "m: line", [&] { read_merge_lines(bad, "m"); });
    ByteLevelSource source{{"a", "b"}, {{"a", "b"}}};
    expect_error(ErrorCode::format, "\"a b\"", [&] { complete_merges(source, 2, "v"); });
}

TEST_CASE("tokenizer from merges: a token that lost its merge gets it back") {
    ByteLevelSource source{{"a", "b", "c", "ab", "abc", "cba"}, {{"a", "b"}}};
    const std::vector<std::string> notes = complete_merges(source, 6, "v");
    CHECK(source.merges.size() == 2);
    CHECK(source.merges.back() == std::pair<std::string, std::string>("ab", "c"));
    REQUIRE(notes.size() == 2);
    CHECK(notes[0].find("\"abc\"") != std::string::npos);
    CHECK(notes[1].find("none was added") != std::string::npos);  // three pieces are left of it
}

TEST_CASE("tokenizer maker: wrong calls") {
    io_test::TemporaryFolder folder;
    const std::string ranks = folder.write("ranks", rank_lines({}));
    expect_error(ErrorCode::config, "llama-3, gpt-2 or qwen2", [&] { make_tokenizer("bert", {ranks}); });
    expect_error(ErrorCode::config, "two files", [&] { make_tokenizer("gpt-2", {ranks}); });
    expect_error(ErrorCode::file, "readable", [&] { make_tokenizer("llama-3", {folder.file("none")}); });
    const MadeTokenizer made = make_tokenizer("llama-3", {ranks});
    write_tokenizer(made, folder.path());
    expect_error(ErrorCode::file, "without tokenizer.json", [&] { write_tokenizer(made, folder.path()); });
    expect_error(ErrorCode::format, "<|endoftext|>", [] { make_gpt2("a\nb\n", "", "v"); });
}

#if defined(MOEGRAD_HAVE_PCRE2) && defined(MOEGRAD_HAVE_UTF8PROC)
TEST_CASE("tokenizer maker: the three kinds load and encode") {
    io_test::TemporaryFolder llama, gpt, qwen;
    write_tokenizer(make_llama3(rank_lines({"ab", "abc", " a", "12"}), "ranks"), llama.path());
    const Tokenizer three = load_tokenizer(llama.path());
    // Meta's tokenizer.py: 256 special tokens behind the ranks, <|begin_of_text|> before a text.
    CHECK(three.vocab_size() == 260 + 256);
    CHECK(three.encode("abc a 12") == Ids{260, 257, 258, ' ', 259});
    CHECK(three.bos_id() == 260);
    CHECK(three.eos_id() == 261);
    CHECK(three.token_to_id("<|start_header_id|>") == 260 + 6);
    CHECK(three.token_to_id("<|eot_id|>") == 260 + 9);
    CHECK(three.token_to_id("<|reserved_special_token_250|>") == 260 + 255);
    CHECK(three.notes().empty());
    // A word that is a token is that token, though its merges would cut it elsewhere.
    const Tokenizer whole(
        parse_tokenizer_parts(make_llama3(rank_lines({"bc", "abcd"}), "ranks").json, "tokenizer.json"));
    CHECK(whole.encode("abcd", {.add_special = false}) == Ids{257});
    CHECK(whole.encode("abcda", {.add_special = false}) == Ids{'a', 256, 'd', 'a'});

    std::string pieces, all;
    for (int byte = 0; byte < 256; ++byte) {
        const char one = static_cast<char>(byte);
        pieces += bytes_to_characters(std::string_view(&one, 1)) + "\n";
    }
    write_tokenizer(make_gpt2(pieces + "Ġa\n<|endoftext|>\n", "#version: 0.2\nĠ a\n", "v"), gpt.path());
    const Tokenizer two = load_tokenizer(gpt.path());
    CHECK(two.encode("a a") == Ids{'a', 256});
    CHECK(two.encode("<|endoftext|>", {.parse_special = true}) == Ids{257});
    CHECK(two.bos_id() == 257);
    CHECK(two.eos_id() == 257);
    CHECK(two.is_special(257));

    const std::string tail = "<|endoftext|>\n<|im_start|>\n<|im_end|>\n[PAD260]\n";
    write_tokenizer(make_qwen2(pieces + "Ã©\n" + tail, "Ã ©\n", "v"), qwen.path());
    const Tokenizer other = load_tokenizer(qwen.path());
    CHECK(other.vocab_size() == 260);
    CHECK(other.encode("e\u0301") == Ids{256});
    CHECK(other.encode("12") == Ids{'1', '2'});
    CHECK(other.encode("<|im_end|>", {.parse_special = true}) == Ids{259});
    CHECK(other.bos_id() == -1);
    CHECK(other.eos_id() == 257);
}
#endif
