#pragma once
// J: tokenizer.json, and texts given to a tokenizer that is right.

#include <io/tokenizer_support.hpp>
#include <malformed/case.hpp>

namespace malformed {

using io_test::TokenizerText;

inline Files tokenizer_files(const TokenizerText& text) {
    return {{"tokenizer.json", text.text()}};
}

/// Rows that change one section of the small tokenizer.
class TokenizerRows {
public:
    using Section = std::string TokenizerText::*;
    TokenizerRows& bad(const char* id, const char* what, Section section, const std::string& value,
                       const char* place, const char* words, ErrorCode code = ErrorCode::format,
                       const std::string& legal = {}) {
        TokenizerText changed, good;
        changed.*section = value;
        if (!legal.empty()) good.*section = legal;
        cases.push_back({id, what, Reader::tokenizer, tokenizer_files(changed), tokenizer_files(good), code,
                         std::string("tokenizer.json") + place, words});
        return *this;
    }
    Cases cases;
};

inline std::string with_piece(const std::string& piece) {
    std::string vocab = TokenizerText::small_vocab();
    vocab.pop_back();
    return vocab + "," + piece + "}";
}

inline std::string added_token(const std::string& keys) {
    return R"([{"id":0,"content":"<unk>","special":true},{"id":1,"content":"<s>","special":true},
               {"id":2,"content":"</s>","special":true},{)" +
           keys + "}]";
}

inline void add_vocabularies(TokenizerRows& rows) {
    const auto vocab = &TokenizerText::vocab, merges = &TokenizerText::merges;
    const char* at = ": model.vocab";
    const ErrorCode format = ErrorCode::format;
    rows.bad("J01", "a merge longer than every piece", merges, R"(["abc bc"])", ": model.merges[0]",
             "\"abcbc\" in the vocabulary", format, R"(["a bc"])")
        .bad("J02", "a merge of an absent piece", merges, R"(["a b","a zz"])", ": model.merges[1]",
             "\"zz\" in the vocabulary")
        .bad("J03", "a negative id", vocab, with_piece("\"d\":-1"), at, "an id in 0", format,
             with_piece("\"d\":270"))
        .bad("J03b", "an id of 2^31", vocab, with_piece("\"d\":2147483648"), at, "an id in 0")
        .bad("J03c", "a gap of 2^31", vocab, with_piece("\"d\":2147483647"), "", "ids in 0..", format,
             with_piece("\"d\":300"))
        .bad("J03d", "an id that is a real number", vocab, with_piece("\"d\":270.0"), at, "an id in 0")
        .bad("J03e", "an id as text", vocab, with_piece("\"d\":\"270\""), at, "an id in 0")
        .bad("J04", "two pieces with one id", vocab, with_piece("\"d\":269"), "", "one token for each id")
        .bad("J05", "a merge with two spaces", merges, R"(["a b c"])", ": model.merges[0]", "two pieces",
             format, R"([["a","b"]])")
        .bad("J05b", "a merge of three", merges, R"([["a","b","c"]])", ": model.merges[0]", "two pieces",
             format, R"(["a b",["b","c"]])")
        .bad("J05c", "a merge without a space", merges, R"(["ab"])", ": model.merges[0]", "two pieces")
        .bad("J05d", "a merge that is a number", merges, "[3]", ": model.merges[0]", "two pieces")
        .bad("J05e", "merges are an object", merges, "{}", ": model.merges", "an array", format, "[]")
        .bad("J20", "a piece twice", vocab, with_piece("\"a\":270"), "", "\"a\" twice")
        .bad("J22", "the vocabulary is an array", vocab, "[]", at, "an object")
        .bad("J23", "an empty vocabulary", vocab, "{}", "", "a piece of the vocabulary");
    TokenizerText byteless, fallback;
    byteless.vocab = TokenizerText::small_vocab(0x41);
    byteless.model_options = R"("type":"BPE","byte_fallback":true)";
    fallback.model_options = byteless.model_options;
    rows.cases.push_back({"J18", "byte fallback without <0x41>, and no unk_token", Reader::tokenizer,
                          tokenizer_files(byteless), tokenizer_files(fallback), ErrorCode::format,
                          "tokenizer.json: model", "a piece for each of the 256 bytes"});
}

inline void add_sections(TokenizerRows& rows) {
    const auto normalizer = &TokenizerText::normalizer, decoder = &TokenizerText::decoder,
               added = &TokenizerText::added, pre = &TokenizerText::pre_tokenizer,
               options = &TokenizerText::model_options, post = &TokenizerText::post_processor;
    const ErrorCode unsupported = ErrorCode::unsupported, format = ErrorCode::format;
    std::string nested = "null";
    for (int i = 0; i < 20; ++i) nested = R"({"type":"Sequence","normalizers":[)" + nested + "]}";
    const std::string million(1u << 20, 'x');
    rows.bad("J09", "normalizers nested 20 deep", normalizer, nested, "", "16 deep")
        .bad("J10", "a normalizer that puts 1 MB in front", normalizer,
             R"({"type":"Prepend","prepend":")" + million + "\"}", ": normalizer", "U+2581", unsupported)
        .bad("J12", "an unknown normalizer", normalizer, R"({"type":"Magic"})", ": normalizer.type", "Magic",
             unsupported)
        .bad("J12b", "an unknown pre-tokenizer", pre, R"({"type":"Magic"})", ": pre_tokenizer.type", "Magic",
             unsupported)
        .bad("J12c", "an unknown decoder", decoder, R"({"type":"Magic"})", ": decoder", "Magic", unsupported)
        .bad("J12d", "an unknown post-processor", post, R"({"type":"Magic"})", ": post_processor", "Magic",
             unsupported)
        .bad("J12e", "an unknown model", options, R"("type":"Unigram","unk_token":"<unk>")", ": model.type",
             "Unigram", unsupported)
        .bad("J12f", "a normalizer without type", normalizer, "{}", ": normalizer.type", "no such key")
        .bad("J12g", "a normalizer that is a number", normalizer, "7", ": normalizer", "an object")
        .bad("J11", "an added token of no characters", added, added_token(R"("id":270,"content":"")"),
             ": added_tokens[3].content", "at least one character", format,
             added_token(R"("id":270,"content":"<x>")"))
        .bad("J11b", "an added token without content", added, added_token(R"("id":270)"),
             ": added_tokens[3].content", "no such key")
        .bad("J11c", "an added token with another token's id", added,
             added_token(R"("id":260,"content":"<x>")"), "", "one token for each id")
        .bad("J11d", "an added token with a negative id", added, added_token(R"("id":-1,"content":"<x>")"),
             ": added_tokens[3].id", "an integer in 0")
        .bad("J11e", "an added token of the vocabulary under another id", added,
             added_token(R"("id":270,"content":"ab")"), ": added_tokens[3].id", "263")
        .bad("J24", "a post-processor's id outside the vocabulary", post,
             R"({"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>","type_id":0}},
                 {"Sequence":{"id":"A","type_id":0}}],"special_tokens":{"<s>":{"id":"<s>","ids":[99999]}}})",
             ": post_processor.special_tokens.<s>.ids[0]", "an id of the vocabulary")
        .bad("J25", "dropout", options, R"("type":"BPE","dropout":0.5,"unk_token":"<unk>")",
             ": model.dropout", "got:      0.5", unsupported)
        .bad("J26", "unk_token that is no piece", options, R"("type":"BPE","unk_token":"<none>")",
             ": model.unk_token", "a piece of the vocabulary")
        .bad("J27", "an unknown section", &TokenizerText::more, R"(,"magic":1)", ": magic", "a known section",
             unsupported);
}

