#pragma once
// SafetensorsFile: a safetensors file, mapped, its header checked as a whole (safetensors_header.hpp says how); numbers
// are converted when they are read.

#include <moegrad/core/error.hpp>
#include <moegrad/core/format.hpp>
#include <moegrad/core/view.hpp>
#include <moegrad/io/mapped_file.hpp>
#include <moegrad/io/memory_guard.hpp>
#include <moegrad/io/safetensors_header.hpp>
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

/// Numbers that are converted in one go.
inline constexpr Index kReadPiece = Index{1} << 20;

class SafetensorsFile {
public:
    explicit SafetensorsFile(std::string path, Links links = usual_links())
        : SafetensorsFile(MappedFile(std::move(path), links)) {}
    explicit SafetensorsFile(MappedFile file) : file_(std::move(file)) {
        header_ = memory_guard(file_.path(), [&] { return parse_safetensors(file_.text(), file_.path()); });
    }

    const std::string& path() const { return file_.path(); }
    const std::vector<TensorInfo>& tensors() const { return header_.tensors; }
    const std::vector<std::pair<std::string, std::string>>& metadata() const { return header_.metadata; }

    /// Null when there is no such tensor.
    const TensorInfo* find(std::string_view name) const {
        const auto found = std::lower_bound(
            header_.by_name.begin(), header_.by_name.end(), name,
            [&](std::uint32_t i, std::string_view key) { return header_.tensors[i].name < key; });
        if (found == header_.by_name.end() || header_.tensors[*found].name != name) return nullptr;
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

    /// All numbers of a tensor in C order: F64, F32, F16, BF16 to float, double or bf16; I32, I64 to int32 or int64.
    template <Readable T>
    void read(const TensorInfo& info, std::span<T> out) const {
        const std::string place = moegrad::format("{}: tensor {}", path(), printable(info.name));
        if (static_cast<Index>(out.size()) != info.count)
            throw Error{ErrorCode::shape, place, moegrad::format("room for {} numbers", info.count),
                        moegrad::format("{}", out.size())};
        each_piece(info, [&](Index at, Index count, const std::byte* from) {
            read_stored(info.type, from, count, out.data() + at, place);
        });
    }
    /// The same numbers to whoever keeps none of them: take(piece), a span of some, in C order.
    template <Readable T, class Take>
    void read_pieces(const TensorInfo& info, const Take& take) const {
        const std::string place = moegrad::format("{}: tensor {}", path(), printable(info.name));
        std::vector<T> piece(static_cast<std::size_t>(std::min(kReadPiece, info.count)));
        each_piece(info, [&](Index, Index count, const std::byte* from) {
            read_stored(info.type, from, count, piece.data(), place);
            take(std::span<const T>(piece).first(static_cast<std::size_t>(count)));
        });
    }

private:
    /// visit(at, count, bytes), the next piece on its way: what has been read is given back, so no tensor is held twice.
    template <class Visit>
    void each_piece(const TensorInfo& info, const Visit& visit) const {
        file_.require_unchanged();
        const std::size_t width = info.count == 0 ? 0 : info.bytes / static_cast<std::size_t>(info.count);
        Index at = 0;
        do {
            const Index count = std::min(kReadPiece, info.count - at);
            const std::size_t piece = static_cast<std::size_t>(count) * width;
            const std::size_t from = info.offset + static_cast<std::size_t>(at) * width;
            file_.expect(from + piece, static_cast<std::size_t>(kReadPiece) * width);
            visit(at, count, file_.bytes().data() + from);
            file_.forget(from, piece);
            at += count;
        } while (at < info.count);
    }

    MappedFile file_;
    SafetensorsHeader header_;
};

}  // namespace moegrad
