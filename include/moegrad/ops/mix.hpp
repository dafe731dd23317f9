#pragma once
// mix of J rows with weights of their own per token.   y[t,e] = sum_j a[t,j] s[t, j E + e]
// backward:   da[t,j] = sum_e dy[t,e] s[t, j E + e],   ds[t, j E + e] = a[t,j] dy[t,e]
// Saved: a [T, J], s [T, J E].

#include <moegrad/autograd/tape.hpp>
#include <moegrad/core/slot.hpp>

namespace moegrad {

template <class Real>
struct MixKernels {
    void (*forward)(Stream, View<const Real, 2> a, View<const Real, 2> s, View<Real, 2> y);
    void (*backward_weight)(Stream, View<const Real, 2> s, View<const Real, 2> dy, View<Real, 2> da, Write);
    void (*backward_rows)(Stream, View<const Real, 2> a, View<const Real, 2> dy, View<Real, 2> ds, Write);
};

inline constinit KernelSlot<MixKernels> mix_slot{"mix"};

/// a [T, J], s [T, J E] -> [T, E].
template <class Real>
Var<Real> mix(Tape& tape, const Var<Real>& a, const Var<Real>& s) {
    if (a.shape().rank() != 2 || s.shape().rank() != 2 || a.extent(0) != s.extent(0) || a.extent(1) < 1 ||
        s.extent(1) % a.extent(1) != 0) {
        throw Error{ErrorCode::shape, "mix", "a [T, J] and s [T, J E]",
                    format("a {}, s {}", a.shape().text(), s.shape().text())};
    }
    const auto& kernels = mix_slot.get<Real>(tape.device());
    auto y =
        tape.output<Real>({a.extent(0), s.extent(1) / a.extent(1)}, a.needs_gradient() || s.needs_gradient());
    kernels.forward(tape.stream(), a.template view<2>(), s.template view<2>(), y.value().template view<2>());
    if (!y.needs_gradient()) return y;
    tape.record(y.gradient(), [&kernels, stream = tape.stream(), a, s, dy = y.gradient()] {
        const View<const Real, 2> dy_view = dy->tensor().template view<2>();
        if (a.needs_gradient()) {
            auto da = a.gradient()->target();
            kernels.backward_weight(stream, s.template view<2>(), dy_view, da.tensor.template view<2>(),
                                    da.write);
        }
        if (s.needs_gradient()) {
            auto ds = s.gradient()->target();
            kernels.backward_rows(stream, a.template view<2>(), dy_view, ds.tensor.template view<2>(),
                                  ds.write);
        }
    });
    return y;
}

}  // namespace moegrad
