#pragma once
// Reading safetensors: 8 bytes little-endian header length n, n bytes of JSON, then the data.
//   {"__metadata__": {text: text}, "name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [begin, end]}, ...}
// Every field is checked before it is used: the entries tile the data without hole, overlap or rest, and each has the
// size its shape asks for. Where the reference accepts more (repeated names, shapes whose product wraps after a zero)
// this refuses. Format: github.com/huggingface/safetensors, README.

#include <moegrad/core/error.hpp>
#include <moegrad/core/format.hpp>
#include <moegrad/core/view.hpp>
#include <moegrad/io/json.hpp>
#include <moegrad/io/mapped_file.hpp>
#include <moegrad/io/stored_type.hpp>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace moegrad {

inline constexpr std::uint64_t kMaxSafetensorsHeader = 100'000'000;
inline constexpr std::size_t kMaxSafetensorsTensors = std::size_t{1} << 20;
inline constexpr std::size_t kMaxSafetensorsRank = 8;
inline constexpr std::size_t kMaxSafetensorsName = 4096;
inline constexpr std::int64_t kMaxExtent = std::int64_t{1} << 48;

struct TensorInfo {
    std::string name;
    StoredType type = StoredType::f32;
    std::vector<Index> shape;
    std::size_t offset = 0;  // of the first byte, from the start of the file
    std::size_t bytes = 0;
    Index count = 1;  // numbers; 1 for rank 0
};

inline std::string shape_text(std::span<const Index> shape) {
    std::string out = "[";
    for (std::size_t i = 0; i < shape.size(); ++i)
        out += moegrad::format("{}{}", i > 0 ? ", " : "", shape[i]);
    return out + "]";
}

struct SafetensorsHeader {
    std::vector<TensorInfo> tensors;  // in the order of the header
    std::vector<std::pair<std::string, std::string>> metadata;
};

/// The JSON part and the start of the data. What people put in place of a safetensors file gets a hint.
inline std::pair<std::string_view, std::size_t> split_safetensors(std::string_view file,
                                                                  const std::string& place) {
    std::string hint;
    if (file.starts_with("version https://git-lfs"))
        hint = "this is a Git LFS pointer, not the file: run `git lfs pull`";
    else if (file.starts_with("<"))
        hint = "this looks like a web page: was a download refused?";
    else if (file.starts_with("PK"))
        hint = "this is a zip or PyTorch file; convert it to safetensors";
    if (file.size() < 8)
        throw Error{ErrorCode::format, place, "at least 8 bytes", moegrad::format("{} bytes", file.size()),
                    hint};
    std::uint64_t length = 0;
    std::memcpy(&length, file.data(), sizeof(length));
    if (length > kMaxSafetensorsHeader)
        throw Error{ErrorCode::format, place,
                    moegrad::format("a header of at most {} bytes", kMaxSafetensorsHeader),
                    moegrad::format("{}", length), hint};
    if (length > file.size() - 8)
        throw Error{ErrorCode::format, place, moegrad::format("a header of {} bytes", length),
                    moegrad::format("{} bytes after the length", file.size() - 8),
                    hint.empty() ? "the file was cut short" : hint};
    return {file.substr(8, length), 8 + length};
}

/// Numbers in a shape. Extents other than zero are multiplied even when one is zero, so that order cannot matter.
inline std::uint64_t checked_bits(const JsonRef& entry, std::span<const Index> shape, StoredType type,
                                  Index& count) {
    std::uint64_t product = bits(type);
    count = 1;
    bool overflow = false;
    for (const Index extent : shape) {
        if (extent != 0)
            overflow |= __builtin_mul_overflow(product, static_cast<std::uint64_t>(extent), &product);
        count = extent == 0 || count == 0 ? 0 : count;
    }
    if (overflow || product > (std::uint64_t{1} << 62))
        throw Error{ErrorCode::format, entry.place(), "a shape of less than 2^62 bits", shape_text(shape)};
    if (count == 0) return 0;
    count = static_cast<Index>(product / bits(type));
    return product;
}

inline TensorInfo parse_tensor_entry(const std::string& name, const JsonRef& entry, std::size_t data_begin,
                                     std::size_t data_bytes) {
    TensorInfo info;
    info.name = name;
    const JsonRef type = entry.at("dtype");
    const std::optional<StoredType> stored = stored_type_from(type.string());
    if (!stored) type.fail("a number type of the format, such as F32 or BF16");
    info.type = *stored;
    const JsonRef shape = entry.at("shape");
    if (shape.array().size() > kMaxSafetensorsRank)
        shape.fail(moegrad::format("at most {} extents", kMaxSafetensorsRank));
    for (std::size_t i = 0; i < shape.array().size(); ++i)
        info.shape.push_back(shape.item(i).integer(0, kMaxExtent));
    const std::uint64_t bits = checked_bits(shape, info.shape, info.type, info.count);
    const JsonRef offsets = entry.at("data_offsets");
    if (offsets.array().size() != 2) offsets.fail("two offsets");
    const std::int64_t begin = offsets.item(0).integer(0, static_cast<std::int64_t>(data_bytes));
    const std::int64_t end = offsets.item(1).integer(begin, static_cast<std::int64_t>(data_bytes));
    info.offset = data_begin + static_cast<std::size_t>(begin);
    info.bytes = static_cast<std::size_t>(end - begin);
    if (bits % 8 != 0 || info.bytes != bits / 8)
        throw Error{
            ErrorCode::format, offsets.place(),
            moegrad::format("{} bits for {} {}", bits, moegrad::name(info.type), shape_text(info.shape)),
            moegrad::format("{} bytes", info.bytes)};
    return info;
}

