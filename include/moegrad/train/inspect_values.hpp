#pragma once
// Whether the numbers of an adapter are numbers: every value of the stored floating types, a piece at a time.

#include <algorithm>
#include <array>
#include <cmath>
#include <string>

#include <moegrad/io/safetensors.hpp>
#include <moegrad/train/inspect_report.hpp>

namespace moegrad {

namespace detail {

/// The element of the first value that is NaN or infinite; -1 when all are finite.
inline Index first_not_finite(const SafetensorsFile& file, const TensorInfo& info) {
    std::array<double, 4096> piece;
    const auto bytes = file.bytes(info);
    const std::size_t width = info.count == 0 ? 0 : bytes.size() / static_cast<std::size_t>(info.count);
    for (Index at = 0; at < info.count; at += static_cast<Index>(piece.size())) {
        const Index count = std::min(static_cast<Index>(piece.size()), info.count - at);
        const std::byte* from = bytes.data() + static_cast<std::size_t>(at) * width;
        read_stored(info.type, from, count, piece.data(), file.path());
        for (Index i = 0; i < count; ++i)
            if (!std::isfinite(piece[static_cast<std::size_t>(i)])) return at + i;
    }
    return -1;
}

/// A warning that names the first tensor with such a value.
inline void check_values(const SafetensorsFile& file, Inspection& out) {
    Index bad = 0, at = 0;
    std::string first;
    for (const auto& info : file.tensors()) {
        const bool floats = info.type == StoredType::f64 || info.type == StoredType::f32 ||
                            info.type == StoredType::f16 || info.type == StoredType::bf16;
        const Index element = floats ? first_not_finite(file, info) : -1;
        if (element >= 0 && ++bad == 1) {
            first = printable(info.name, 200);
            at = element;
        }
    }
    out.add("finite", bad == 0);
    if (bad > 0)
        out.warnings.push_back(
            moegrad::format("{} tensors hold values that are no numbers, the first {}, element {}: merge "
                            "refuses it",
                            bad, first, at));
}

}  // namespace detail

}  // namespace moegrad
