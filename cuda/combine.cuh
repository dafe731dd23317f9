#pragma once
// CUDA kernels of ops/combine.hpp. One warp a token:
//     y[t] = sum_k weight[t,k] h[row(t,k)]  (+ passthrough[t] x[t]),   k in order
//     dh[row(t,k)] = weight[t,k] dy[t],   dweight[t,k] = <dy[t], h[row(t,k)]>   in one pass over dy and h
// A dot product is one chain a lane over every 32nd piece of 16 bytes (or element), then pairs of lanes.
// bf16: sums in float; y, dh and dx are rounded once; gradients of weights are float and not rounded.

#include <moegrad/cuda/support/rows.cuh>
#include <moegrad/cuda/support/seats.cuh>
#include <moegrad/ops/combine.hpp>

namespace moegrad::cuda::combine {
namespace {

/// What a lane takes of a row where rows do not start at 16 bytes: one element, with the face of a Pack.
template <class Real>
struct Element {
    static constexpr int kSize = 1;
    float value[1];

    __device__ __forceinline__ static Element load(const Real* from) { return {{wide(*from)}}; }
    __device__ __forceinline__ void put(Real* to, Write write) const { cuda::put(*to, value[0], write); }
};

template <class Piece, class Real>
void forward_by(Stream stream, View<const Real, 2> h, View<const float, 2> weight,
                View<const std::int32_t, 2> slot_row, View<const float, 1> passthrough, View<const Real, 2> x,
                View<Real, 2> y) {
    const Index D = y.extent(1), K = slot_row.extent(1);
    warps("combine", cuda_stream(stream), y.extent(0), [=] __device__(Index t, int lane) {
        for (Index d = lane * Piece::kSize; d < D; d += kWarp * Piece::kSize) {
            Piece sum{};
            for (Index k = 0; k < K; ++k) {
                const Index row = slot_row(t, k);
                if (row < 0) continue;
                const float w = weight(t, k);
                const auto piece = Piece::load(h.row(row) + d);
#pragma unroll
                for (int i = 0; i < Piece::kSize; ++i) sum.value[i] = fmaf(w, piece.value[i], sum.value[i]);
            }
            if (x.data != nullptr) {
                const auto piece = Piece::load(x.row(t) + d);
#pragma unroll
                for (int i = 0; i < Piece::kSize; ++i) {
                    sum.value[i] = fmaf(passthrough(t), piece.value[i], sum.value[i]);
                }
            }
            sum.put(y.row(t) + d, Write::overwrite);
        }
    });
}

template <class Real>
void forward(Stream stream, View<const Real, 2> h, View<const Wide<Real>, 2> weight,
             View<const std::int32_t, 2> slot_row, View<const Wide<Real>, 1> passthrough,
             View<const Real, 2> x, View<Real, 2> y) {
    if (aligned(h) && aligned(y) && (x.data == nullptr || aligned(x))) {
        return forward_by<Pack<Real>>(stream, h, weight, slot_row, passthrough, x, y);
    }
    forward_by<Element<Real>>(stream, h, weight, slot_row, passthrough, x, y);
}

/// Slots of a token that are read side by side: their latencies overlap.
inline constexpr int kSlotsAtOnce = 4;

/// What a lane knows of some slots of token t.
struct SlotRows {
    Index row[kSlotsAtOnce];  // -1: none
    float weight[kSlotsAtOnce], dot[kSlotsAtOnce] = {};

