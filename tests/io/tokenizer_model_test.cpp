#include <doctest/doctest.h>

#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include <moegrad/io/tokenizer_json.hpp>

#include "support.hpp"
#include "tokenizer_support.hpp"

using namespace moegrad;
using io_test::expect_error;
using Ids = std::vector<std::int32_t>;

namespace {

std::string varint(std::uint64_t value) {
    std::string out;
    for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
    return out + static_cast<char>(value);
}
std::string number_field(int field, std::uint64_t value) {
    return varint(static_cast<std::uint64_t>(field) << 3) + varint(value);
}
std::string text_field(int field, std::string_view text) {
    return varint(static_cast<std::uint64_t>(field) << 3 | 2) + varint(text.size()) + std::string(text);
}
std::string piece_field(std::string_view piece, float score, std::uint64_t type) {
    std::string bits(4, '\0');
    std::memcpy(bits.data(), &score, 4);
    return text_field(1, text_field(1, piece) + varint(2 << 3 | 5) + bits + number_field(3, type));
}

/// The small vocabulary of tokenizer_support.hpp as a SentencePiece model (BPE, byte fallback, identity normalizer): the
/// scores of pieces are the negated ranks of their merges.
std::string small_model(bool dummy_prefix = true) {
    std::string model = piece_field("<unk>", 0, 2) + piece_field("<s>", 0, 3) + piece_field("</s>", 0, 3);
    for (int byte = 0; byte < 256; ++byte) model += piece_field(moegrad::format("<0x{:02X}>", byte), 0, 6);
    const std::vector<std::pair<const char*, float>> pieces = {
        {"▁", -20.f}, {"a", -21.f},  {"b", -22.f}, {"c", -23.f}, {"ab", -1.f}, {"abc", -4.f},
        {"▁a", -2.f}, {"▁ab", -5.f}, {"bc", -3.f}, {"▁▁", -7.f}, {"é", -24.f}};
    for (const auto& [piece, score] : pieces) model += piece_field(piece, score, 1);
    model += text_field(2, number_field(3, 2) + number_field(35, 1) + number_field(40, 0) +
                               number_field(41, 1) + number_field(42, 2));
    return model + text_field(3, text_field(1, "identity") + number_field(3, dummy_prefix) +
                                     number_field(4, 0) + number_field(5, 1));
}

}  // namespace

TEST_CASE("tokenizer.model: a file of ranks is told apart") {
    io_test::TemporaryFolder folder;
    folder.write("tokenizer.model", "IQ== 0\nIg== 1\n");
    expect_error(ErrorCode::unsupported, "--kind llama-3", [&] { load_tokenizer(folder.path()); });
    io_test::TemporaryFolder empty;
    expect_error(ErrorCode::file, "tokenizer.json", [&] { load_tokenizer(empty.path()); });
}

#ifdef MOEGRAD_HAVE_SENTENCEPIECE

namespace {

Tokenizer tokenizer_of(const std::string& model, const std::string& config = {}) {
    io_test::TemporaryFolder folder;
    folder.write("tokenizer.model", model);
    if (!config.empty()) folder.write("tokenizer_config.json", config);
    return load_tokenizer(folder.path());
}

}  // namespace

TEST_CASE("tokenizer.model: ids, text and ends as those of its tokenizer.json") {
    const Tokenizer model = tokenizer_of(small_model()), json = io_test::TokenizerText().build();
    CHECK(model.vocab_size() == json.vocab_size());
    CHECK(model.bos_id() == 1);
    CHECK(model.eos_id() == 2);
    CHECK(model.is_special(0));
    CHECK(model.encode("") == Ids{1});
    CHECK(model.encode("abc a") == json.encode("abc a"));
    std::mt19937 random(11);
    const std::string letters[] = {"a", "b", "c", " ", "é", "漢", "🙂", "\n", "<s>", "x"};
    for (int round = 0; round < 1000; ++round) {
        std::string text;
        for (unsigned i = 0; i < random() % 20; ++i) text += letters[random() % 10];
        CAPTURE(text);
        for (const bool parse : {false, true}) {
            const EncodeOptions options{.add_special = true, .parse_special = parse};
            const EncodedText ours = model.encode_with_ends(text, options),
                              other = json.encode_with_ends(text, options);
            REQUIRE(ours.ids == other.ids);
            REQUIRE(ours.ends == other.ends);
            REQUIRE(model.encode(text, options) == ours.ids);
            REQUIRE(model.decode(ours.ids) == json.decode(ours.ids));
        }
        if (text.find("<s>") == text.npos) REQUIRE(model.decode(model.encode(text)) == text);
    }
    CHECK(model.decode(model.encode("a\xFF"
                                    "b")) == "a\uFFFDb");
}

TEST_CASE("tokenizer.model: tokenizer_config.json says what goes around a text") {
    CHECK(tokenizer_of(small_model(), R"({"add_bos_token":false})").encode("a") == Ids{265});
    CHECK(tokenizer_of(small_model(), R"({"add_eos_token":true})").encode("a") == Ids{1, 265, 2});
    const Tokenizer other =
        tokenizer_of(small_model(), R"({"bos_token":"</s>","eos_token":{"content":"<s>"},"unk_token":null})");
    CHECK(other.bos_id() == 2);
    CHECK(other.eos_id() == 1);
    CHECK(tokenizer_of(small_model(), R"({"bos_token":"<nowhere>"})").notes().size() == 1);
    expect_error(ErrorCode::format, "bos_token", [] { tokenizer_of(small_model(), R"({"bos_token":7})"); });
    expect_error(ErrorCode::format, "valid JSON", [] { tokenizer_of(small_model(), "{"); });
    CHECK(tokenizer_of(small_model(false)).encode("a") == Ids{1, 260});
    CHECK(tokenizer_of(small_model(false)).decode(Ids{265}) == " a");
}

TEST_CASE("tokenizer.model: damaged files are errors") {
    const std::string good = small_model();
    for (std::size_t length = 0; length < good.size(); length += 37)
        CHECK_THROWS_AS(tokenizer_of(good.substr(0, length)), Error);
    expect_error(ErrorCode::format, "SentencePiece", [] { tokenizer_of("\n\xFF\xFF\xFF\xFF\xFF"); });
    expect_error(ErrorCode::format, "SentencePiece", [] { tokenizer_of(piece_field("a", 0, 1)); });
}

#else

TEST_CASE("tokenizer.model: without sentencepiece the error names the package") {
    io_test::TemporaryFolder folder;
    folder.write("tokenizer.model", small_model());
    expect_error(ErrorCode::unsupported, "libsentencepiece-dev", [&] { load_tokenizer(folder.path()); });
}

#endif
