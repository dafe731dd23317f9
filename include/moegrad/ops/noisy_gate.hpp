#pragma once
// What noisy top-k gating learns from its noise (Shazeer et al. 2017, arXiv 1701.06538, eq. 4 and 8 to 10).
//   noise_deviation   s[t,e] = softplus(r[t,e]) + 1e-2                          dr = ds sigmoid(r)
//   noisy_load        load[t,e] = Phi(u),  u = (z[t,e] - h[t,x]) / s[t,e]:      the chance that e is taken when its noise is
//                     drawn again. z clean logits, h noisy ones, x the K-th best column of h without e: the (K+1)-th where
//                     e is taken, else the K-th.      g = dload phi(u) / s:   dz = g,   ds = -g u,
//                     dh[t,x] = -sum of g over the e whose threshold is x.    K = E: load 1, no gradient.
// Saved: r; z, s, h, order [T, K + 1].

#include <moegrad/autograd/tape.hpp>
#include <moegrad/core/math_normal.hpp>
#include <moegrad/core/slot.hpp>

namespace moegrad {

inline constexpr double kNoiseFloor = 1e-2;

/// Views of what noisy_load reads, for kernels.
template <class Real>
struct NoisyLoadInput {
    View<const Real, 2> clean, deviation, noisy;  // [T, E]
    View<const std::int32_t, 2> order;            // [T, K + 1] best columns of noisy, or [T, E] when K = E
    Index K;

    MOEGRAD_HD constexpr bool always() const { return K >= clean.extent(1); }
    MOEGRAD_HD constexpr bool taken(Index t, Index e) const {
        for (Index k = 0; k < K; ++k) {
            if (order(t, k) == e) return true;
        }
        return false;
    }
    MOEGRAD_HD constexpr std::int32_t threshold(Index t, Index e) const {
        return order(t, taken(t, e) ? K : K - 1);
    }
    MOEGRAD_HD constexpr double u(Index t, Index e) const {
        return (static_cast<double>(clean(t, e)) - static_cast<double>(noisy(t, threshold(t, e)))) /
               static_cast<double>(deviation(t, e));
    }
    MOEGRAD_HD constexpr double load(Index t, Index e) const { return always() ? 1 : normal_cdf(u(t, e)); }
    /// d load / d clean.
    MOEGRAD_HD constexpr double slope(Index t, Index e) const {
        return always() ? 0 : normal_density(u(t, e)) / static_cast<double>(deviation(t, e));
    }
    /// The gradient of noisy(t, x) given that of load.
    MOEGRAD_HD constexpr double threshold_gradient(Index t, Index x, const Real* dload) const {
        if (always() || (order(t, K) != x && order(t, K - 1) != x)) return 0;
        double sum = 0;
        for (Index e = 0; e < clean.extent(1); ++e) {
            if (threshold(t, e) == x) sum -= static_cast<double>(dload[e]) * slope(t, e);
        }
        return sum;
    }
};

/// Which input a backward kernel writes the gradient of.
enum class NoisyLoadPart { clean, deviation, noisy };

template <class Real>
struct NoisyGateKernels {
    void (*deviation)(Stream, View<const Real, 2> r, View<Real, 2> s);
    void (*deviation_backward)(Stream, View<const Real, 2> r, View<const Real, 2> ds, View<Real, 2> dr,
                               Write);
    void (*load)(Stream, NoisyLoadInput<Real>, View<Real, 2> load);
    void (*load_backward)(Stream, NoisyLoadInput<Real>, View<const Real, 2> dload, View<Real, 2> into, Write,
                          NoisyLoadPart);
};

inline constinit KernelSlot<NoisyGateKernels> noisy_gate_slot{"noisy_gate"};

/// r [T, E] -> [T, E].
template <class Real>
Var<Real> noise_deviation(Tape& tape, const Var<Real>& r) {
    if (r.shape().rank() != 2) {
        throw Error{ErrorCode::shape, "noise_deviation", "r [T, E]", "r " + r.shape().text()};
    }
    const auto& kernels = noisy_gate_slot.get<Real>(tape.device());
    auto s = tape.output<Real>(r.shape(), r.needs_gradient());
    kernels.deviation(tape.stream(), r.template view<2>(), s.value().template view<2>());
    if (!s.needs_gradient()) return s;
    tape.record(s.gradient(), [&kernels, stream = tape.stream(), r, ds = s.gradient()] {
        auto dr = r.gradient()->target();
        kernels.deviation_backward(stream, r.template view<2>(), ds->tensor().template view<2>(),
                                   dr.tensor.template view<2>(), dr.write);
    });
    return s;
}

/// clean, deviation, noisy [T, E]; order: top_k of noisy, K + 1 columns or E, whichever is less -> [T, E].
template <class Real>
Var<Real> noisy_load(Tape& tape, const Var<Real>& clean, const Var<Real>& deviation, const Var<Real>& noisy,
                     const Tensor<std::int32_t>& order, Index K) {
    if (clean.shape().rank() != 2 || !(clean.shape() == deviation.shape()) ||
        !(clean.shape() == noisy.shape()) || K < 1 ||
        !(order.shape() == Shape{clean.extent(0), std::min(K + 1, clean.extent(1))})) {
        throw Error{ErrorCode::shape, "noisy_load", "clean, deviation, noisy [T, E], order [T, K + 1]",
                    format("clean {}, deviation {}, noisy {}, order {}, K {}", clean.shape().text(),
                           deviation.shape().text(), noisy.shape().text(), order.shape().text(), K)};
    }
    const auto& kernels = noisy_gate_slot.get<Real>(tape.device());
    const bool needs = clean.needs_gradient() || deviation.needs_gradient() || noisy.needs_gradient();
    auto load = tape.output<Real>(clean.shape(), needs);
    const auto input = [clean, deviation, noisy, order, K]() -> NoisyLoadInput<Real> {
        return {clean.template view<2>(), deviation.template view<2>(), noisy.template view<2>(),
                order.view<2>(), K};
    };
    kernels.load(tape.stream(), input(), load.value().template view<2>());
    if (!load.needs_gradient()) return load;
    tape.record(load.gradient(),
                [&kernels, stream = tape.stream(), input, clean, deviation, noisy, dload = load.gradient()] {
                    const auto write = [&](const Var<Real>& x, NoisyLoadPart part) {
                        if (!x.needs_gradient()) return;
                        auto into = x.gradient()->target();
                        kernels.load_backward(stream, input(), dload->tensor().template view<2>(),
                                              into.tensor.template view<2>(), into.write, part);
                    };
                    write(clean, NoisyLoadPart::clean);
                    write(deviation, NoisyLoadPart::deviation);
                    write(noisy, NoisyLoadPart::noisy);
                });
    return load;
}

}  // namespace moegrad
