#pragma once
// Tokenizers for tests: a small one that every test can read at a glance, and a reader of SentencePiece models that
// writes the tokenizer.json which belongs to them.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <map>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include <moegrad/core/format.hpp>
#include <moegrad/io/json_writer.hpp>
#include <moegrad/io/tokenizer_json.hpp>

namespace io_test {

/// The sections of a tokenizer.json as text, to be changed one by one.
struct TokenizerText {
    std::string added = R"([{"id":0,"content":"<unk>","special":true},{"id":1,"content":"<s>","special":true},
                            {"id":2,"content":"</s>","special":true}])";
    std::string normalizer = R"({"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"▁"},
                                 {"type":"Replace","pattern":{"String":" "},"content":"▁"}]})";
    std::string pre_tokenizer = "null";
    std::string post_processor =
        R"({"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>","type_id":0}},
            {"Sequence":{"id":"A","type_id":0}}],"pair":[],"special_tokens":{"<s>":{"id":"<s>","ids":[1],"tokens":["<s>"]}}})";
    std::string decoder =
        R"({"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"▁"},"content":" "},
                              {"type":"ByteFallback"},{"type":"Fuse"},{"type":"Strip","content":" ","start":1,"stop":0}]})";
    std::string model_options =
        R"("type":"BPE","dropout":null,"unk_token":"<unk>","continuing_subword_prefix":null,
                                   "end_of_word_suffix":null,"fuse_unk":true,"byte_fallback":true)";
    std::string vocab = small_vocab();
    std::string merges = R"(["a b","▁ a","b c","ab c","▁a b","▁ ab","▁ ▁"])";
    std::string more;  // further top-level sections, each with a comma in front

    /// 0 to 2 special, 3 to 258 bytes, then pieces.
    static std::string small_vocab(int skipped_byte = -1) {
        std::string out = R"({"<unk>":0,"<s>":1,"</s>":2)";
        for (int byte = 0; byte < 256; ++byte)
            if (byte != skipped_byte) out += moegrad::format(",\"<0x{:02X}>\":{}", byte, 3 + byte);
        return out +
               R"(,"▁":259,"a":260,"b":261,"c":262,"ab":263,"abc":264,"▁a":265,"▁ab":266,"bc":267,"▁▁":268,"é":269})";
    }

    std::string text() const {
        return "{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,\"added_tokens\":" + added +
               ",\"normalizer\":" + normalizer + ",\"pre_tokenizer\":" + pre_tokenizer +
               ",\"post_processor\":" + post_processor + ",\"decoder\":" + decoder + ",\"model\":{" +
               model_options + ",\"vocab\":" + vocab + ",\"merges\":" + merges + "}" + more + "}";
    }
    moegrad::Tokenizer build() const {
        return moegrad::parse_tokenizer(moegrad::parse_json(text(), "tokenizer.json"), "tokenizer.json");
    }
};

/// 0 to 255 bytes, then pieces.
inline std::string byte_level_vocab(int skipped_byte = -1) {
    moegrad::Json::Members vocab;
    for (int byte = 0; byte < 256; ++byte) {
        const char one = static_cast<char>(byte);
        if (byte != skipped_byte)
            vocab.push_back({moegrad::bytes_to_characters(std::string_view(&one, 1)), byte});
    }
    vocab.push_back({"Ġa", 256});
    vocab.push_back({"ab", 257});
    vocab.push_back({"Ġab", 258});
    return moegrad::write_json(moegrad::Json::from_members(std::move(vocab), "vocab"));
}

inline TokenizerText byte_level_text() {
    TokenizerText text;
    text.added = R"([{"id":259,"content":"<|end|>","special":true}])";
    text.normalizer = "null";
    text.pre_tokenizer = R"({"type":"ByteLevel","add_prefix_space":false})";
    text.post_processor = R"({"type":"ByteLevel"})";
    text.decoder = R"({"type":"ByteLevel"})";
    text.model_options = R"("type":"BPE","unk_token":null)";
    text.vocab = byte_level_vocab();
    text.merges = R"(["Ġ a","a b","Ġa b"])";
    return text;
}

