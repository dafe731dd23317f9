#pragma once
// For tests of ops over routed rows: a routing that leaves slots and an expert without rows, and grouped_linear in
// double with the roundings that its bf16 kernels document.

#include <moegrad/core/device_step.hpp>
#include <moegrad/core/transfer.hpp>
#include <moegrad/ops/add.hpp>
#include <moegrad/ops/combine.hpp>
#include <moegrad/ops/grouped_linear.hpp>

#include "support/op_check.hpp"

#include <algorithm>
#include <initializer_list>

namespace moegrad::test {

inline constexpr Index kRoutedSlots = 2, kRoutedExperts = 4;

/// Tokens whose experts fill a GPU's tiles of 128 rows, and pairs of them, in part: 20 to 60, 42 to 127, 58 to 173, 74 to 219 and
/// 105 to 313 rows an expert.
inline const std::vector<Index> kPartlyFilledTiles{90, 190, 260, 330, 470};

/// A GPU with matrix units, not the emulated one.
inline bool has_tensor_cores() {
    return has_cuda() && device_name().find("emulated") == std::string::npos;
}

/// Whether a Linear with a low-rank term is one sum (cuda/support/low_rank.cuh): on Hopper, by kernels that were compiled for it;
/// extents: all that rows of bf16 have.
inline bool one_contraction(std::initializer_list<Index> extents) {
    return has_cuda() && targets_hopper() &&
           std::all_of(extents.begin(), extents.end(), [](Index n) { return n % 8 == 0; });
}

/// All slots used, or some null and unused; expert 2 never gets a row.
inline Tensor<std::int32_t> routed_experts(Index T, bool all_used) {
    auto expert = Tensor<std::int32_t>::zeros({T, kRoutedSlots});
    for (Index t = 0; t < T; ++t) {
        for (Index k = 0; k < kRoutedSlots; ++k) {
            const Index e = (5 * t + 2 * k + t / 3) % (all_used ? 3 : 6);
            expert.matrix().row(t)[k] = static_cast<std::int32_t>(e == 2 ? 3 : e > 3 ? 3 - e : e);
        }
    }
    return expert;
}
inline DispatchPlan routed_plan(Tape& tape, Index T, bool all_used) {
    return dispatch(tape, placed(routed_experts(T, all_used), tape.device()), kRoutedExperts);
}

/// Two sequences and an empty one.
inline Segments routed_segments(const Tape& tape, Index T) {
    return placed(Segments::of_lengths({T / 2, 0, T - T / 2}), tape.device());
}

/// Sum of the slots of each token: hides the rows from N on, which nobody writes.
template <class Real>
Var<Real> add_slots(Tape& tape, const Var<Real>& rows, const DispatchPlan& plan) {
    auto weight = Tensor<Wide<Real>>::zeros({plan.tokens, plan.slots});
    for (Index i = 0; i < weight.size(); ++i) weight.data()[i] = Wide<Real>(i % plan.slots == 0 ? 1.0 : 1.25);
    return combine<Real>(tape, rows, Var<Wide<Real>>(placed(weight, tape.device())), plan);
}

/// Dropout is active where a tape keeps selections: an inference tape then draws the mask of a recording one.
struct KeepSelections {
    Tape& tape;
    Selections selections;
    explicit KeepSelections(Tape& tape_) : tape(tape_) { tape.set_selections(&selections); }
    ~KeepSelections() { tape.set_selections(nullptr); }
};

/// [E, n, n], each a unit matrix.
inline Weight<double> unit_matrices(Index E, Index n) {
    auto unit = Tensor<double>::zeros({E, n, n});
    for (Index e = 0; e < E; ++e) {
        for (Index i = 0; i < n; ++i) unit.view<3>()(e, i, i) = 1;
    }
    return Weight<double>(unit);
}

/// s x [T, R] rounded once, and so is what x's gradient is: of u and du behind their scale.
inline Var<double> rounded_multiple(Tape& tape, const Var<double>& x, double s) {
    const Index R = x.extent(1);
    auto scale = Tensor<double>::zeros({R, R});
    for (Index r = 0; r < R; ++r) scale.data()[r * R + r] = s;
    const auto y = linear(tape, rounded_gradient(tape, x), Var<double>(scale));
    return Var<double>(rounded(y.value()), y.gradient());
}

/// grouped_linear as the kernels round it in bf16: y, u, du, each row of dx where it is stored; with dropout drop(x), dy w and du A.
inline Var<double> rounded_linear(Tape& tape, const Var<double>& x, const Weight<double>& w,
                                  const DispatchPlan& plan, RowSource source, const LoraStack<double>* lora,
                                  const Segments& segments, bool dx_stored = true) {
    const Index E = plan.experts, D = x.extent(1);
    const auto rows = [&](const Var<double>& from, const Weight<double>& matrix) {
        return grouped_linear(tape, from, matrix, plan, RowSource::rows);
    };
    const auto in_rows =
        source == RowSource::rows ? x : grouped_linear(tape, x, unit_matrices(E, D), plan, RowSource::tokens);
    const auto whole = dx_stored ? rounded_gradient(tape, in_rows) : in_rows;
    const bool drops = lora && active_dropout(tape, lora->dropout, segments, plan.tokens).rate > 0;
    const auto y = rows(drops ? rounded_gradient(tape, whole) : whole, w);
    if (lora == nullptr) return rounded(tape, y);
    const auto nothing = [&](Index n) { return Weight<double>(Tensor<double>::zeros({E, n, D})); };
    const Index rank = lora->A.extent(1);
    const LoraStack<double> mask{unit_matrices(E, D), unit_matrices(E, D), 1, lora->dropout};
    const auto dropped =
        drops ? rounded(tape, grouped_linear(tape, whole, nothing(D), plan, RowSource::rows, &mask, segments))
              : whole;
    const LoraStack<double> project{lora->A, unit_matrices(E, rank), 1, {}};
    const auto v = grouped_linear(tape, dropped, nothing(rank), plan, RowSource::rows, &project, segments);
    const auto u = rounded_multiple(tape, v, lora->scale);
    return rounded(tape, add(tape, y, rows(u, lora->B)));
}

}  // namespace moegrad::test
