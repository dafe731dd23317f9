#pragma once
// A malformed input and its valid twin as data: the files of a folder, what must be said about them, and by which code.
// Ids are those of a catalogue in ten letters: A framing, B JSON, C metadata, D types, E shapes, G ranges of
// safetensors; H index; I config.json; J tokenizer.json; K adapters, checkpoints and data.

#include <moegrad/core/error.hpp>

#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

namespace malformed {

using moegrad::ErrorCode;

struct File {
    enum class Kind { regular, folder, fifo, link, sparse };
    std::string name;
    std::string content{};  // of a link: where it points
    Kind kind = Kind::regular;
    std::uint64_t size = 0;  // sparse: of the file, content first
};
using Files = std::vector<File>;

/// Who reads the folder.
enum class Reader { safetensors, index, config, tokenizer, encode, data, adapter, checkpoint };

constexpr const char* name(Reader reader) {
    constexpr const char* names[] = {"safetensors", "index", "config",  "tokenizer",
                                     "encode",      "data",  "adapter", "checkpoint"};
    return names[static_cast<int>(reader)];
}

struct Case {
    std::string id;  // "E07", or "E07b" for a variant
    std::string what;
    Reader reader = Reader::safetensors;
    Files bad, good;  // empty `bad`: the row is one that loads, and `good` is it
    ErrorCode code = ErrorCode::format;
    std::string place{};  // part of Error::place
    std::string words{};  // part of the whole message

    bool refused() const { return !bad.empty(); }
};

using Cases = std::vector<Case>;

/// Length field, header, data; nothing checked.
inline std::string framed(std::uint64_t length, const std::string& rest) {
    std::string out(8, '\0');
    std::memcpy(out.data(), &length, 8);
    return out + rest;
}
inline std::string whole(const std::string& header, const std::string& data = {}) {
    return framed(header.size(), header + data);
}
inline std::string zeros(std::size_t bytes) {
    return std::string(bytes, '\0');
}

inline const std::string kGoodEntry = R"("dtype":"F32","shape":[2],"data_offsets":[0,8])";
inline const std::string kGoodHeader = "{\"t\":{" + kGoodEntry + "}}";

/// One tensor "t" with this entry.
inline std::string one(const std::string& entry, std::size_t bytes = 8) {
    return whole("{\"t\":{" + entry + "}}", zeros(bytes));
}

inline Files single(std::string content) {
    return {{"model.safetensors", std::move(content)}};
}
inline Files good_single() {
    return single(whole(kGoodHeader, zeros(8)));
}

/// Rows of safetensors files: a bad content, part of the place behind "model.safetensors", and of the message.
class SafetensorsRows {
public:
    SafetensorsRows& bad(const std::string& id, const std::string& what, std::string content,
                         const std::string& words, const std::string& place = {},
                         std::string good = whole(kGoodHeader, zeros(8))) {
        cases.push_back({id, what, Reader::safetensors, single(std::move(content)), single(std::move(good)),
                         ErrorCode::format, "model.safetensors" + place, words});
        return *this;
    }
    SafetensorsRows& good(const std::string& id, const std::string& what, std::string content) {
        cases.push_back({id, what, Reader::safetensors, {}, single(std::move(content))});
        return *this;
    }
    Cases cases;
};

}  // namespace malformed
