#include <moegrad/data/tokenizer_training.hpp>

#include "io/support.hpp"

using namespace moegrad;
using io_test::expect_error;
using io_test::TemporaryFolder;

namespace {

std::vector<std::string> training_texts() {
    const World world({.seed = 3, .people = 8});
    std::vector<std::string> texts;
    for (Index n = 0; n < 200; ++n) texts.push_back(world_document(world, n).text());
    texts.push_back("Zwölf Bären\nfahren 2024 nach Ulm .\n\n  und wieder heim\n");
    return texts;
}

}  // namespace

#ifdef MOEGRAD_HAVE_SENTENCEPIECE_TRAIN

TEST_CASE("tokenizer training: equal texts give equal files, which read back and lose nothing") {
    const auto texts = training_texts();
    const Json json = train_tokenizer(texts, 512);
    CHECK(write_json(json) == write_json(train_tokenizer(texts, 512)));
    const TemporaryFolder folder;
    write_metaspace_tokenizer(folder.path(), json);
    const Tokenizer tokenizer = load_tokenizer(folder.path());
    CHECK(tokenizer.vocab_size() == 512);
    CHECK(tokenizer.bos_id() == 1);
    CHECK(tokenizer.eos_id() == 2);
    CHECK(tokenizer.token_to_id("<0x00>") == 3);
    std::size_t bytes = 0, tokens = 0;
    for (const std::string& text : texts) {
        const auto ids = tokenizer.encode(text, {.add_special = false});
        CHECK(tokenizer.decode(ids) == text);
        bytes += text.size();
        tokens += ids.size();
    }
    CHECK(static_cast<double>(bytes) > 2.5 * static_cast<double>(tokens));
    for (const char* text : {"", "日本 \xf0\x9f\x98\x80", "a\tb\r\n", "two  blanks  "})
        CHECK(tokenizer.decode(tokenizer.encode(text)) == text);
    // Digits stand alone.
    CHECK(tokenizer.encode("1234", {.add_special = false}).size() >= 4);
    expect_error(ErrorCode::data, "60000", [&] { train_tokenizer(texts, 60'000); });
}

TEST_CASE("tokenizer training: the library cuts the same text into the same pieces") {
    const auto texts = training_texts();
    const std::string model = detail::train_pieces(texts, 512);
    sentencepiece::SentencePieceProcessor library;
    REQUIRE(library.LoadFromSerializedProto(model).ok());
    const Tokenizer tokenizer = parse_tokenizer(detail::trained_tokenizer_json(model), "tokenizer.json");
    for (const std::string& text : texts) {
        std::vector<int> ids;
        REQUIRE(library.Encode(text, &ids).ok());
        CHECK(tokenizer.encode(text, {.add_special = false}) ==
              std::vector<std::int32_t>(ids.begin(), ids.end()));
    }
}

#else

TEST_CASE("tokenizer training: without sentencepiece the error names the package") {
    expect_error(ErrorCode::unsupported, "libsentencepiece-dev",
                 [&] { train_tokenizer(training_texts(), 512); });
}

#endif

TEST_CASE("tokenizer training: a mix gives every training text once, and documents of the small world") {
    const TemporaryFolder folder;
    std::string text;
    for (int i = 0; i < 1000; ++i) text += format("line {}\n", i);
    folder.write("lines.txt", text);
    const World world({.seed = 3, .people = 8});
    const auto texts = tokenizer_texts(parse_mix("lines 0.5 lines.txt,world 0.5"), folder.path(), 0.1, world);
    std::string joined;
    for (std::size_t i = 0; i + kTokenizerWorldDocuments < texts.size(); ++i) joined += texts[i];
    CHECK(text.starts_with(joined));
    CHECK(joined.size() < text.size());
    CHECK(texts.back() == world_document(world, kTokenizerWorldDocuments - 1).text());
}