/// One piece of a SentencePiece model: field 1 of the protobuf, {1: piece, 2: score, 3: type}.
struct ScoredPiece {
    std::string piece;
    float score = 0;
    std::uint64_t type = 1;  // 1 normal, 2 unknown, 3 control, 4 user defined, 6 byte
};

class ProtobufReader {
public:
    explicit ProtobufReader(std::string_view bytes) : rest_(bytes) {}
    bool done() const { return rest_.empty(); }
    std::uint64_t varint() {
        std::uint64_t value = 0;
        for (int shift = 0; !rest_.empty() && shift < 64; shift += 7) {
            const auto byte = static_cast<unsigned char>(rest_.front());
            rest_.remove_prefix(1);
            value |= std::uint64_t{byte & 0x7Fu} << shift;
            if (byte < 0x80) break;
        }
        return value;
    }
    std::string_view take(std::size_t bytes) {
        const std::string_view out = rest_.substr(0, bytes);
        rest_.remove_prefix(out.size());
        return out;
    }
    /// The bytes of a field whose wire type is not varint.
    std::string_view field(std::uint64_t wire) {
        return wire == 1 ? take(8) : wire == 5 ? take(4) : take(static_cast<std::size_t>(varint()));
    }

private:
    std::string_view rest_;
};

inline std::vector<ScoredPiece> read_sentencepiece(std::string_view bytes) {
    std::vector<ScoredPiece> pieces;
    for (ProtobufReader model(bytes); !model.done();) {
        const std::uint64_t tag = model.varint();
        if ((tag & 7) == 0) {
            model.varint();
            continue;
        }
        const std::string_view content = model.field(tag & 7);
        if (tag >> 3 != 1) continue;
        ScoredPiece piece;
        for (ProtobufReader inner(content); !inner.done();) {
            const std::uint64_t inner_tag = inner.varint();
            if (inner_tag >> 3 == 3) {
                piece.type = inner.varint();
                continue;
            }
            const std::string_view value = inner.field(inner_tag & 7);
            if (inner_tag >> 3 == 1) piece.piece = value;
            if (inner_tag >> 3 == 2) std::memcpy(&piece.score, value.data(), sizeof(float));
        }
        pieces.push_back(std::move(piece));
    }
    return pieces;
}

/// Merges are all splits of a piece into two pieces, best score of the piece first, then ids of the parts.
inline TokenizerText text_of_sentencepiece(const std::vector<ScoredPiece>& pieces) {
    std::map<std::string_view, std::size_t> ids;
    for (std::size_t i = 0; i < pieces.size(); ++i) ids[pieces[i].piece] = i;
    std::vector<std::tuple<float, std::size_t, std::size_t, std::size_t>> merges;
    for (std::size_t i = 0; i < pieces.size(); ++i) {
        const std::string_view piece = pieces[i].piece;
        for (std::size_t cut = 1; pieces[i].type == 1 && cut < piece.size(); ++cut) {
            const auto left = ids.find(piece.substr(0, cut)), right = ids.find(piece.substr(cut));
            if (left != ids.end() && right != ids.end())
                merges.emplace_back(-pieces[i].score, i, left->second, right->second);
        }
    }
    std::sort(merges.begin(), merges.end());
    TokenizerText text;
    moegrad::Json::Members vocab;
    for (std::size_t i = 0; i < pieces.size(); ++i)
        vocab.push_back({pieces[i].piece, static_cast<std::int64_t>(i)});
    moegrad::Json::Array pairs;
    for (const auto& [score, whole, left, right] : merges)
        pairs.push_back(moegrad::Json::Array{pieces[left].piece, pieces[right].piece});
    text.vocab = moegrad::write_json(moegrad::Json::from_members(std::move(vocab), "vocab"));
    text.merges = moegrad::write_json(moegrad::Json(std::move(pairs)));
    return text;
}

}  // namespace io_test
