#pragma once
// CUDA kernels of ops/molora_joint.hpp. Everything that meets x lies below one another and x is read once:
//     forward    x [A; g0; g1; g2]^T        the three sums of the router's pieces are added, smallest first
//     weights    [du | dz0 | dz1 | dz2]^T x, the three sums added
//     dx         dy w + [dz0 | du | dz0 | dz1] [g1; A; g0; g0]: what is left out is below 2^-16 of a term (wide_linear.cuh)
// In float there are no pieces. Ranks of all experts lie side by side, Q columns of which those beyond E R are 0; the sums of
// u = s x A^T and q = dy B are float. An expert beyond E or chosen twice is reported; twice counts twice.
// dy is read once for q and dB where ops/rank_slices.hpp cuts it (grouped_rank_gradient.cuh, one group of Q ranks), else twice.
// bf16: u, du and v (weight u) are rounded once; y and dx as support/low_rank.cuh says: once on Hopper. z, dweight, dA, dB
// and dg are float.

#include <moegrad/cuda/support/grouped_rank_sums.cuh>
#include <moegrad/cuda/support/low_rank.cuh>
#include <moegrad/cuda/support/pieces.cuh>
#include <moegrad/cuda/support/seats.cuh>
#include <moegrad/cuda/support/step_scalars.cuh>
#include <moegrad/ops/molora_joint.hpp>

