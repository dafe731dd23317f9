#pragma once
// attention_pool: one query per segment attends to the segment's rows, which are keys and values at once.
//     s_j = <q[s], x[j]> / sqrt(D),   p = softmax_j s,   a[s] = sum_j p_j x[j]        j the rows of segment s
// backward:   dp_j = <da[s], x[j]>,   ds_j = p_j (dp_j - sum_i p_i dp_i) / sqrt(D),
//             dq[s] = sum_j ds_j x[j],   dx[j] = p_j da[s] + ds_j q[s]
// An empty segment gives 0; rows before the first segment and behind the last are of none and get dx = 0.
// Sums over rows run in order.
// Saved: p [N], q [S, D], x [N, D].      Parrot's cross attention without weights (Sun et al. 2024, arXiv 2406.02539).

#include <moegrad/autograd/tape.hpp>
#include <moegrad/core/slot.hpp>

namespace moegrad {

template <class Real>
struct AttentionPoolKernels {
    void (*forward)(Stream, View<const Real, 2> q, View<const Real, 2> x, View<const std::int32_t, 1> begin,
                    View<Real, 1> p, View<Real, 2> a);
    /// slope [N]: room for ds. dq and dx may be empty: nobody needs them.
    void (*backward)(Stream, View<const Real, 2> q, View<const Real, 2> x, View<const std::int32_t, 1> begin,
                     View<const Real, 1> p, View<const Real, 2> da, View<Real, 1> slope, View<Real, 2> dq,
                     Write write_q, View<Real, 2> dx, Write write_x);
};

inline constinit KernelSlot<AttentionPoolKernels> attention_pool_slot{"attention_pool"};

/// q [S, D], x [N, D], begin [S + 1] the first row of each segment -> [S, D].
template <class Real>
Var<Real> attention_pool(Tape& tape, const Var<Real>& q, const Var<Real>& x,
                         const Tensor<std::int32_t>& begin) {
    if (q.shape().rank() != 2 || x.shape().rank() != 2 || q.extent(1) != x.extent(1) ||
        begin.shape().rank() != 1 || begin.extent(0) != q.extent(0) + 1) {
        throw Error{ErrorCode::shape, "attention_pool", "q [S, D], x [N, D] and begin [S + 1]",
                    format("q {}, x {}, begin {}", q.shape().text(), x.shape().text(), begin.shape().text())};
    }
    if (q.needs_gradient() && q.gradient() == x.gradient()) {
        throw Error{ErrorCode::unsupported, "attention_pool", "q and x with gradients of their own",
                    "one for both", "copy one of the two"};
    }
    const auto& kernels = attention_pool_slot.get<Real>(tape.device());
    const auto p = tape.make<Real>({x.extent(0)});
    auto a = tape.output<Real>(q.shape(), q.needs_gradient() || x.needs_gradient());
    kernels.forward(tape.stream(), q.template view<2>(), x.template view<2>(), begin.view<1>(),
                    p.template view<1>(), a.value().template view<2>());
    if (!a.needs_gradient()) return a;
    tape.record(a.gradient(), [&kernels, stream = tape.stream(), q, x, begin, p, da = a.gradient()] {
        const auto slope = stream.context().template make<Real>(p.shape());
        const auto target = [](const Var<Real>& v) {
            return v.needs_gradient() ? v.gradient()->target()
                                      : GradientTarget<Real>{Tensor<Real>(), Write::overwrite};
        };
        auto dq = target(q), dx = target(x);
        kernels.backward(stream, q.template view<2>(), x.template view<2>(), begin.view<1>(),
                         p.template view<1>(), da->tensor().template view<2>(), slope.template view<1>(),
                         view_or_none<2>(dq.tensor), dq.write, view_or_none<2>(dx.tensor), dx.write);
    });
    return a;
}

}  // namespace moegrad
