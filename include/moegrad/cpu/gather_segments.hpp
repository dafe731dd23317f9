#pragma once
// CPU kernel of ops/gather_segments.hpp. Rows are independent.

#include <moegrad/core/error.hpp>
#include <moegrad/cpu/support/rows.hpp>
#include <moegrad/ops/gather_segments.hpp>

namespace moegrad::cpu::gather_segments {
namespace {

inline void gather(Stream stream, SegmentRows from, View<const std::int32_t, 1> index, SegmentRows to,
                   View<std::int32_t, 1> row) {
    const Index T = from.position.extent(0);
    for_rows(stream, index.extent(0), 8, [&](Index i) {
        if (index(i) >= T) {
            throw Error{ErrorCode::value, "gather_segments", format("rows below {}", T),
                        format("{} at {}", index(i), i)};
        }
        to.take(i, from, index(i));
        row(i) = index(i) < 0 ? -1 : static_cast<std::int32_t>(i);
    });
    for_rows(stream, to.begin.extent(0), 32, [&](Index s) { to.take_begin(s, from, index); });
}

template <class Real>
constexpr GatherSegmentsKernels<Real> kernels{gather};

[[maybe_unused]] const bool seat = gather_segments_slot.fill<float>(Device::cpu, kernels<float>);

}  // namespace
}  // namespace moegrad::cpu::gather_segments
