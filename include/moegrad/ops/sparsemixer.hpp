#pragma once
// sparsemixer: K experts of a token one after the other, each with a softmax over its own near ties
// (Liu et al. 2023, arXiv 2310.00811; K = 2 as in the released code of Phi-3.5-MoE).   For k = 0 .. K - 1:
//     m    = max of z[t,e] over the e that are not picked yet
//     near = those e with (m - z_e) / max(|z_e|, m) <= 2 jitter
//     pick = the best of them, or, sampled, the largest z_e + gumbel          (ties: lowest column)
//     p    = softmax of z over near,   w[t,k] = h p[pick]
//     h    = 1 where pick is the best or u > 3/4, else 1/3: Heun's third-order rule, f(x) - f(0) = f'(x)/4 + 3 f'(x/3)/4
// backward, as if h were 1:   dz_j = sum_k dw_k p_k[pick_k] (1[j = pick_k] - p_k[j])
// Draws: key = draw_key with "spmx"; gumbel = -log(-log U), U from words 0, 1 of philox({sample, position, k, e}, key);
// u from word 0 of philox({sample, position, k, 2^32 - 1}, key). Picks are recorded and replayed as those of top_k.
// Saved: p [T, K E], choice [T, K].

#include <moegrad/autograd/recorded_choice.hpp>
#include <moegrad/core/math.hpp>
#include <moegrad/ops/random_choice.hpp>

namespace moegrad {

struct SparsemixerOptions {
    double jitter = 0.01;
    bool sample = false;  // else the best
    bool heun = false;    // else h = 1
};

MOEGRAD_HD constexpr PhiloxKey sparsemixer_key(const DrawKey& draw, const StepScalars& scalars) {
    return draw_key(draw, scalars, 0x73706d78);
}

/// One token, for kernels.
template <class Real>
struct SparsemixerToken {
    const Real* z;         // [E]
    std::int32_t* choice;  // [K]
    Index E;
    std::int32_t sample, position;
    PhiloxKey key;
    SparsemixerOptions options;

    MOEGRAD_HD PhiloxCounter words(Index k, Index e) const {
        return philox({static_cast<std::uint32_t>(sample), static_cast<std::uint32_t>(position),
                       static_cast<std::uint32_t>(k), static_cast<std::uint32_t>(e)},
                      key);
    }
    MOEGRAD_HD constexpr bool free(Index e, Index k) const {
        for (Index j = 0; j < k; ++j) {
            if (choice[j] == e) return false;
        }
        return true;
    }
    MOEGRAD_HD constexpr Index best(Index k) const {
        Index found = -1;
        for (Index e = 0; e < E; ++e) {
            if (free(e, k) && (found < 0 || z[e] > z[found])) found = e;
        }
        return found;
    }
    MOEGRAD_HD constexpr bool near(Index e, Index k, Index best) const {
        const double m = static_cast<double>(z[best]), own = static_cast<double>(z[e]);
        const double size = own < 0 ? -own : own;
        return free(e, k) && !((m - own) / (size > m ? size : m) > 2 * options.jitter);
    }
    MOEGRAD_HD std::int32_t pick(Index k) const {
        const Index top = best(k);
        if (!options.sample) return static_cast<std::int32_t>(top);
        Index found = -1;
        double largest = 0;
        for (Index e = 0; e < E; ++e) {
            if (!near(e, k, top)) continue;
            const PhiloxCounter drawn = words(k, e);
            const double score =
                static_cast<double>(z[e]) - moegrad::log(-moegrad::log(uniform_open(drawn[0], drawn[1])));
            if (found >= 0 && !(score > largest)) continue;
            found = e;
            largest = score;
        }
        return static_cast<std::int32_t>(found);
    }
    /// p [E] of slot k, and its weight.
    MOEGRAD_HD Real weigh(Index k, Real* p) const {
        const Index top = best(k);
        Real sum = Real(0);
        for (Index e = 0; e < E; ++e) {
            p[e] = near(e, k, top) ? moegrad::exp(z[e] - z[top]) : Real(0);
            sum += p[e];
        }
        for (Index e = 0; e < E; ++e) p[e] /= sum;
        const bool whole = !options.heun || choice[k] == top || uniform(words(k, 0xffffffff)[0]) > 0.75f;
        return whole ? p[choice[k]] : p[choice[k]] / Real(3);
    }
};

/// What the kernels of a batch read and write.
template <class Real>
struct SparsemixerBatch {
    View<const Real, 2> z;         // [T, E]
    View<std::int32_t, 2> choice;  // [T, K]
    TokenKeys tokens;
    DrawKey draw;
    SparsemixerOptions options;

    MOEGRAD_HD SparsemixerToken<Real> token(Index t, PhiloxKey key) const {
        return {z.row(t), choice.row(t), z.extent(1), tokens.sample(t), tokens.position(t), key, options};
    }
};

template <class Real>
struct SparsemixerKernels {
    void (*choose)(Stream, SparsemixerBatch<Real>);
    void (*weigh)(Stream, SparsemixerBatch<Real>, View<Real, 2> p, View<Real, 2> w);
    void (*backward)(Stream, View<const Real, 2> p, View<const std::int32_t, 2> choice,
                     View<const Real, 2> dw, View<Real, 2> dz, Write);
};

inline constinit KernelSlot<SparsemixerKernels> sparsemixer_slot{"sparsemixer"};

template <class Real>
struct SparsemixerSlots {
    Tensor<std::int32_t> choice;  // [T, K]
    Var<Real> weight;             // [T, K]
};

/// z [T, E], 1 <= K <= E.
template <class Real>
SparsemixerSlots<Real> sparsemixer(Tape& tape, const Var<Real>& z, const Segments& segments, Index K,
                                   const SparsemixerOptions& options, const DrawKey& key) {
    if (z.shape().rank() != 2 || z.extent(0) != segments.tokens() || K < 1 || K > z.extent(1)) {
        throw Error{ErrorCode::shape, "sparsemixer", "z [T, E], segments of T tokens, 1 <= K <= E",
                    format("z {}, segments of {}, K {}", z.shape().text(), segments.tokens(), K)};
    }
    const auto& kernels = sparsemixer_slot.get<Real>(tape.device());
    const auto batch = [&](const Tensor<std::int32_t>& choice) -> SparsemixerBatch<Real> {
        return {z.template view<2>(), choice.view<2>(), token_keys(segments), key, options};
    };
    const Tensor<std::int32_t> choice =
        recorded_choice(tape, "sparsemixer", {z.extent(0), K},
                        [&](const Tensor<std::int32_t>& to) { kernels.choose(tape.stream(), batch(to)); });
    const auto p = tape.make<Real>({z.extent(0), K * z.extent(1)});
    auto w = tape.output<Real>({z.extent(0), K}, z.needs_gradient());
    kernels.weigh(tape.stream(), batch(choice), p.template view<2>(), w.value().template view<2>());
    if (w.needs_gradient()) {
        tape.record(w.gradient(), [&kernels, stream = tape.stream(), p, choice, gradient = z.gradient(),
                                   dw = w.gradient()] {
            auto dz = gradient->target();
            kernels.backward(stream, p.template view<2>(), choice.view<2>(), dw->tensor().template view<2>(),
                             dz.tensor.template view<2>(), dz.write);
        });
    }
    return {choice, w};
}

}  // namespace moegrad
