#pragma once
// swiglu:   y[n,f] = silu(gate[n,f]) up[n,f],   silu(z) = z sigmoid(z)
// backward: d_gate = dy up s (1 + gate (1 - s)),  d_up = dy silu(gate),   s = sigmoid(gate)
// Saved: gate, up [N, F].        Shazeer 2020, eq. 6.
//
// Routed rows: N is then only a bound, the true count lies on the device in `rows` [1]. Rows at or beyond it
// are neither read nor written, in y and in the gradients.

#include <moegrad/autograd/tape.hpp>
#include <moegrad/core/slot.hpp>

namespace moegrad {

template <class Real>
struct SwigluKernels {
    /// rows: nullptr means all of them.
    void (*forward)(Stream, View<const Real, 2> gate, View<const Real, 2> up, View<Real, 2> y,
                    const std::int32_t* rows);
    /// Either gradient may be an empty view: nobody needs it.
    void (*backward)(Stream, View<const Real, 2> gate, View<const Real, 2> up, View<const Real, 2> dy,
                     View<Real, 2> d_gate, Write write_gate, View<Real, 2> d_up, Write write_up,
                     const std::int32_t* rows);
};

inline constinit KernelSlot<SwigluKernels> swiglu_slot{"swiglu"};

namespace detail {
inline void check_row_count(const Tensor<std::int32_t>& rows) {
    if (rows.defined() && rows.size() != 1) {
        throw Error{ErrorCode::shape, "swiglu", "rows [1]", "rows " + rows.shape().text()};
    }
}
}  // namespace detail

/// gate, up [N, F] -> [N, F]. rows [1]: how many of the N rows exist; all of them when it is not defined.
template <class Real>
Var<Real> swiglu(Tape& tape, const Var<Real>& gate, const Var<Real>& up,
                 const Tensor<std::int32_t>& rows = {}) {
    if (gate.shape().rank() != 2 || !(gate.shape() == up.shape())) {
        throw Error{ErrorCode::shape, "swiglu", "gate [N, F] and up [N, F]",
                    format("gate {}, up {}", gate.shape().text(), up.shape().text())};
    }
    detail::check_row_count(rows);
    const auto& kernels = swiglu_slot.get<Real>(tape.device());
    auto y = tape.output<Real>(gate.shape(), gate.needs_gradient() || up.needs_gradient());
    kernels.forward(tape.stream(), gate.template view<2>(), up.template view<2>(),
                    y.value().template view<2>(), rows.data());
    if (!y.needs_gradient()) return y;
    tape.record(y.gradient(), [&kernels, stream = tape.stream(), gate, up, rows, dy = y.gradient()] {
        View<Real, 2> d_gate, d_up;
        Write write_gate = Write::overwrite, write_up = Write::overwrite;
        if (gate.needs_gradient()) {
            auto target = gate.gradient()->target();
            d_gate = target.tensor.template view<2>();
            write_gate = target.write;
        }
        if (up.needs_gradient()) {
            auto target = up.gradient()->target();
            d_up = target.tensor.template view<2>();
            write_up = target.write;
        }
        kernels.backward(stream, gate.template view<2>(), up.template view<2>(),
                         dy->tensor().template view<2>(), d_gate, write_gate, d_up, write_up, rows.data());
    });
    return y;
}

/// gate_up [N, 2F], the columns of gate and then those of up, -> [N, F].
template <class Real>
Var<Real> swiglu_fused(Tape& tape, const Var<Real>& gate_up, const Tensor<std::int32_t>& rows = {}) {
    if (gate_up.shape().rank() != 2 || gate_up.extent(1) % 2 != 0) {
        throw Error{ErrorCode::shape, "swiglu_fused", "gate_up [N, 2F]", "gate_up " + gate_up.shape().text()};
    }
    detail::check_row_count(rows);
    const auto& kernels = swiglu_slot.get<Real>(tape.device());
    const Index N = gate_up.extent(0), F = gate_up.extent(1) / 2;
    auto y = tape.output<Real>({N, F}, gate_up.needs_gradient());
    const View<const Real, 2> both = gate_up.template view<2>();
    kernels.forward(tape.stream(), {both.data, {N, F}, both.pitch}, {both.data + F, {N, F}, both.pitch},
                    y.value().template view<2>(), rows.data());
    if (!y.needs_gradient()) return y;
    tape.record(y.gradient(), [&kernels, stream = tape.stream(), gate_up, rows, N, F, dy = y.gradient()] {
        const View<const Real, 2> x = gate_up.template view<2>();
        auto target = gate_up.gradient()->target();
        const View<Real, 2> dx = target.tensor.template view<2>();
        kernels.backward(stream, {x.data, {N, F}, x.pitch}, {x.data + F, {N, F}, x.pitch},
                         dy->tensor().template view<2>(), {dx.data, {N, F}, dx.pitch}, target.write,
                         {dx.data + F, {N, F}, dx.pitch}, target.write, rows.data());
    });
    return y;
}

}  // namespace moegrad
