#pragma once
// cv2: the squared coefficient of variation of what the columns hold, per sequence or micro-batch.
//     c_e = sum of v[t,e] over the valid tokens,   m = mean_e c_e,   V = sum_e (c_e - m)^2 / (E - 1)      (unbiased)
//     L   = V / (m^2 + 1e-10),                     0 with one column
//     dv[t,e] = dL (2 (c_e - m) / (E - 1) / q - V (2 m / E) / q^2),   q = m^2 + 1e-10;   0 for padding
// 0 where all columns hold the same, E where one of them holds everything. Sums run over the valid tokens in order; on a
// GPU over chunks of kBalanceChunk tokens of a group, then over its chunks.
// Saved: dL / dc [S, E].       Shazeer et al. 2017 (arXiv 1701.06538), eq. 7 and 11: importance and load.

#include <moegrad/ops/balance_loss.hpp>

namespace moegrad {

inline constexpr double kCv2Floor = 1e-10;

template <class Real>
struct Cv2Kernels {
    /// begin [S + 1] as in Segments; micro scope: one group of all tokens. slope [S, E] = dL / dc.
    /// room [balance_chunks, E]: for a GPU's partial sums.
    void (*forward)(Stream, View<const Real, 2> v, View<const std::int32_t, 1> begin,
                    View<const std::uint8_t, 1> valid, View<Real, 1> loss, View<Real, 2> slope,
                    View<double, 2> room, BalanceOptions::Scope);
    void (*backward)(Stream, View<const Real, 2> slope, View<const std::int32_t, 1> segment,
                     View<const std::uint8_t, 1> valid, View<const Real, 1> dloss, View<Real, 2> dv, Write,
                     BalanceOptions::Scope);
};

inline constinit KernelSlot<Cv2Kernels> cv2_slot{"cv2"};

/// v [T, E] -> [S], one value per segment (Scope::sequence), or [1] (Scope::micro).
template <class Real>
Var<Real> cv2(Tape& tape, const Var<Real>& v, const Segments& segments, BalanceOptions::Scope scope) {
    if (v.shape().rank() != 2 || v.extent(0) != segments.tokens()) {
        throw Error{ErrorCode::shape, "cv2", "v [T, E] and segments of T tokens",
                    format("v {}, segments of {}", v.shape().text(), segments.tokens())};
    }
    const auto& kernels = cv2_slot.get<Real>(tape.device());
    const Index groups = scope == BalanceOptions::Scope::sequence ? segments.count() : 1;
    auto loss = tape.output<Real>({groups}, v.needs_gradient());
    const auto slope = tape.make<Real>({groups, v.extent(1)});
    const auto room = tape.make<double>({balance_chunks(v.extent(0), groups), v.extent(1)});
    kernels.forward(tape.stream(), v.template view<2>(), segments.begin.view<1>(), segments.valid.view<1>(),
                    loss.value().template view<1>(), slope.template view<2>(), room.template view<2>(),
                    scope);
    if (!loss.needs_gradient()) return loss;
    tape.record(loss.gradient(),
                [&kernels, stream = tape.stream(), slope, segment = segments.segment, valid = segments.valid,
                 scope, gradient = v.gradient(), dloss = loss.gradient()] {
                    auto dv = gradient->target();
                    kernels.backward(stream, slope.template view<2>(), segment.template view<1>(),
                                     valid.template view<1>(), dloss->tensor().template view<1>(),
                                     dv.tensor.template view<2>(), dv.write, scope);
                });
    return loss;
}

}  // namespace moegrad
