#pragma once
// slice_prior: which k of the E slices of a feed-forward stand for the whole, per token, as a multi-hot label.
//     o_e: output of slice e, o: of the whole,   G = Gram matrix of (o_0, .., o_{E-1}, o),   b = k / E
//     slice_mse      the k smallest  |o_e - b o|^2 = G_ee - 2 b G_eo + b^2 G_oo             the released code
//     best_subset    min over S of size k  |sum_S o_e - o|^2 = sum_{i,j in S} G_ij - 2 sum_S G_io + G_oo
//     contribution   the k largest  |o_e|^2 = G_ee
// Subsets are compared unscaled, as the code has it: scaled by E/k, S and its complement tie for k = E/2 while slices are
// untouched, and rounding would choose. G holds o itself: once slices are trained they no longer sum to it. Ties: the
// lower slice, the subset whose highest slice is lower. A token without rows has the label 0. Nothing is differentiable.
// At most 32 slices, 16 for subsets.
// Saved: nothing.          FactorLLM (arXiv 2408.11855)

#include <moegrad/autograd/tape.hpp>
#include <moegrad/core/slot.hpp>

namespace moegrad {

enum class SlicePrior { slice_mse, best_subset, contribution };

inline constexpr Index kMostSlices = 32, kMostSubsetSlices = 16;

/// The chosen slices as bits, from the Gram matrix [E + 1, E + 1] of a token.
template <class Real>
struct SliceChoice {
    const Real* gram;
    Index E, k;

    MOEGRAD_HD Real at(Index i, Index j) const { return gram[i * (E + 1) + j]; }

    MOEGRAD_HD std::uint32_t operator()(SlicePrior by) const {
        return by == SlicePrior::best_subset ? subset() : ranked(by == SlicePrior::slice_mse);
    }

private:
    /// Smaller is better.
    MOEGRAD_HD Real score(Index e, bool distance) const {
        const Real b = static_cast<Real>(k) / static_cast<Real>(E);
        return distance ? at(e, e) - 2 * b * at(e, E) + b * b * at(E, E) : -at(e, e);
    }
    MOEGRAD_HD std::uint32_t ranked(bool distance) const {
        std::uint32_t chosen = 0;
        for (Index n = 0; n < k; ++n) {
            Index best = -1;
            for (Index e = 0; e < E; ++e) {
                if ((chosen >> e & 1u) != 0) continue;
                if (best < 0 || score(e, distance) < score(best, distance)) best = e;
            }
            chosen |= 1u << best;
        }
        return chosen;
    }
    /// sum_{i in S} (G_ii - 2 G_io + 2 sum_{j in S, j > i} G_ij). From set bit to set bit: a question for every bit would be
    /// guessed wrong half the time.
    MOEGRAD_HD Real error(std::uint32_t mask) const {
        Real total = 0;
        for (std::uint32_t left = mask; left != 0; left &= left - 1) {
            const Index i = lowest(left);
            Real others = 0;
            for (std::uint32_t more = left & (left - 1); more != 0; more &= more - 1)
                others += at(i, lowest(more));
            total += at(i, i) + 2 * (others - at(i, E));
        }
        return total;
    }
    /// The number of the lowest set bit. Not by <bit>: of its functions nvcc 13.0 makes constants in device code.
    MOEGRAD_HD static Index lowest(std::uint32_t bits) { return 31 - __builtin_clz(bits & (~bits + 1)); }
    MOEGRAD_HD std::uint32_t subset() const {
        std::uint32_t best = (1u << k) - 1;
        Real least = error(best);
        for (std::uint32_t mask = next(best); mask < 1u << E; mask = next(mask)) {
            const Real other = error(mask);
            if (other < least) {
                least = other;
                best = mask;
            }
        }
        return best;
    }
    /// The next larger number with as many bits.
    MOEGRAD_HD static std::uint32_t next(std::uint32_t mask) {
        const std::uint32_t low = mask & (~mask + 1), ripple = mask + low;
        return ripple | (((mask ^ ripple) / low) >> 2);
    }
};

template <class Real>
struct SlicePriorKernels {
    /// gram [T, (E + 1)^2]; of a token without a row it is not written.
    void (*gram)(Stream, View<const Real, 2> h, View<const std::int32_t, 2> slot_row, View<const Real, 2> o,
                 View<Wide<Real>, 2> gram);
    void (*choose)(Stream, View<const Wide<Real>, 2> gram, View<const std::int32_t, 2> slot_row, Index k,
                   SlicePrior by, View<Wide<Real>, 2> label);
};

inline constinit KernelSlot<SlicePriorKernels> slice_prior_slot{"slice_prior", Proof::reference};

/// h [N, D]: rows of slices, slot_row [T, E]: the row of slice e of token t (a dispatch of all slices), o [T, D] ->
/// label [T, E] of 0 and 1.
template <class Real>
Tensor<Wide<Real>> slice_prior(Tape& tape, const Tensor<Real>& h, const Tensor<std::int32_t>& slot_row,
                               const Tensor<Real>& o, Index k, SlicePrior by) {
    const bool fits = h.shape().rank() == 2 && slot_row.shape().rank() == 2 &&
                      o.shape() == Shape{slot_row.extent(0), h.extent(1)};
    const Index E = fits ? slot_row.extent(1) : 0;
    if (!fits || k < 1 || k > E || E > (by == SlicePrior::best_subset ? kMostSubsetSlices : kMostSlices)) {
        throw Error{ErrorCode::shape, "slice_prior",
                    format("h [N, D], slot_row [T, E], o [T, D], 1 <= k <= E <= {} ({} for subsets)",
                           kMostSlices, kMostSubsetSlices),
                    format("h {}, slot_row {}, o {}, k {}", h.shape().text(), slot_row.shape().text(),
                           o.shape().text(), k)};
    }
    const auto& kernels = slice_prior_slot.get<Real>(tape.device());
    const Index T = slot_row.extent(0);
    auto label = tape.make<Wide<Real>>({T, E});
    const auto gram = tape.make<Wide<Real>>({T, (E + 1) * (E + 1)});
    kernels.gram(tape.stream(), h.template view<2>(), slot_row.view<2>(), o.template view<2>(),
                 gram.template view<2>());
    kernels.choose(tape.stream(), gram.template view<2>(), slot_row.view<2>(), k, by,
                   label.template view<2>());
    return label;
}

}  // namespace moegrad
