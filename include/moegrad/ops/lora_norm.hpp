#pragma once
// lora_norm: the Euclidean norms of the rows of V = w + s B A, without making B A [O, D].
//     n[o]^2 = |w_o + s B_o A|^2 = |w_o|^2 + 2 s (w A^T)_o . B_o + s^2 B_o (A A^T) B_o^T
// A GPU adds the squares of the row as it makes it; the CPU, where products of matrices cost less, the three terms.
// A constant: DoRA takes no gradient through it (Liu et al. 2024, arXiv 2402.09353, section 4.3). Where rounding makes the
// sum negative, 0. With B = 0 it is |w_o|: on the CPU to the bit.
// Saved: nothing.

#include <moegrad/core/slot.hpp>
#include <moegrad/ops/lora_linear.hpp>

namespace moegrad {

/// Of the CPU.
template <class Real>
struct LoraNormRoom {
    View<Wide<Real>, 2> p, g;  // [O, R], [R, R]: w A^T and A A^T
};

template <class Real>
struct LoraNormKernels {
    void (*norms)(Stream, View<const Real, 2> w, View<const Real, 2> A, View<const Real, 2> B, double scale,
                  LoraNormRoom<Real> room, View<Wide<Real>, 1> n);
};

inline constinit KernelSlot<LoraNormKernels> lora_norm_slot{"lora_norm", Proof::reference};

/// w [O, D], A [R, D], B [O, R] -> [O], in step memory.
template <class Real>
Tensor<Wide<Real>> lora_norm(Context& context, const std::type_identity_t<Matrix<Real>>& w,
                             const LoraWeights<Real>& lora) {
    const Shape &W = w.shape(), &A = lora.A.shape(), &B = lora.B.shape();
    if (W.rank() != 2 || A.rank() != 2 || B.rank() != 2 || A[1] != W[1] || B[0] != W[0] || B[1] != A[0]) {
        throw Error{ErrorCode::shape, "lora_norm", "w [O, D], A [R, D] and B [O, R]",
                    format("w {}, A {}, B {}", W.text(), A.text(), B.text())};
    }
    Tensor<Wide<Real>> p, g;
    if (context.target() != Device::cuda) {
        p = context.template make<Wide<Real>>({W[0], A[0]});
        g = context.template make<Wide<Real>>({A[0], A[0]});
    }
    auto n = context.template make<Wide<Real>>({W[0]});
    lora_norm_slot.get<Real>(context.device())
        .norms(Stream(context), w.dense(context).template view<2>(), lora.A.template view<2>(),
               lora.B.template view<2>(), lora.scale, {view_or_none<2>(p), view_or_none<2>(g)},
               n.template view<1>());
    return n;
}

}  // namespace moegrad
