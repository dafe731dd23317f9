#pragma once
// embedding.   y[t,:] = w[id[t],:]
// backward:    dw[v,:] = sum of dy[t,:] over the t with id[t] = v, in order of t
// Saved: id [T].

#include <moegrad/autograd/tape.hpp>
#include <moegrad/core/slot.hpp>

#include <span>

namespace moegrad {

/// Tokens, sorted by id, whose gradients a GPU adds in one chain.
inline constexpr Index kEmbeddingWindow = 32;

/// What a GPU needs to sum over tokens: their order by id, and the sums of tokens that cross a window.
template <class Real>
struct EmbeddingRoom {
    View<std::int64_t, 2> key;  // [2, T]
    View<Wide<Real>, 2> part;   // [2 ceil(T / kEmbeddingWindow), D]
};

template <class Real>
struct EmbeddingKernels {
    /// A GPU writes NaN for an id outside the vocabulary and says so in its status.
    void (*forward)(Stream, View<const std::int32_t, 1> id, View<const Real, 2> w, View<Real, 2> y);
    /// CPU: one chain per element over the tokens in order, starting from what dw holds. GPU: chains of at most
    /// kEmbeddingWindow tokens of one id, then over those.
    void (*backward_weight)(Stream, View<const std::int32_t, 1> id, View<const Real, 2> dy,
                            View<Wide<Real>, 2> dw, Write, EmbeddingRoom<Real>);
};

inline constinit KernelSlot<EmbeddingKernels> embedding_slot{"embedding"};

/// Ids that lie on a GPU are checked by whoever sent them; those of a plan may have been written by nobody.
inline void check_ids(std::span<const std::int32_t> ids, Index V) {
    for (std::size_t t = 0; t < ids.size(); ++t) {
        if (ids[t] >= 0 && ids[t] < V) continue;
        throw Error{ErrorCode::data, "embedding", format("token ids in [0, {})", V),
                    format("id {} at position {}", ids[t], t),
                    "do the tokenizer and the checkpoint belong together?"};
    }
}

/// id [T], w [V, D] -> [T, D].
template <class Real>
Var<Real> embedding(Tape& tape, const Tensor<std::int32_t>& id, const Weight<Real>& w) {
    if (id.shape().rank() != 1 || w.shape().rank() != 2) {
        throw Error{ErrorCode::shape, "embedding", "id [T] and w [V, D]",
                    format("id {}, w {}", id.shape().text(), w.shape().text())};
    }
    if (id.on_host() && tape.device() != Device::dry) check_ids(id.values(), w.extent(0));
    const auto& kernels = embedding_slot.get<Real>(tape.device());
    auto y = tape.output<Real>({id.extent(0), w.extent(1)}, w.needs_gradient());
    kernels.forward(tape.stream(), id.view<1>(), w.template view<2>(), y.value().template view<2>());
    if (!y.needs_gradient()) return y;
    tape.record(y.gradient(), [&kernels, stream = tape.stream(), id, dy = y.gradient(), into = w.gradient()] {
        auto dw = into->target();
        const Index T = id.extent(0), windows = (T + kEmbeddingWindow - 1) / kEmbeddingWindow;
        const auto key = stream.context().template make<std::int64_t>({2, T});
        const auto part = stream.context().template make<Wide<Real>>({2 * windows, dw.tensor.extent(1)});
        kernels.backward_weight(stream, id.view<1>(), dy->tensor().template view<2>(),
                                dw.tensor.template view<2>(), dw.write,
                                {key.template view<2>(), part.template view<2>()});
    });
    return y;
}

}  // namespace moegrad