/// Patterns run in PCRE2 with a budget of steps; a build without it refuses them all (needs_regex).
inline bool needs_regex(const Case& row) {
    return row.id.starts_with("J06") || row.id.starts_with("J07") || row.id.starts_with("J08");
}

inline std::string regex_step(const std::string& pattern) {
    return R"({"type":"Split","pattern":{"Regex":")" + pattern + R"("},"behavior":"Isolated"})";
}

inline void add_patterns(TokenizerRows& rows) {
    const auto pre = &TokenizerText::pre_tokenizer;
    const char* place = ": pre_tokenizer.pattern.Regex";
    const std::string good = regex_step("[a-z]+");
    rows.bad("J07", "a pattern of 100,000 open brackets", pre, regex_step(std::string(100'000, '(')), place,
             "at most 16384 bytes", ErrorCode::unsupported, good)
        .bad("J07b", "a bracket that is not closed", pre, regex_step("(a"), place, "a regular expression",
             ErrorCode::format, good)
        .bad("J08", "a back-reference", pre, regex_step(R"((a)\\1)"), place,
             "elsewhere than by the tokenizers", ErrorCode::unsupported, good);
    TokenizerText slow;
    slow.pre_tokenizer = regex_step("(a+)+$");
    Files bad = tokenizer_files(slow), fine = bad;
    bad.push_back({"text.txt", std::string(40, 'a') + "b"});
    fine.push_back({"text.txt", "aab"});
    rows.cases.push_back({"J06", "a pattern of exponential time and a text that shows it", Reader::encode,
                          bad, fine, ErrorCode::data, "pre_tokenizer.pattern.Regex", "budget of steps"});
}

inline Cases tokenizer_cases() {
    TokenizerRows rows;
    add_vocabularies(rows);
    add_sections(rows);
    add_patterns(rows);
    const auto raw = [&](const char* id, const char* what, const std::string& text, const char* words) {
        rows.cases.push_back({id,
                              what,
                              Reader::tokenizer,
                              {{"tokenizer.json", text}},
                              tokenizer_files({}),
                              ErrorCode::format,
                              "tokenizer.json",
                              words});
    };
    raw("J28", "empty file", "", "valid JSON");
    raw("J29", "cut in the middle", TokenizerText().text().substr(0, 900), "valid JSON");
    raw("J30", "the root is an array", "[]", "an object");
    // Settings that a training run has no use for: they are not applied, and the tokenizer's notes say so.
    TokenizerText padded;
    padded.more = {};
    std::string text = padded.text();
    text.replace(text.find("\"truncation\":null"), 17, R"("truncation":{"max_length":2})");
    rows.cases.push_back(
        {"J21", "truncation left in the file: a note", Reader::tokenizer, {}, {{"tokenizer.json", text}}});
    TokenizerText overlapping;
    overlapping.added =
        added_token(R"("id":270,"content":"<x>"},{"id":271,"content":"<x><x>"},{"id":272,"content":"<x")");
    rows.cases.push_back({"J11f",
                          "added tokens that are prefixes of each other",
                          Reader::tokenizer,
                          {},
                          tokenizer_files(overlapping)});
    return rows.cases;
}

/// A text in text.txt for the small tokenizer: ids must be of the vocabulary and decode to the text (U+FFFD for bytes
/// that are no UTF-8), and twice the text must not take much more than twice the time (load.hpp).
inline Cases encode_cases() {
    Cases cases;
    const auto good = [&](const char* id, const char* what, std::string text) {
        Files files = tokenizer_files({});
        files.push_back({"text.txt", std::move(text)});
        cases.push_back({id, what, Reader::encode, {}, std::move(files)});
    };
    std::string bytes;
    for (int byte = 0; byte < 256; ++byte) bytes += static_cast<char>(byte);
    std::string marks = "a";
    for (int i = 0; i < 10'000; ++i) marks += "\xCC\x81";
    good("J13", "all 256 bytes", bytes);
    good("J13b", "a lone continuation byte", "a\x80z");
    good("J13c", "U+0000, U+10FFFF, unassigned", std::string("\0", 1) + "\xF4\x8F\xBF\xBF\xF3\xB0\x80\x80");
    good("J13d", "10,000 combining marks", marks);
    good("J14", "256 KB of one letter", std::string(1u << 18, 'a'));
    good("J15", "256 KB without white space", [] {
        std::string text;
        while (text.size() < (1u << 18)) text += "abc";
        return text;
    }());
    good("J15b", "256 KB of spaces", std::string(1u << 18, ' '));
    good("J16", "special tokens written out stay text when asked", "</s><s> a</s>");
    return cases;
}

}  // namespace malformed
