#pragma once
// segment_mean: the mean of the valid rows of every segment.   y[s,d] = sum_{valid t of s} x[t,d] / n_s,   0 where n_s = 0
// backward:   dx[t,d] = dy[s,d] / n_s for a valid row t of s, 0 for padding
// Every y[s,d] is one chain over the rows of s.
// Saved: nothing.

#include <moegrad/autograd/tape.hpp>
#include <moegrad/core/segments.hpp>
#include <moegrad/core/slot.hpp>

namespace moegrad {

template <class Real>
struct SegmentMeanKernels {
    void (*forward)(Stream, View<const Real, 2> x, View<const std::int32_t, 1> begin,
                    View<const std::uint8_t, 1> valid, View<Real, 2> y);
    void (*backward)(Stream, View<const Real, 2> dy, View<const std::int32_t, 1> begin,
                     View<const std::uint8_t, 1> valid, View<Real, 2> dx, Write);
};

inline constinit KernelSlot<SegmentMeanKernels> segment_mean_slot{"segment_mean"};

/// x [T, D], segments of T rows -> [S, D]. Routers use Wide.
template <class Real>
Var<Real> segment_mean(Tape& tape, const Var<Real>& x, const Segments& segments) {
    if (x.shape().rank() != 2 || x.extent(0) != segments.tokens() || !segments.begin.defined()) {
        throw Error{ErrorCode::shape, "segment_mean", "x [T, D] and segments of T rows",
                    format("x {}, {} rows", x.shape().text(), segments.tokens())};
    }
    const auto& kernels = segment_mean_slot.get<Real>(tape.device());
    auto y = tape.output<Real>({segments.count(), x.extent(1)}, x.needs_gradient());
    kernels.forward(tape.stream(), x.template view<2>(), segments.begin.view<1>(), segments.valid.view<1>(),
                    y.value().template view<2>());
    if (!y.needs_gradient()) return y;
    tape.record(y.gradient(), [&kernels, stream = tape.stream(), begin = segments.begin,
                               valid = segments.valid, dy = y.gradient(), into = x.gradient()] {
        auto dx = into->target();
        kernels.backward(stream, dy->tensor().template view<2>(), begin.template view<1>(),
                         valid.template view<1>(), dx.tensor.template view<2>(), dx.write);
    });
    return y;
}

}  // namespace moegrad
