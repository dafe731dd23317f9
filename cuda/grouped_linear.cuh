#pragma once
// CUDA kernels of ops/grouped_linear.hpp:   y[n] = x[src(n)] w[e]^T + u[n] B[e]^T,   dx[n] = dy[n] w[e] + du[n] A[e],
// dw[e] = sum_n dy[n]^T x[src(n)]. The products are support/grouped_product.cuh's: the low rank continues the
// contraction, the experts' first rows are read on the device; du and dB of a large stack come from one reading of dy. Dropout
// draws the CPU's mask.
// bf16: sums in float; y, u, du and each row of dx are rounded once (u and du after their scale). Rounded besides: drop(x),
// with dropout each row of dy w before mask(du A) is added to it, and mask(du A)'s du A; with a gather the sum over slots.
// Weight gradients are float and not rounded.
// Where one expert has all rows (one_group) the other products with a factor of low rank are cuBLASLt's, rounded alike.

#include <moegrad/cuda/support/drop.cuh>
#include <moegrad/cuda/support/grouped_product.cuh>
#include <moegrad/cuda/support/products.cuh>
#include <moegrad/cuda/support/seats.cuh>
#include <moegrad/cuda/support/step_scalars.cuh>
#include <moegrad/ops/grouped_linear.hpp>

