#pragma once
// CUDA kernels of ops/molora_linear.hpp. u and du lie by expert, as rows of a grouped product (ops/grouped_linear.hpp).
// Their masked form [T, E R] holds at column e R + r what the slot of expert e gave, and 0 where none did: then all experts are
// one low-rank term of the base product, with B as [O, E R] and A as [E R, D]. Where the input is dropped, each pair has a
// row of its own. Sums run over experts ascending. An expert chosen twice by a token is reported and counts twice.
// bf16: u and du are rounded once, weight u once more as an operand; q is float; y and dx as support/low_rank.cuh says, once
// on Hopper. Where the input is dropped: drop(x), du A, its masked row, the sum over a token's slots and dx are each
// rounded. dA and dB are float.

#include <moegrad/cuda/support/low_rank.cuh>
#include <moegrad/cuda/support/seats.cuh>
#include <moegrad/cuda/support/step_scalars.cuh>
#include <moegrad/ops/molora_linear.hpp>

namespace moegrad::cuda::molora_linear {
namespace {

inline void sort(Stream stream, View<const std::int32_t, 2> expert, View<std::int32_t, 1> begin,
                 View<std::int32_t, 1> pair, View<std::int32_t, 1> token, View<std::int32_t, 2> place,
                 View<std::int32_t, 1> room) {
    dispatch_slot.get<float>(Device::cuda).sort(stream, expert, begin, token, pair, place, room);
    DeviceStatus* const seen = status();
    const Index K = expert.extent(1);
    elements("molora_linear, experts", cuda_stream(stream), expert.size(), [=] __device__(Index i) {
        const Index t = i / K, k = i % K;
        for (Index other = 0; other < k; ++other) {
            if (expert(t, k) >= 0 && expert(t, other) == expert(t, k)) seen->bad_index = 1;
        }
    });
}

/// The pairs as rows of a grouped product.
inline DispatchView plan_of(const ExpertPairs& pairs) {
    DispatchView plan;
    plan.expert_begin = pairs.begin;
    plan.row_token = pairs.token;
    plan.row_slot = pairs.pair;
    plan.slot_row = pairs.place;
    return plan;
}

/// masked[t, e R + r] = sum over slots k with expert e of weight[t,k] u[place(t,k), r]; weight empty: 1.
template <class Real>
void mask(Stream stream, View<const Real, 2> u, const ExpertPairs& pairs, View<const float, 2> weight,
          View<Real, 2> masked) {
    const Index columns = masked.extent(1), R = u.extent(1), K = pairs.place.extent(1);
    elements("molora_linear, masked", cuda_stream(stream), masked.size(), [=] __device__(Index i) {
        const Index t = i / columns, e = i % columns / R, r = i % R;
        float sum = 0;
        for (Index k = 0; k < K; ++k) {
            const Index n = pairs.place(t, k);
            if (n < 0 || pairs.expert(t, k) != e) continue;
            sum += (weight.data == nullptr ? 1.0f : weight(t, k)) * wide(u(n, r));
        }
        masked(t, i % columns) = narrow<Real>(sum);
    });
}

/// B [E, O, R] as [O, E R], in the place of `up`.
template <class Real>
View<const Real, 2> beside(Stream stream, View<const Real, 3> B, View<Wide<Real>, 2> up) {
    const View<Real, 2> all(reinterpret_cast<Real*>(up.data), up.extents);
    const Index R = B.extent(2), columns = up.extent(1);
    elements("molora_linear, B", cuda_stream(stream), all.size(), [=] __device__(Index i) {
        const Index column = i % columns;
        all(i / columns, column) = B(column / R, i / columns, column % R);
    });
    return all;
}

/// drop_e(x) of every pair, as rows.
template <class Real>
View<const Real, 2> drop(Stream stream, View<const Real, 2> x, const ExpertPairs& pairs, Dropout dropout,
                         TokenKeys keys, const MoloraRoom<Real>& room) {
    grouped_linear_slot.get<Real>(Device::cuda)
        .drop(stream, x, plan_of(pairs), RowSource::tokens, keys, dropout, room.input, Write::overwrite);
    return room.input;
}

template <class Real>
void forward(Stream stream, View<const Real, 2> x, View<const Real, 2> w, View<const Real, 3> A,
             View<const Real, 3> B, double scale, const ExpertPairs& pairs, View<const Wide<Real>, 2> weight,
             Dropout dropout, TokenKeys keys, const MoloraRoom<Real>& room, View<Real, 2> u,
             View<Real, 2> y) {
    const bool drops = dropout.rate > 0;
    grouped_linear_slot.get<Real>(Device::cuda)
        .project(stream, drops ? drop(stream, x, pairs, dropout, keys, room) : x, A, plan_of(pairs),
                 drops ? RowSource::rows : RowSource::tokens, scale, u);
    mask<Real>(stream, u, pairs, weight, room.masked);
    low_rank_rows<Real>("molora_linear", stream, x, w, room.masked, beside(stream, B, room.up), room.bounds,
                        y);
}

/// q[t, e R + r] = dy B_e in `dense`;  dweight = <q, u>,  du = s weight q.
template <class Real>
void backward_rank(Stream stream, View<const Real, 2> dy, View<const Real, 3> B, double scale,
                   const ExpertPairs& pairs, View<const Wide<Real>, 2> weight, View<const Real, 2> u,
                   const MoloraRoom<Real>& room, View<Real, 2> du, View<Wide<Real>, 2> dweight, Write write) {
    const View<Wide<Real>, 2> dense = room.dense;
    multiply_back("molora_linear, q", stream, dy, beside(stream, B, room.up), dense, Write::overwrite);
    const Index R = u.extent(1), K = weight.extent(1);
    const auto s = static_cast<float>(scale);
    elements("molora_linear, du", cuda_stream(stream), weight.size(), [=] __device__(Index i) {
        const Index t = i / K, k = i % K, n = pairs.place(t, k);
        float sum = 0;
        if (n >= 0) {
            const float* q = dense.row(t) + pairs.expert(t, k) * R;
            const float factor = weight(t, k) * s;
            for (Index r = 0; r < R; ++r) {
                sum = fmaf(q[r], wide(u(n, r)), sum);
                du(n, r) = narrow<Real>(factor * q[r]);
            }
        }
        if (dweight.data != nullptr) put(dweight(t, k), sum, write);
    });
}

template <class Real>
void backward_up(Stream stream, View<const Real, 2> dy, const ExpertPairs& pairs,
                 View<const Wide<Real>, 2> weight, View<const Real, 2> u, const MoloraRoom<Real>& room,
                 View<Wide<Real>, 3> dB, Write write) {
    mask(stream, u, pairs, weight, room.masked);
    const View<Wide<Real>, 2> all = room.up;
    multiply_weight<Real>("molora_linear, dB", stream, dy, room.masked, all, Write::overwrite);
    const Index R = dB.extent(2), columns = all.extent(1);
    elements("molora_linear, dB", cuda_stream(stream), all.size(), [=] __device__(Index i) {
        const Index o = i / columns, column = i % columns;
        put(dB(column / R, o, column % R), all(o, column), write);
    });
}

template <class Real>
void backward_down(Stream stream, View<const Real, 2> x, View<const Real, 2> du, const ExpertPairs& pairs,
                   Dropout dropout, TokenKeys keys, const MoloraRoom<Real>& room, View<Wide<Real>, 3> dA,
                   Write write) {
    const bool drops = dropout.rate > 0;
    grouped_linear_slot.get<Real>(Device::cuda)
        .weight_gradient(stream, du, drops ? drop(stream, x, pairs, dropout, keys, room) : x, plan_of(pairs),
                         drops ? RowSource::rows : RowSource::tokens, dA, write);
}

template <class Real>
void backward_input(Stream stream, View<const Real, 2> dy, View<const Real, 2> w, View<const Real, 2> du,
                    View<const Real, 3> A, const ExpertPairs& pairs, Dropout dropout, TokenKeys keys,
                    const MoloraRoom<Real>& room, View<Real, 2> dx, Write write) {
    if (dropout.rate == 0) {
        mask(stream, du, pairs, {}, room.masked);
        const View<const Real, 2> below(A.data, {A.extent(0) * A.extent(1), A.extent(2)}, A.pitch);
        low_rank_back<Real>("molora_linear, dx", stream, dy, w, room.masked, below, room.bounds, dx, write);
        return;
    }
    const auto& grouped = grouped_linear_slot.get<Real>(Device::cuda);
    const DispatchView plan = plan_of(pairs);
    grouped.multiply_back(stream, du, A, {}, plan, room.input, Write::overwrite);
    grouped.drop(stream, room.input, plan, RowSource::rows, keys, dropout, room.input, Write::overwrite);
    grouped.sum_slots(stream, room.input, plan, dx, write);
    multiply_back("molora_linear, dx", stream, dy, w, dx, Write::accumulate);
}

template <class Real>
constexpr MoloraLinearKernels<Real> kernels{
    sort, forward<Real>, backward_rank<Real>, backward_up<Real>, backward_down<Real>, backward_input<Real>};

}  // namespace
}  // namespace moegrad::cuda::molora_linear

MOEGRAD_CUDA_SEATS(molora_linear)
