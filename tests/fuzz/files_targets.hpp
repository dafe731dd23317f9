#pragma once
// What the fuzzer calls for the files of a model: one function per format, on bytes in memory. Errors of the library are
// the expected answer; anything else that is thrown, a sanitizer's report or a property that fails is a finding.

#include <fuzz/require.hpp>
#include <moegrad/io/checkpoint_index.hpp>
#include <moegrad/io/model_config_json.hpp>
#include <moegrad/io/model_config_writer.hpp>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fuzz {

using namespace moegrad;

__extension__ typedef unsigned __int128 Wide128;

/// The header as text again.
inline std::string header_text(const SafetensorsHeader& header, std::size_t data_begin) {
    Json::Members members;
    Json pairs = Json::object();
    for (const auto& [key, value] : header.metadata)
        if (!pairs.find(key)) pairs.add(key, value);
    members.push_back({"__metadata__", std::move(pairs)});
    for (const TensorInfo& info : header.tensors) {
        const auto begin = static_cast<std::int64_t>(info.offset - data_begin);
        Json entry = Json::object();
        entry.add("dtype", std::string(name(info.type)));
        entry.add("shape", Json::Array(info.shape.begin(), info.shape.end()));
        entry.add("data_offsets", Json::Array{begin, begin + static_cast<std::int64_t>(info.bytes)});
        members.push_back({info.name, std::move(entry)});
    }
    return write_json(Json::from_members(std::move(members), "again"));
}

inline void require_same(const SafetensorsHeader& a, const SafetensorsHeader& b, std::size_t shift) {
    require(a.tensors.size() == b.tensors.size(), "as many tensors when written and read again");
    for (std::size_t i = 0; i < a.tensors.size(); ++i) {
        const TensorInfo &x = a.tensors[i], &y = b.tensors[i];
        require(x.name == y.name && x.type == y.type && x.shape == y.shape && x.bytes == y.bytes &&
                    x.count == y.count && x.offset + shift == y.offset,
                "a tensor written and read again is the same");
    }
}

/// Accepted: ranges inside the file and apart, numbers that fit their bytes, names that differ; again the same.
inline void safetensors(std::string_view input) {
    SafetensorsHeader header;
    try {
        header = parse_safetensors(input, "fuzz");
    } catch (const Error& error) {
        require(error.code == ErrorCode::format, "a refused safetensors file is a format error");
        return;
    }
    const std::size_t data_begin = split_safetensors(input, "fuzz").second;
    std::vector<std::pair<std::size_t, std::size_t>> ranges;
    for (const TensorInfo& info : header.tensors) {
        require(info.offset >= data_begin && info.offset <= input.size(), "a range begins in the data");
        require(info.bytes <= input.size() - info.offset, "a range ends in the file");
        const auto numbers = static_cast<Wide128>(info.count);
        require(numbers * bits(info.type) == static_cast<Wide128>(info.bytes) * 8, "count fits bytes");
        Wide128 product = 1;
        for (const Index extent : info.shape) product *= static_cast<Wide128>(extent);
        require(product == numbers, "count is the product of the shape");
        if (info.bytes > 0) ranges.emplace_back(info.offset, info.offset + info.bytes);
    }
    std::sort(ranges.begin(), ranges.end());
    for (std::size_t i = 1; i < ranges.size(); ++i)
        require(ranges[i - 1].second == ranges[i].first, "ranges tile the data");
    const std::string text = header_text(header, data_begin);
    std::string again(8, '\0');
    const std::uint64_t length = text.size();
    std::memcpy(again.data(), &length, 8);
    again += text;
    again += input.substr(data_begin);
    const std::size_t shift = 8 + text.size() - data_begin;  // may wrap, and wraps back when it is added
    require_same(header, parse_safetensors(again, "again"), shift);
}

/// Accepted: every shard is a plain file name, and map and header agree or are told apart.
inline void index(std::string_view input) {
    try {
        for (const auto& [shard, tensors] : parse_shard_map(input, "fuzz")) {
            require(shard.find('/') == shard.npos && shard.find('\\') == shard.npos && shard != ".." &&
                        shard.size() <= 255 && !shard.empty(),
                    "a shard is a plain name");
            TensorInfo a, b;
            a.name = "a";
            b.name = "b";
            try {
                require_same_tensors("fuzz", shard, tensors, {a, b});
                require(tensors.size() == 2, "only a and b agree");
            } catch (const Error& error) {
                require(error.code == ErrorCode::format, "a mismatch is a format error");
            }
        }
    } catch (const Error& error) {
        require(error.code == ErrorCode::format, "a refused index is a format error");
    }
}

/// Accepted: within all ranges, and written and read again the same.
inline void config(std::string_view input) {
    ModelConfig config;
    try {
        config = parse_model_config(parse_json(input, "fuzz", {16, 1u << 20, 10'000}), "fuzz");
    } catch (const Error&) {
        return;
    }
    validate(config, "accepted");
    require(parse_model_config(to_json(config), "again") == config,
            "a config written and read again is the same");
}

}  // namespace fuzz
