#pragma once
// The seam between ops and the grouped products on tensor cores; nothing else is called from outside. The emulator of
// the tests puts a file of this name in its place that says kTensorCores = false.
// Few columns go their own way (grouped_skinny.cuh). Else Hopper's wgmma (grouped_sm90.cuh) where the card, the code and the
// alignment allow it, or mma.sync from sm_80 on (grouped_sm80.cuh), which takes any alignment. A launch is capturable:
// nothing is read or allocated on the host.
// bf16 in, sums in float in one fixed order, every stored value rounded once.

#include <type_traits>

#include <moegrad/cuda/support/grouped_gram.cuh>
#include <moegrad/cuda/support/grouped_rank_gradient.cuh>
#include <moegrad/cuda/support/grouped_rank_sums.cuh>
#include <moegrad/cuda/support/grouped_skinny.cuh>
#include <moegrad/cuda/support/grouped_sm90.cuh>

namespace moegrad::cuda::grouped {

inline constexpr bool kTensorCores = true;

namespace {

inline int columns_of(const Store<bf16>& to) {
    return to.columns;
}
inline int columns_of(const Swiglu& to) {
    return to.F;
}
inline int columns_of(const SwigluGradient& to) {
    return to.F;
}

template <Major MajorB, class To>
void fast_product(cudaStream_t stream, const Operands<bf16>& x, const To& to) {
    const int columns = columns_of(to);
    if constexpr (std::is_same_v<To, Store<bf16>>) {
        const bool alone = !x.second() && fits_tensor_map(x.a) && fits_tensor_map(x.b) && aligned(to);
        if (columns <= kSkinnyMost && alone) return run_skinny<MajorB>(stream, x, to);
    }
    if (!fits_hopper(x) || !aligned(to)) {
        const bool second = !x.second() || (fits_tensor_map(x.a2) && fits_tensor_map(x.b2));
        return run_plain<MajorB>(stream, x, columns,
                                 fits_tensor_map(x.a) && fits_tensor_map(x.b) && second && aligned(to), to);
    }
    constexpr bool kPaired = std::is_same_v<To, Swiglu>;
    const int step = kPaired ? kTileColumns / 2 : kTileColumns,
              distance = kPaired ? columns : kTileColumns / 2;
    if constexpr (MajorB == Major::k) {
        if (x.row_token != nullptr) return run_hopper<MajorB, true>(stream, x, columns, step, distance, to);
    }
    run_hopper<MajorB, false>(stream, x, columns, step, distance, to);
}

/// a b^T: Store or Swiglu.
template <class To>
void fast_rows(cudaStream_t stream, const Operands<bf16>& x, const To& to) {
    fast_product<Major::k>(stream, x, to);
}
/// a b, rows of a in place: Store or SwigluGradient.
template <class To>
void fast_rows_across(cudaStream_t stream, const Operands<bf16>& x, const To& to) {
    fast_product<Major::mn>(stream, x, to);
}

/// dw[e] [O, D] (+)= sum_n dy[n]^T x[src(n)]; false where rows do not start at 16 bytes.
inline bool fast_gram(cudaStream_t stream, const GramSide& dy, const GramSide& x, const View<float, 3>& dw,
                      Write write, const std::int32_t* expert_begin) {
    if (!aligned(dy) || !aligned(x)) return false;
    run_gram(stream, dy, x, dw, write, expert_begin);
    return true;
}

/// du = factor * dy B into `to` and dB[e] (+)= sum_n dy[n]^T u[n], x: dy and B; false where `parts` is empty or rows do
/// not start at 16 bytes.
inline bool fast_rank_gradient(cudaStream_t stream, const Operands<bf16>& x, const Store<bf16>& to,
                               View<const bf16, 2> u, View<float, 1> parts, View<float, 3> dB, Write write) {
    const bool pairs = reinterpret_cast<std::uintptr_t>(dB.data) % 8 == 0 && dB.pitch % 2 == 0;
    if (parts.empty() || !pairs || !fits_tensor_map(x.a) || !fits_tensor_map(x.b) || !fits_tensor_map(u) ||
        !aligned(to)) {
        return false;
    }
    const Index columns = x.b.extent(1), rank = x.b.extent(2), experts = x.experts();
    const Index slice = rank_slice(experts, columns, rank), slices = (columns + slice - 1) / slice,
                part = parts.size() / slices;
    launch_rank_gradient(
        stream,
        {x.a.data, x.b.data, u.data, x.a.pitch, x.b.pitch, u.pitch, parts.data, dB.data, part, dB.pitch,
         static_cast<int>(columns), static_cast<int>(rank), write, x.expert_begin},
        slice, experts);
    add_slices(stream, parts.data, slices, part / rank, x.expert_begin + experts, to);
    return true;
}

/// The parts of one group; false where rows do not start at 16 bytes.
inline bool fast_rank_parts(cudaStream_t stream, const RankParts& g) {
    if (!fits_tensor_map(g.dy) || !fits_tensor_map(g.B) || !fits_tensor_map(g.u)) return false;
    const Index rows = g.dy.extent(0), columns = g.B.extent(0), rank = g.B.extent(1);
    launch_rank_gradient(stream,
                         {g.dy.data, g.B.data, g.u.data, g.dy.pitch, g.B.pitch, g.u.pitch, g.du, g.dB,
                          rows * rank, rank, static_cast<int>(columns), static_cast<int>(rank),
                          Write::overwrite, nullptr, static_cast<int>(rows), static_cast<int>(g.cut.piece)},
                         g.cut.slice, g.cut.pieces);
    return true;
}

}  // namespace
}  // namespace moegrad::cuda::grouped
