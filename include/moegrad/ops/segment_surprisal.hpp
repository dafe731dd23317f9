#pragma once
// segment_surprisal of the gates of a segment.   value[s] = -c sum_e log p[s,e],   0 for a segment without a valid row
// backward:                                      dp[s,e] = -c dvalue[s] / p[s,e],  0 there
// Least, c E log E, where all gates are equal. A gate of 0 gives an infinite value.
// Saved: p [S, E].                               The balance of MoLE, Wu et al. 2024 (arXiv 2404.13628).

#include <moegrad/autograd/tape.hpp>
#include <moegrad/core/segments.hpp>
#include <moegrad/core/slot.hpp>

namespace moegrad {

template <class Real>
struct SegmentSurprisalKernels {
    void (*forward)(Stream, View<const Real, 2> p, View<const std::int32_t, 1> begin,
                    View<const std::uint8_t, 1> valid, double c, View<Real, 1> value);
    void (*backward)(Stream, View<const Real, 2> p, View<const std::int32_t, 1> begin,
                     View<const std::uint8_t, 1> valid, double c, View<const Real, 1> dvalue,
                     View<Real, 2> dp, Write);
};

inline constinit KernelSlot<SegmentSurprisalKernels> segment_surprisal_slot{"segment_surprisal"};

/// p [S, E], a row per segment -> [S]. Routers use Wide.
template <class Real>
Var<Real> segment_surprisal(Tape& tape, const Var<Real>& p, const Segments& segments, double c = 1) {
    if (p.shape().rank() != 2 || p.extent(0) != segments.count()) {
        throw Error{ErrorCode::shape, "segment_surprisal", "p [S, E] and S segments",
                    format("p {}, {} segments", p.shape().text(), segments.count())};
    }
    const auto& kernels = segment_surprisal_slot.get<Real>(tape.device());
    auto value = tape.output<Real>({p.extent(0)}, p.needs_gradient());
    kernels.forward(tape.stream(), p.template view<2>(), segments.begin.view<1>(), segments.valid.view<1>(),
                    c, value.value().template view<1>());
    if (!value.needs_gradient()) return value;
    tape.record(value.gradient(), [&kernels, stream = tape.stream(), p, begin = segments.begin,
                                   valid = segments.valid, c, dvalue = value.gradient()] {
        auto dp = p.gradient()->target();
        kernels.backward(stream, p.template view<2>(), begin.template view<1>(), valid.template view<1>(), c,
                         dvalue->tensor().template view<1>(), dp.tensor.template view<2>(), dp.write);
    });
    return value;
}

}  // namespace moegrad