    __device__ SlotRows(View<const float, 2> weights, View<const std::int32_t, 2> slot_row, Index t,
                        Index first) {
#pragma unroll
        for (int i = 0; i < kSlotsAtOnce; ++i) {
            const bool there = first + i < slot_row.extent(1);
            row[i] = there ? slot_row(t, first + i) : -1;
            weight[i] = there ? weights(t, first + i) : 0.0f;
        }
    }
};

template <class Piece, class Real>
void backward_slots_by(Stream stream, View<const Real, 2> h, View<const float, 2> weight,
                       View<const std::int32_t, 2> slot_row, View<const Real, 2> dy, View<Real, 2> dh,
                       Write write_rows, View<float, 2> dweight, Write write_weight) {
    const Index D = dy.extent(1), K = slot_row.extent(1);
    const bool rows = dh.data != nullptr, weights = dweight.data != nullptr;
    warps("combine: gradient", cuda_stream(stream), dy.extent(0), [=] __device__(Index t, int lane) {
        for (Index first = 0; first < K; first += kSlotsAtOnce) {
            SlotRows slots(weight, slot_row, t, first);
            for (Index d = lane * Piece::kSize; d < D; d += kWarp * Piece::kSize) {
                const auto piece = Piece::load(dy.row(t) + d);
                Piece other[kSlotsAtOnce];
#pragma unroll
                for (int i = 0; i < kSlotsAtOnce; ++i)
                    if (weights && slots.row[i] >= 0) other[i] = Piece::load(h.row(slots.row[i]) + d);
#pragma unroll
                for (int i = 0; i < kSlotsAtOnce; ++i) {
                    if (slots.row[i] < 0) continue;
                    Piece scaled;
#pragma unroll
                    for (int j = 0; j < Piece::kSize; ++j) {
                        scaled.value[j] = slots.weight[i] * piece.value[j];
                        if (weights) slots.dot[i] = fmaf(piece.value[j], other[i].value[j], slots.dot[i]);
                    }
                    if (rows) scaled.put(dh.row(slots.row[i]) + d, write_rows);
                }
            }
#pragma unroll
            for (int i = 0; i < kSlotsAtOnce; ++i) {
                const float dot = warp_sum(slots.dot[i]);
                if (lane == 0 && weights && first + i < K) put(dweight(t, first + i), dot, write_weight);
            }
        }
    });
}

template <class Real>
void backward_slots(Stream stream, View<const Real, 2> h, View<const Wide<Real>, 2> weight,
                    View<const std::int32_t, 2> slot_row, View<const Real, 2> dy, View<Real, 2> dh,
                    Write write_rows, View<Wide<Real>, 2> dweight, Write write_weight) {
    if (aligned(dy) && (h.data == nullptr || aligned(h)) && (dh.data == nullptr || aligned(dh))) {
        return backward_slots_by<Pack<Real>>(stream, h, weight, slot_row, dy, dh, write_rows, dweight,
                                             write_weight);
    }
    backward_slots_by<Element<Real>>(stream, h, weight, slot_row, dy, dh, write_rows, dweight, write_weight);
}

template <class Piece, class Real>
void backward_passthrough_by(Stream stream, View<const Real, 2> x, View<const Real, 2> dy,
                             View<float, 1> dpassthrough, Write write) {
    const Index D = dy.extent(1);
    warps("combine: passthrough's gradient", cuda_stream(stream), dy.extent(0),
          [=] __device__(Index t, int lane) {
              float dot = 0;
              for (Index d = lane * Piece::kSize; d < D; d += kWarp * Piece::kSize) {
                  const auto piece = Piece::load(dy.row(t) + d), other = Piece::load(x.row(t) + d);
#pragma unroll
                  for (int i = 0; i < Piece::kSize; ++i) dot = fmaf(piece.value[i], other.value[i], dot);
              }
              dot = warp_sum(dot);
              if (lane == 0) put(dpassthrough(t), dot, write);
          });
}

template <class Real>
void backward_passthrough(Stream stream, View<const Real, 2> x, View<const Real, 2> dy,
                          View<Wide<Real>, 1> dpassthrough, Write write) {
    if (aligned(x) && aligned(dy))
        return backward_passthrough_by<Pack<Real>>(stream, x, dy, dpassthrough, write);
    backward_passthrough_by<Element<Real>>(stream, x, dy, dpassthrough, write);
}

template <class Real>
void backward_input(Stream stream, View<const Wide<Real>, 1> passthrough, View<const Real, 2> dy,
                    View<Real, 2> dx, Write write) {
    constexpr int kSize = Pack<Real>::kSize;
    const Index D = dy.extent(1);
    const bool packs = aligned(dy) && aligned(dx);
    warps("combine: input's gradient", cuda_stream(stream), dy.extent(0), [=] __device__(Index t, int lane) {
        const float p = passthrough(t);
        for (Index d = lane * kSize; packs && d < D; d += kWarp * kSize) {
            auto pack = Pack<Real>::load(dy.row(t) + d);
#pragma unroll
            for (int i = 0; i < kSize; ++i) pack.value[i] *= p;
            pack.put(dx.row(t) + d, write);
        }
        for (Index d = lane; !packs && d < D; d += kWarp) put(dx(t, d), p * wide(dy(t, d)), write);
    });
}

template <class Real>
constexpr CombineKernels<Real> kernels{forward<Real>, backward_slots<Real>, backward_passthrough<Real>,
                                       backward_input<Real>};

}  // namespace
}  // namespace moegrad::cuda::combine

MOEGRAD_CUDA_SEATS(combine)
