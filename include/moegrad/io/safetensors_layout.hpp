#pragma once
// What a safetensors header says, and the checks on it that need all entries: names that differ, ranges that tile the
// data without hole, overlap or rest. safetensors_header.hpp reads the text.

#include <moegrad/core/error.hpp>
#include <moegrad/core/format.hpp>
#include <moegrad/core/view.hpp>
#include <moegrad/io/stored_type.hpp>
#include <moegrad/io/utf8.hpp>

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace moegrad {

struct TensorInfo {
    std::string name;
    StoredType type = StoredType::f32;
    std::vector<Index> shape;
    std::size_t offset = 0;  // of the first byte, from the start of the file
    std::size_t bytes = 0;
    Index count = 1;  // numbers; 1 for rank 0
};

struct SafetensorsHeader {
    std::vector<TensorInfo> tensors;  // in the order of the header
    std::vector<std::uint32_t>
        by_name;  // indices into tensors, sorted by name: no hash that a file could attack
    std::vector<std::pair<std::string, std::string>> metadata;
    std::size_t unknown_fields = 0;  // of entries; later versions of the format may have them
};

inline std::string shape_text(std::span<const Index> shape) {
    std::string out = "[";
    for (std::size_t i = 0; i < shape.size(); ++i)
        out += moegrad::format("{}{}", i > 0 ? ", " : "", shape[i]);
    return out + "]";
}

/// Bits of a shape, false when they pass 2^62. Extents other than zero are multiplied even when one is zero, so that
/// order cannot matter.
inline bool count_bits(std::span<const Index> shape, StoredType type, Index& count, std::uint64_t& total) {
    total = bits(type);
    bool empty = false;
    for (const Index extent : shape) {
        empty = empty || extent == 0;
        if (extent != 0 && __builtin_mul_overflow(total, static_cast<std::uint64_t>(extent), &total))
            return false;
    }
    if (total > (std::uint64_t{1} << 62)) return false;
    if (empty) total = 0;
    count = static_cast<Index>(total / bits(type));
    return true;
}

/// Fills by_name; a name that occurs twice is an error. The first eight bytes decide most comparisons.
inline void sort_by_name(SafetensorsHeader& header, const std::string& place) {
    struct Key {
        std::uint64_t prefix;
        std::uint32_t tensor;
    };
    std::vector<Key> keys;
    keys.reserve(header.tensors.size());
    for (const TensorInfo& info : header.tensors) {
        std::uint64_t prefix = 0;
        for (std::size_t i = 0; i < 8; ++i)
            prefix = prefix << 8 | (i < info.name.size() ? static_cast<unsigned char>(info.name[i]) : 0u);
        keys.push_back({prefix, static_cast<std::uint32_t>(keys.size())});
    }
    const auto name = [&](const Key& key) -> const std::string& { return header.tensors[key.tensor].name; };
    std::sort(keys.begin(), keys.end(), [&](const Key& a, const Key& b) {
        return a.prefix != b.prefix ? a.prefix < b.prefix : name(a) < name(b);
    });
    header.by_name.reserve(keys.size());
    for (std::size_t i = 0; i < keys.size(); ++i) {
        if (i > 0 && name(keys[i]) == name(keys[i - 1]))
            throw Error{ErrorCode::format, place, "each key once in an object",
                        moegrad::format("\"{}\" twice", printable(name(keys[i])))};
        header.by_name.push_back(keys[i].tensor);
    }
}

/// The ranges must tile [data_begin, file_bytes).
inline void require_tiling(const std::vector<TensorInfo>& tensors, std::size_t data_begin,
                           std::size_t file_bytes, const std::string& place) {
    std::vector<std::uint32_t> order(tensors.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = static_cast<std::uint32_t>(i);
    const auto less = [&](std::uint32_t i, std::uint32_t j) {
        const TensorInfo &a = tensors[i], &b = tensors[j];
        return a.offset != b.offset ? a.offset < b.offset : a.bytes < b.bytes;
    };
    if (!std::is_sorted(order.begin(), order.end(), less)) std::sort(order.begin(), order.end(), less);
    std::size_t next = data_begin;
    for (const std::uint32_t i : order) {
        const TensorInfo& info = tensors[i];
        if (info.offset != next)
            throw Error{
                ErrorCode::format, moegrad::format("{}: tensor {}", place, printable(info.name)),
                moegrad::format("to begin at data byte {}", next - data_begin),
                moegrad::format("{}: {}", info.offset - data_begin,
                                info.offset < next ? "it overlaps another tensor" : "a hole before it")};
        next += info.bytes;
    }
    if (next != file_bytes)
        throw Error{ErrorCode::format, place, moegrad::format("{} bytes of data", next - data_begin),
                    moegrad::format("{} bytes", file_bytes - data_begin), "bytes that no tensor owns"};
}

}  // namespace moegrad
