#pragma once
// CPU kernels of ops/segment_mean.hpp. Segments are independent; columns of a segment are cut by shape.

#include <moegrad/cpu/support/rows.hpp>
#include <moegrad/cpu/support/seats.hpp>
#include <moegrad/ops/segment_mean.hpp>

namespace moegrad::cpu::segment_mean {
namespace {

/// 1 / the valid rows of segment s; 0 without any.
template <class Real>
Real share_of(View<const std::int32_t, 1> begin, View<const std::uint8_t, 1> valid, Index s) {
    Index count = 0;
    for (Index t = begin(s); t < begin(s + 1); ++t) count += valid(t) != 0;
    return count == 0 ? Real(0) : Real(1) / Real(static_cast<double>(count));
}

template <class Real>
void forward(Stream stream, View<const Real, 2> x, View<const std::int32_t, 1> begin,
             View<const std::uint8_t, 1> valid, View<Real, 2> y) {
    for (Index s = 0; s < y.extent(0); ++s) {
        const Real share = share_of<Real>(begin, valid, s);
        Real* ys = y.row(s);
        for_columns(stream, y.extent(1), begin(s + 1) - begin(s), [&](Index first, Index last) {
            for (Index d = first; d < last; ++d) ys[d] = Real(0);
            for (Index t = begin(s); t < begin(s + 1); ++t) {
                if (valid(t) == 0) continue;
                for (Index d = first; d < last; ++d) ys[d] += x(t, d);
            }
            for (Index d = first; d < last; ++d) ys[d] *= share;
        });
    }
}

template <class Real>
void backward(Stream stream, View<const Real, 2> dy, View<const std::int32_t, 1> begin,
              View<const std::uint8_t, 1> valid, View<Real, 2> dx, Write write) {
    for (Index s = 0; s < dy.extent(0); ++s) {
        const Real share = share_of<Real>(begin, valid, s);
        for_rows(stream, begin(s + 1) - begin(s), dy.extent(1), [&](Index row) {
            const Index t = begin(s) + row;
            for (Index d = 0; d < dy.extent(1); ++d) {
                put(dx(t, d), valid(t) == 0 ? Real(0) : share * dy(s, d), write);
            }
        });
    }
}

template <class Real>
constexpr SegmentMeanKernels<Real> kernels{forward<Real>, backward<Real>};

}  // namespace
}  // namespace moegrad::cpu::segment_mean

MOEGRAD_CPU_SEATS(segment_mean)
