#pragma once
// embedding.   y[t,:] = w[id[t],:]
// backward:    dw[v,:] = sum of dy[t,:] over the t with id[t] = v, in order of t
// Saved: id [T].

#include <moegrad/autograd/tape.hpp>
#include <moegrad/core/slot.hpp>

namespace moegrad {

template <class Real>
struct EmbeddingKernels {
    void (*forward)(Stream, View<const std::int32_t, 1> id, View<const Real, 2> w, View<Real, 2> y);
    /// One chain per element over the tokens in order, starting from what dw holds.
    void (*backward_weight)(Stream, View<const std::int32_t, 1> id, View<const Real, 2> dy,
                            View<Wide<Real>, 2> dw,
                            Write);
};

inline constinit KernelSlot<EmbeddingKernels> embedding_slot{"embedding"};

/// id [T], w [V, D] -> [T, D].
template <class Real>
Var<Real> embedding(Tape& tape, const Tensor<std::int32_t>& id, const Weight<Real>& w) {
    if (id.shape().rank() != 1 || w.shape().rank() != 2) {
        throw Error{ErrorCode::shape, "embedding", "id [T] and w [V, D]",
                    format("id {}, w {}", id.shape().text(), w.shape().text())};
    }
    const Index V = w.extent(0);
    for (Index t = 0; t < id.extent(0); ++t) {
        if (id.data()[t] < 0 || id.data()[t] >= V) {
            throw Error{ErrorCode::data, "embedding", format("token ids in [0, {})", V),
                        format("id {} at position {}", id.data()[t], t),
                        "do the tokenizer and the checkpoint belong together?"};
        }
    }
    const auto& kernels = embedding_slot.get<Real>(tape.device());
    auto y = tape.output<Real>({id.extent(0), w.extent(1)}, w.needs_gradient());
    kernels.forward(tape.stream(), id.view<1>(), w.template view<2>(), y.value().template view<2>());
    if (!y.needs_gradient()) return y;
    tape.record(y.gradient(), [&kernels, stream = tape.stream(), id, dy = y.gradient(), into = w.gradient()] {
        auto dw = into->target();
        kernels.backward_weight(stream, id.view<1>(), dy->tensor().template view<2>(),
                                dw.tensor.template view<2>(), dw.write);
    });
    return y;
}

}  // namespace moegrad
