#include <doctest/doctest.h>

#include <string>

#include <moegrad/io/tokenizer_json.hpp>

#include "support.hpp"
#include "tokenizer_support.hpp"

using namespace moegrad;
using io_test::expect_error;
using io_test::TokenizerText;

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
        {&TokenizerText::normalizer, R"({"type":"NFKC"})", unsupported, "NFKC"},
        {&TokenizerText::normalizer, R"({})", format, "normalizer.type"},
        {&TokenizerText::normalizer, R"({"type":"Prepend","prepend":"xxxxxxxx"})", unsupported,
         "normalizer.prepend"},
        {&TokenizerText::normalizer, R"({"type":"Replace","pattern":{"Regex":"(a+)+"},"content":"▁"})",
         unsupported, "a String pattern"},
        {&TokenizerText::normalizer, R"({"type":"Replace","pattern":{"String":"a"},"content":"▁"})",
         unsupported, "pattern.String"},
        {&TokenizerText::pre_tokenizer, R"({"type":"Whitespace"})", unsupported, "Whitespace"},
        {&TokenizerText::pre_tokenizer, R"({"type":"Split","pattern":{"String":"x"}})", format,
         "pre_tokenizer.behavior"},
        {&TokenizerText::pre_tokenizer, R"({"type":"Split","pattern":{"String":""},"behavior":"Isolated"})",
         format, "one character"},
        {&TokenizerText::pre_tokenizer, R"({"type":"Split","pattern":{"String":"x"},"behavior":"Doubled"})",
         unsupported, "Doubled"},
        {&TokenizerText::pre_tokenizer,
         R"({"type":"Sequence","pretokenizers":[{"type":"Metaspace","replacement":"▁"},
            {"type":"Split","pattern":{"String":"x"},"behavior":"Isolated"}]})",
         unsupported, "nothing after"},
        {&TokenizerText::pre_tokenizer,
         R"({"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"String":"x"},"behavior":"Isolated"},
            {"type":"Metaspace","replacement":"▁"}]})",
         unsupported, "Metaspace alone"},
        {&TokenizerText::pre_tokenizer, R"({"type":"Metaspace","replacement":"_","prepend_scheme":"first"})",
         unsupported, "pre_tokenizer.replacement"},
        {&TokenizerText::pre_tokenizer, R"({"type":"Metaspace","replacement":"▁","prepend_scheme":"last"})",
         format, "prepend_scheme"},
        {&TokenizerText::post_processor, R"({"type":"RobertaProcessing"})", unsupported, "RobertaProcessing"},
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