namespace moegrad::cuda::molora_joint {
namespace {

/// Of a number of the router: in float the first is the number itself, and the only one that is used.
template <class Real>
__device__ __forceinline__ void split_router(float x, Real (&of)[kPieces]) {
    if constexpr (std::is_same_v<Real, float>) {
        of[0] = x;
        of[1] = of[2] = 0;
    } else {
        const Pieces pieces = split(x);
        for (int n = 0; n < kPieces; ++n) of[n] = pieces.of[n];
    }
}

template <class T>
View<T, 2> rows_of(View<T, 2> all, Index begin, Index end) {
    return {all.data + begin * all.pitch, {end - begin, all.extent(1)}, all.pitch};
}

template <class Real>
JointRanks<Real> ranks_of(const JointFactors<Real>& factors) {
    return {factors.A.extent(0) * factors.A.extent(1), factors.router.extent(0)};
}

/// Forward: [A; g0; g1; g2]. Backward: [g1; A; g0; g0]. One piece: [A; g].
template <class Real>
void stack_factors(Stream stream, const JointFactors<Real>& factors, bool forward, View<Real, 2> stack) {
    const JointRanks<Real> ranks = ranks_of(factors);
    const View<const Real, 3> A = factors.A;
    const View<const float, 2> router = factors.router;
    const Index D = stack.extent(1), ER = A.extent(0) * A.extent(1), Q = ranks.experts, P = ranks.router;
    const Index first = forward ? 0 : ranks.lead();
    const bool whole = JointRanks<Real>::kPieces == 1;
    elements("molora_joint, factors", cuda_stream(stream), (Q + P) * D, [=] __device__(Index i) {
        const Index row = i / D, d = i - row * D;
        if (row < Q) {
            stack(first + row, d) = row < ER ? A.data[row * A.pitch + d] : narrow<Real>(0.0f);
            return;
        }
        const Index c = row - Q;
        Real piece[kPieces];
        split_router(c < router.extent(0) ? router(c, d) : 0.0f, piece);
        stack(first + row, d) = piece[0];
        if (whole) return;
        stack(first + P + row, d) = piece[forward ? 1 : 0];
        stack(forward ? 2 * P + row : c, d) = piece[forward ? 2 : 1];
    });
}

/// dz to its columns of [dz0 | du | dz0 | dz1 | dz2], or [du | dz].
template <class Real>
void split_gradient(Stream stream, View<const float, 2> dz, Index Q, View<Real, 2> ranks) {
    const JointRanks<Real> sizes(Q, dz.extent(1));
    const Index C = dz.extent(1), P = sizes.router, lead = sizes.lead();
    const bool whole = JointRanks<Real>::kPieces == 1;
    elements("molora_joint, pieces of dz", cuda_stream(stream), dz.extent(0) * P, [=] __device__(Index i) {
        const Index t = i / P, c = i - t * P;
        Real piece[kPieces];
        split_router(c < C ? dz(t, c) : 0.0f, piece);
        ranks(t, lead + Q + c) = piece[0];
        if (whole) return;
        ranks(t, c) = piece[0];
        ranks(t, lead + Q + P + c) = piece[1];
        ranks(t, lead + Q + 2 * P + c) = piece[2];
    });
}

template <class Real>
void read(Stream stream, View<const Real, 2> x, const JointFactors<Real>& factors, double scale,
          const MoloraJointRoom<Real>& room, View<Real, 2> u, View<float, 2> z) {
    stack_factors(stream, factors, true, room.stack);
    multiply_rows<Real>("molora_joint, u and z", stream, x, room.stack, room.sum, Write::overwrite);
    const View<const float, 2> sum = room.sum;
    const Index Q = u.extent(1), P = ranks_of(factors).router, columns = Q + z.extent(1);
    const auto s = static_cast<float>(scale);
    elements("molora_joint, u and z", cuda_stream(stream), z.extent(0) * columns, [=] __device__(Index i) {
        const Index t = i / columns, c = i - t * columns;
        if (c < Q) {
            u(t, c) = narrow<Real>(s * sum(t, c));
            return;
        }
        float all = 0;
        for (Index n = JointRanks<Real>::kPieces; n-- > 0;) all += sum(t, n * P + c);
        z(t, c - Q) = all;
    });
}

/// value times the weight of expert e for token t; 0 where it was not chosen, whatever the value.
template <class Real>
__device__ __forceinline__ float weighed(const MoloraChoice<Real>& choice, Index t, Index e, float value) {
    float sum = 0;
    for (Index k = 0; k < choice.expert.extent(1); ++k)
        if (choice.expert(t, k) == e) sum += choice.weight(t, k) * value;
    return sum;
}

/// Whether slot k of a token names an expert that is not there, or that an earlier slot has.
inline __device__ bool wrong(View<const std::int32_t, 2> expert, Index t, Index k, Index E) {
    bool bad = expert(t, k) >= E;
    for (Index other = 0; other < k; ++other)
        bad = bad || (expert(t, k) >= 0 && expert(t, other) == expert(t, k));
    return bad;
}

/// v[t, e R + r] = weight u, to `masked`. Wrong choices to `seen`, where it is not null.
template <class Real>
void mask(Stream stream, View<const Real, 2> u, const MoloraChoice<Real>& choice, Index E, Index R,
          View<Real, 2> masked, DeviceStatus* seen = nullptr) {
    const Index Q = masked.extent(1), columns = Q + (seen != nullptr ? choice.expert.extent(1) : 0);
    const Index count = masked.extent(0) * columns;
    elements("molora_joint, masked", cuda_stream(stream), count, [=] __device__(Index i) {
        const Index t = i / columns, c = i - t * columns, e = c / R;
        if (c < Q)
            masked(t, c) = narrow<Real>(e < E ? weighed(choice, t, e, wide(u(t, c))) : 0.0f);
        else if (wrong(choice.expert, t, c - Q, E))
            seen->bad_index = 1;
    });
}

/// B [E, O, R] as [O, Q], in the place of `up`.
template <class Real>
View<const Real, 2> beside(Stream stream, View<const Real, 3> B, View<float, 2> up) {
    const View<Real, 2> all(reinterpret_cast<Real*>(up.data), up.extents);
    const Index E = B.extent(0), R = B.extent(2), Q = up.extent(1);
    elements("molora_joint, B", cuda_stream(stream), all.size(), [=] __device__(Index i) {
        const Index o = i / Q, c = i - o * Q, e = c / R;
        all(o, c) = e < E ? B(e, o, c - e * R) : narrow<Real>(0.0f);
    });
    return all;
}

template <class Real>
void forward(Stream stream, View<const Real, 2> x, View<const Real, 2> w, View<const Real, 3> B,
             View<const Real, 2> u, const MoloraChoice<Real>& choice, const MoloraJointRoom<Real>& room,
             View<Real, 2> y) {
    mask(stream, u, choice, B.extent(0), B.extent(2), room.masked, status());
    low_rank_rows<Real>("molora_joint", stream, x, w, room.masked, beside(stream, B, room.up), room.bounds,
                        y);
}

/// q = dy B and dB (+)= dy^T v in one reading of dy. False where there is no room for it or rows do not start at 16 bytes.
template <class Real>
bool read_once(Stream stream, View<const Real, 2> dy, View<const Real, 3> B,
               const MoloraJointRoom<Real>& room, const JointRankTargets<Real>& to) {
    if constexpr (std::is_same_v<Real, bf16>) {
        if (room.parts.empty()) return false;
        const grouped::Store<float> q{room.dense.data, room.dense.pitch,
                                      static_cast<int>(room.dense.extent(1)), Write::overwrite};
        return grouped::group_rank_gradient(cuda_stream(stream), dy, beside(stream, B, room.up), room.masked,
                                            q, room.parts, to.dB, to.write_B);
    }
    return false;
}

/// dB (+)= dy^T v
template <class Real>
void multiply_up(Stream stream, View<const Real, 2> dy, const MoloraJointRoom<Real>& room, View<float, 3> dB,
                 Write write) {
    const Index R = dB.extent(2), ER = dB.extent(0) * R;
    const View<float, 2> all = room.up;
    multiply_weight<Real>("molora_joint, dB", stream, dy, room.masked, all, Write::overwrite);
    elements("molora_joint, dB", cuda_stream(stream), dB.size(), [=] __device__(Index i) {
        const Index o = i / ER, c = i - o * ER, e = c / R;
        put(dB(e, o, c - e * R), all(o, c), write);
    });
}

/// du and dweight, of q.
template <class Real>
void put_ranks(Stream stream, View<const float, 2> q, View<const Real, 2> u, const MoloraChoice<Real>& choice,
               Index E, Index R, double scale, const JointRankTargets<Real>& to) {
    const Index Q = q.extent(1), columns = Q + (to.dweight.data != nullptr ? choice.expert.extent(1) : 0);
    const auto s = static_cast<float>(scale);
    const Index count = q.extent(0) * columns;
    elements("molora_joint, du and dweight", cuda_stream(stream), count, [=] __device__(Index i) {
        const Index t = i / columns, c = i - t * columns, k = c - Q;
        if (c < Q) {
            const Index e = c / R;
            to.du(t, c) = narrow<Real>(e < E ? weighed(choice, t, e, s * q(t, c)) : 0.0f);
            return;
        }
        const Index e = choice.expert(t, k);
        float sum = 0;
        for (Index r = e * R; e >= 0 && e < E && r < (e + 1) * R; ++r)
            sum = fmaf(q(t, r), wide(u(t, r)), sum);
        put(to.dweight(t, k), sum, to.write_weight);
    });
}

template <class Real>
void backward_ranks(Stream stream, View<const Real, 2> dy, View<const Real, 3> B, double scale,
                    View<const Real, 2> u, const MoloraChoice<Real>& choice,
                    const MoloraJointRoom<Real>& room, const JointRankTargets<Real>& to) {
    const Index E = B.extent(0), R = B.extent(2);
    const bool learns = to.dB.data != nullptr, needed = to.du.data != nullptr;
    if (learns) mask(stream, u, choice, E, R, room.masked);
    if (!read_once(stream, dy, B, room, to)) {
        if (learns) multiply_up(stream, dy, room, to.dB, to.write_B);
        if (needed)
            multiply_back("molora_joint, q", stream, dy, beside(stream, B, room.up), room.dense,
                          Write::overwrite);
    }
    if (needed) put_ranks<Real>(stream, room.dense, u, choice, E, R, scale, to);
}

/// dA and dg, as far as somebody needs them: the rows of [du | dz0 | dz1 | dz2]^T x between the first and the last needed.
template <class Real>
void backward_weights(Stream stream, View<const Real, 2> x, const JointRanks<Real>& columns_of,
                      View<const Real, 2> ranks, View<float, 2> sum, const JointTargets<Real>& to) {
    const bool has_A = to.dA.data != nullptr, has_router = to.router.data != nullptr;
    if (!has_A && !has_router) return;
    const Index Q = columns_of.experts, P = columns_of.router;
    const Index begin = has_A ? 0 : Q, end = has_router ? columns_of.reading() : Q;
    const Index lead = columns_of.lead(), D = sum.extent(1);
    multiply_weight("molora_joint, dA and dg", stream, columns(ranks, lead + begin, lead + end), x,
                    rows_of(sum, begin, end), Write::overwrite);
    const View<float, 3> dA = to.dA;
    const View<float, 2> router = to.router;
    const Write write_A = to.write_A, write_router = to.write_router;
    const Index ER = has_A ? dA.extent(0) * dA.extent(1) : 0, C = has_router ? router.extent(0) : 0;
    elements("molora_joint, dA and dg", cuda_stream(stream), (ER + C) * D, [=] __device__(Index i) {
        const Index row = i / D, d = i - row * D, c = row - ER;
        if (row < ER) return put(dA.data[row * dA.pitch + d], sum(row, d), write_A);
        float all = 0;
        for (Index n = JointRanks<Real>::kPieces; n-- > 0;) all += sum(Q + n * P + c, d);
        put(router(c, d), all, write_router);
    });
}

template <class Real>
void backward(Stream stream, View<const Real, 2> x, const JointFactors<Real>& factors, View<const Real, 2> dy,
              View<const Real, 2> w, View<const float, 2> dz, View<Real, 2> ranks,
              const MoloraJointRoom<Real>& room, const JointTargets<Real>& to) {
    const JointRanks<Real> sizes = ranks_of(factors);
    const bool asked = dz.data != nullptr;
    if (asked) split_gradient(stream, dz, sizes.experts, ranks);
    backward_weights<Real>(stream, x, sizes, ranks, room.sum, to);
    if (to.dx.data == nullptr) return;
    stack_factors(stream, factors, false, room.stack);
    const Index begin = asked ? 0 : sizes.lead(),
                end = asked ? sizes.reading() : sizes.lead() + sizes.experts;
    low_rank_back<Real>("molora_joint, dx", stream, dy, w, columns(ranks, begin, end),
                        rows_of(room.stack, begin, end), room.bounds, to.dx, to.write_x);
}

template <class Real>
constexpr MoloraJointKernels<Real> kernels{read<Real>, forward<Real>, backward_ranks<Real>, backward<Real>};

}  // namespace
}  // namespace moegrad::cuda::molora_joint

MOEGRAD_CUDA_SEATS(molora_joint)
