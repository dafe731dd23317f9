#pragma once
// gather_rows: rows of x in another order.   y[i] = x[index[i]],   0 where index[i] < 0
// backward:   dx[index[i]] = dy[i],   0 for the rows that nobody took
// A row is taken once at most, so nothing is summed.
// Saved: index [N].

#include <moegrad/autograd/tape.hpp>
#include <moegrad/core/slot.hpp>

namespace moegrad {

template <class Real>
struct GatherRowsKernels {
    void (*gather)(Stream, View<const Real, 2> x, View<const std::int32_t, 1> index, View<Real, 2> y);
    void (*backward)(Stream, View<const Real, 2> dy, View<const std::int32_t, 1> index, View<Real, 2> dx,
                     Write);
};

inline constinit KernelSlot<GatherRowsKernels> gather_rows_slot{"gather_rows"};

/// x [T, D], index [N] below T -> [N, D].
template <class Real>
Var<Real> gather_rows(Tape& tape, const Var<Real>& x, const Tensor<std::int32_t>& index) {
    if (x.shape().rank() != 2 || index.shape().rank() != 1) {
        throw Error{ErrorCode::shape, "gather_rows", "x [T, D] and index [N]",
                    format("x {}, index {}", x.shape().text(), index.shape().text())};
    }
    const auto& kernels = gather_rows_slot.get<Real>(tape.device());
    auto y = tape.output<Real>({index.extent(0), x.extent(1)}, x.needs_gradient());
    kernels.gather(tape.stream(), x.template view<2>(), index.view<1>(), y.value().template view<2>());
    if (!y.needs_gradient()) return y;
    tape.record(y.gradient(),
                [&kernels, stream = tape.stream(), index, dy = y.gradient(), into = x.gradient()] {
                    auto dx = into->target();
                    kernels.backward(stream, dy->tensor().template view<2>(), index.view<1>(),
                                     dx.tensor.template view<2>(), dx.write);
                });
    return y;
}

}  // namespace moegrad