namespace moegrad::cuda::grouped_linear {
namespace {

inline const std::int32_t* gathered(const DispatchView& plan, RowSource source) {
    return source == RowSource::tokens ? plan.row_token.data : nullptr;
}

template <class Real>
grouped::Operands<Real> operands(View<const Real, 2> a, View<const Real, 3> b, LowRank<Real> low,
                                 const DispatchView& plan, const std::int32_t* list) {
    return {a, b, low.u, low.weight, plan.expert_begin.data, list};
}

template <class Real>
grouped::Store<Real> store(View<Real, 2> c, Write write, double factor = 1) {
    return {c.data, c.pitch, static_cast<int>(c.extent(1)), write, static_cast<float>(factor)};
}

template <class Real>
void multiply(Stream stream, View<const Real, 2> x, View<const Real, 3> w, LowRank<Real> low,
              DispatchView plan, RowSource source, View<Real, 2> y, Write write) {
    grouped::rows(cuda_stream(stream), operands(x, w, low, plan, gathered(plan, source)), store(y, write));
}

template <class Real>
void multiply_back(Stream stream, View<const Real, 2> dy, View<const Real, 3> w, LowRank<Real> low,
                   DispatchView plan, View<Real, 2> dx, Write write) {
    grouped::rows_across(cuda_stream(stream), operands(dy, w, low, plan, nullptr), store(dx, write));
}

template <class Real>
void project(Stream stream, View<const Real, 2> x, View<const Real, 3> A, DispatchView plan, RowSource source,
             double factor, View<Real, 2> u) {
    if (plan.one_group())
        return cuda::multiply_rows("grouped_linear, u", stream, x, A.slice(0), u, Write::overwrite, factor);
    grouped::rows(cuda_stream(stream), operands(x, A, {}, plan, gathered(plan, source)),
                  store(u, Write::overwrite, factor));
}

template <class Real>
void project_back(Stream stream, View<const Real, 2> dy, View<const Real, 3> B, DispatchView plan,
                  double factor, View<Real, 2> du) {
    if (plan.one_group())
        return cuda::multiply_back("grouped_linear, du", stream, dy, B.slice(0), du, Write::overwrite,
                                   factor);
    grouped::rows_across(cuda_stream(stream), operands(dy, B, {}, plan, nullptr),
                         store(du, Write::overwrite, factor));
}

template <class Real>
void weight_gradient(Stream stream, View<const Real, 2> dy, View<const Real, 2> x, DispatchView plan,
                     RowSource source, View<Wide<Real>, 3> dw, Write write) {
    if (plan.one_group())
        return cuda::multiply_weight("grouped_linear, dw", stream, dy, x, dw.slice(0), write);
    grouped::gram(cuda_stream(stream), dy, x, gathered(plan, source), dw, write, plan.expert_begin.data);
}

template <class Real>
void rank_gradients(Stream stream, View<const Real, 2> dy, View<const Real, 3> B, View<const Real, 2> u,
                    DispatchView plan, double factor, View<Wide<Real>, 1> parts, View<Real, 2> du,
                    View<Wide<Real>, 3> dB, Write write) {
    const auto to = store(du, Write::overwrite, factor);
    if (!plan.one_group()) {
        return grouped::rank_gradient(cuda_stream(stream), operands(dy, B, {}, plan, nullptr), to, u, parts,
                                      dB, write);
    }
    if constexpr (std::is_same_v<Real, bf16>) {
        const auto its = B.slice(0);
        if (grouped::group_rank_gradient(cuda_stream(stream), dy, its, u, to, parts, dB, write)) return;
    }
    project_back(stream, dy, B, plan, factor, du);
    weight_gradient(stream, dy, u, plan, RowSource::rows, dB, write);
}

/// The expert of row n: the last whose first row is not beyond it.
__device__ inline Index expert_of(View<const std::int32_t, 1> begin, Index n) {
    Index low = 0, high = begin.extent(0) - 1;
    while (high - low > 1) {
        const Index middle = (low + high) / 2;
        (begin(middle) <= n ? low : high) = middle;
    }
    return low;
}

/// The mask on one row, by a warp: packs of 16 bytes, or groups of columns that share their random words. A copy where
/// nothing drops.
template <class Real>
__device__ __forceinline__ void drop_row(bool drops, const DropoutMask& mask, std::int32_t sample,
                                         std::int32_t position, const Real* from, Real* to, Index D,
                                         bool packs, int lane, Write write) {
    constexpr int kSize = Pack<Real>::kSize;
    for (Index d = lane * kSize; packs && d < D; d += kWarp * kSize) {
        auto pack = Pack<Real>::load(from + d);
        if (drops) drop_columns(mask, sample, position, d, pack.value);
        pack.put(to + d, write);
    }
    for (Index d = lane * kDropColumns; !packs && d < D; d += kWarp * kDropColumns) {
        const int count = static_cast<int>(min(Index{kDropColumns}, D - d));
        float value[kDropColumns] = {};
        for (int j = 0; j < count; ++j) value[j] = wide(from[d + j]);
        if (drops) drop_columns(mask, sample, position, d, value);
        for (int j = 0; j < count; ++j) put(to[d + j], value[j], write);
    }
}

template <class Real>
void drop(Stream stream, View<const Real, 2> x, DispatchView plan, RowSource source, TokenKeys keys,
          Dropout dropout, View<Real, 2> y, Write write) {
    const StepScalars* step = scalars(stream);
    const Index D = y.extent(1);
    const bool packs = aligned(x) && aligned(y), drops = dropout.rate > 0;
    warps("grouped_linear: drop", cuda_stream(stream), y.extent(0), [=] __device__(Index n, int lane) {
        if (n >= plan.expert_begin(plan.expert_begin.extent(0) - 1)) return;
        const Index token = plan.row_token(n);
        const Real* from = x.row(source == RowSource::tokens ? token : n);
        if (!drops) return drop_row(false, {}, 0, 0, from, y.row(n), D, packs, lane, write);
        const auto expert = static_cast<std::uint32_t>(expert_of(plan.expert_begin, n));
        drop_row(true, dropout_mask(*step, dropout, expert), keys.sample(token), keys.position(token), from,
                 y.row(n), D, packs, lane, write);
    });
}

template <class Real>
void sum_slots(Stream stream, View<const Real, 2> rows, DispatchView plan, View<Real, 2> dx, Write write) {
    constexpr int kSize = Pack<Real>::kSize;
    const View<const std::int32_t, 2> slot_row = plan.slot_row;
    const Index D = dx.extent(1), K = slot_row.extent(1);
    const bool packs = aligned(rows) && aligned(dx);
    warps("grouped_linear: sum_slots", cuda_stream(stream), dx.extent(0), [=] __device__(Index t, int lane) {
        for (Index d = lane * kSize; packs && d < D; d += kWarp * kSize) {
            Pack<Real> sum{};
            for (Index k = 0; k < K; ++k) {
                const Index row = slot_row(t, k);
                if (row < 0) continue;
                const auto pack = Pack<Real>::load(rows.row(row) + d);
#pragma unroll
                for (int i = 0; i < kSize; ++i) sum.value[i] += pack.value[i];
            }
            sum.put(dx.row(t) + d, write);
        }
        for (Index d = lane; !packs && d < D; d += kWarp) {
            float sum = 0;
            for (Index k = 0; k < K; ++k) {
                if (slot_row(t, k) >= 0) sum += wide(rows(slot_row(t, k), d));
            }
            put(dx(t, d), sum, write);
        }
    });
}

template <class Real>
constexpr GroupedLinearKernels<Real> kernels{multiply<Real>,     multiply_back<Real>,  project<Real>,
                                             project_back<Real>, rank_gradients<Real>, weight_gradient<Real>,
                                             drop<Real>,         sum_slots<Real>};

}  // namespace
}  // namespace moegrad::cuda::grouped_linear

MOEGRAD_CUDA_SEATS(grouped_linear)