/// The ranges must tile [data_begin, file_bytes).
inline void require_tiling(const std::vector<TensorInfo>& tensors, std::size_t data_begin,
                           std::size_t file_bytes, const std::string& place) {
    std::vector<const TensorInfo*> order;
    for (const TensorInfo& info : tensors) order.push_back(&info);
    std::sort(order.begin(), order.end(), [](const TensorInfo* a, const TensorInfo* b) {
        return a->offset != b->offset ? a->offset < b->offset : a->bytes < b->bytes;
    });
    std::size_t next = data_begin;
    for (const TensorInfo* info : order) {
        if (info->offset != next)
            throw Error{
                ErrorCode::format, moegrad::format("{}: tensor {}", place, printable(info->name)),
                moegrad::format("to begin at data byte {}", next - data_begin),
                moegrad::format("{}: {}", info->offset - data_begin,
                                info->offset < next ? "it overlaps another tensor" : "a hole before it")};
        next += info->bytes;
    }
    if (next != file_bytes)
        throw Error{ErrorCode::format, place, moegrad::format("{} bytes of data", next - data_begin),
                    moegrad::format("{} bytes", file_bytes - data_begin), "bytes that no tensor owns"};
}

/// Header and layout of a whole file in memory; touches nothing but the header.
inline SafetensorsHeader parse_safetensors(std::string_view file, const std::string& place) {
    const auto [text, data_begin] = split_safetensors(file, place);
    // The shortest legal entry spends more than four bytes on each value, so a header of brackets stops early.
    const Json json = parse_json(text, place, {8, kMaxSafetensorsHeader, text.size() / 4 + 64});
    const JsonRef root(json, place, ErrorCode::format);
    SafetensorsHeader header;
    if (root.members().size() > kMaxSafetensorsTensors)
        root.fail(moegrad::format("at most {} tensors", kMaxSafetensorsTensors));
    for (const JsonMember& member : root.members()) {
        const JsonRef entry = root.member(member);
        if (member.key == "__metadata__") {
            for (const JsonMember& pair : entry.members())
                header.metadata.emplace_back(pair.key, entry.member(pair).string());
            continue;
        }
        if (member.key.size() > kMaxSafetensorsName || member.key.find('\0') != std::string::npos)
            entry.fail(moegrad::format("a name of at most {} bytes, without NUL", kMaxSafetensorsName));
        header.tensors.push_back(parse_tensor_entry(member.key, entry, data_begin, file.size() - data_begin));
    }
    require_tiling(header.tensors, data_begin, file.size(), place);
    return header;
}

class SafetensorsFile {
public:
    explicit SafetensorsFile(std::string path, Links links = Links::follow) : file_(std::move(path), links) {
        header_ = parse_safetensors(file_.text(), file_.path());
        by_name_.resize(header_.tensors.size());
        for (std::size_t i = 0; i < by_name_.size(); ++i) by_name_[i] = i;
        std::sort(by_name_.begin(), by_name_.end(), [&](std::size_t a, std::size_t b) {
            return header_.tensors[a].name < header_.tensors[b].name;
        });
    }

    const std::string& path() const { return file_.path(); }
    const std::vector<TensorInfo>& tensors() const { return header_.tensors; }
    const std::vector<std::pair<std::string, std::string>>& metadata() const { return header_.metadata; }

    /// Null when there is no such tensor.
    const TensorInfo* find(std::string_view name) const {
        const auto found = std::lower_bound(
            by_name_.begin(), by_name_.end(), name,
            [&](std::size_t i, std::string_view key) { return header_.tensors[i].name < key; });
        if (found == by_name_.end() || header_.tensors[*found].name != name) return nullptr;
        return &header_.tensors[*found];
    }
    const TensorInfo& at(std::string_view name) const {
        const TensorInfo* info = find(name);
        if (!info)
            throw Error{ErrorCode::format, path(), moegrad::format("a tensor {}", printable(name)),
                        "no such tensor"};
        return *info;
    }

    /// The stored bytes, not aligned to anything.
    std::span<const std::byte> bytes(const TensorInfo& info) const {
        return file_.bytes().subspan(info.offset, info.bytes);
    }

    /// All numbers of a tensor in C order: F64, F32, F16, BF16 to float or double; I32, I64 to int32 or int64.
    template <Readable T>
    void read(const TensorInfo& info, std::span<T> out) const {
        const std::string place = moegrad::format("{}: tensor {}", path(), printable(info.name));
        if (static_cast<Index>(out.size()) != info.count)
            throw Error{ErrorCode::shape, place, moegrad::format("room for {} numbers", info.count),
                        moegrad::format("{}", out.size())};
        file_.require_unchanged();
        read_stored(info.type, bytes(info).data(), info.count, out.data(), place);
    }

private:
    MappedFile file_;
    SafetensorsHeader header_;
    std::vector<std::size_t> by_name_;
};

}  // namespace moegrad
