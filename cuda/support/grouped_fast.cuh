#pragma once
// The seam between ops and the grouped products on tensor cores; nothing else is called from outside. The emulator of
// the tests puts a file of this name in its place that says kTensorCores = false.
// Few columns go their own way (grouped_skinny.cuh). Else Hopper's wgmma (grouped_sm90.cuh) where the card, the code and the
// alignment allow it, or mma.sync from sm_80 on (grouped_sm80.cuh), which takes any alignment. A launch is capturable:
// nothing is read or allocated on the host.
// bf16 in, sums in float in one fixed order, every stored value rounded once.

#include <type_traits>

#include <moegrad/cuda/support/grouped_gram.cuh>
#include <moegrad/cuda/support/grouped_skinny.cuh>
#include <moegrad/cuda/support/grouped_sm90.cuh>
#include <moegrad/cuda/support/grouped_weight_sm90.cuh>

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
    if (run_weight_hopper(stream, dy, x, dw, write, expert_begin)) return true;
    run_gram(stream, dy, x, dw, write, expert_begin);
    return true;
}

}  // namespace
}  // namespace moegrad::cuda::grouped
