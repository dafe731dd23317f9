#pragma once
// attention_decode: the last n tokens of a sequence of m look at all of it, with the keys and values of the
// earlier ones kept from before. Row i is the row m - n + i of ops/attention.hpp on the whole sequence, on
// the CPU to the bit, on a GPU to rounding:
//   a[i,s] = scale <q[i,h], k[s]>   for s <= m - n + i, inside the window
//   y[i,h] = sum_s softmax(a[i])_s v[s]
// On a GPU it is made for few new rows: a block has one of them and reads all its keys, n m of them in all without
// tiles or tensor cores. A prompt (n = m) is a case for attention.
// q, y [n, H head];  k, v [m, Hkv head], all rows valid. For inference: there is no backward.
// Saved: nothing.

#include <moegrad/ops/attention.hpp>

namespace moegrad {

template <class Real>
struct AttentionDecodeKernels {
    void (*forward)(Stream, View<const Real, 2> q, View<const Real, 2> k, View<const Real, 2> v,
                    View<Real, 2> y, AttentionOptions);
    /// to = from, of equal shapes: new keys and values into a cache.
    void (*keep)(Stream, View<const Real, 2> from, View<Real, 2> to);
};

inline constinit KernelSlot<AttentionDecodeKernels> attention_decode_slot{"attention_decode",
                                                                          Proof::reference};

/// One sequence. `y` is written, rows of a larger output.
template <class Real>
void attention_decode(Tape& tape, const Tensor<Real>& q, const Tensor<Real>& k, const Tensor<Real>& v,
                      const Tensor<Real>& y, const AttentionOptions& wanted) {
    const Index n = q.extent(0), m = k.extent(0);
    const Shape queries{n, wanted.heads * wanted.head_dim};
    const AttentionOptions options =
        detail::check_attention(Shape{m, queries[1]}, k.shape(), v.shape(), m, wanted);
    if (!(q.shape() == queries && y.shape() == queries && n <= m)) {
        throw Error{ErrorCode::shape, "attention_decode",
                    format("q and y [n, {}] with n at most {}", queries[1], m),
                    format("q {}, y {}", q.shape().text(), y.shape().text())};
    }
    if (n == 0) return;
    attention_decode_slot.get<Real>(tape.device())
        .forward(tape.stream(), q.template view<2>(), k.template view<2>(), v.template view<2>(),
                 y.template view<2>(), options);
}

}  // namespace moegrad
