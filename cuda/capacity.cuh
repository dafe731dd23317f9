#pragma once
// CUDA kernel of ops/capacity.hpp.
//   clear   every slot of an expert is dropped
//   queue   a thread counts who comes before its token (order priority only)
//   place   a warp walks the slots of one group for one expert, 32 at a time; ballots count, the first C get their place
// What the CPU refuses: an expert that does not exist is dropped and sets status()->bad_index; a NaN priority of a valid
// token comes last and sets not_finite.

#include <moegrad/cuda/support/balance_groups.cuh>
#include <moegrad/cuda/support/rows.cuh>
#include <moegrad/cuda/support/score_order.cuh>
#include <moegrad/cuda/support/seats.cuh>
#include <moegrad/cuda/support/step_scalars.cuh>
#include <moegrad/ops/capacity.hpp>

namespace moegrad::cuda::capacity {
namespace {

inline void clear(cudaStream_t on, View<const std::int32_t, 2> expert, View<std::int32_t, 2> kept, Index E) {
    int* bad_index = &status()->bad_index;
    const Index K = expert.extent(1);
    elements("capacity", on, expert.extent(0) * K, [=] __device__(Index i) {
        const std::int32_t e = expert(i / K, i % K);
        if (e >= E) *bad_index = 1;
        kept(i / K, i % K) = e < 0 ? e : kDropped;
    });
}

inline void line_up(cudaStream_t on, View<const float, 2> priority, Groups groups,
                    View<const std::int32_t, 1> segment, View<const std::uint8_t, 1> valid,
                    View<std::int32_t, 1> queue) {
    int* not_finite = &status()->not_finite;
    elements("capacity order", on, groups.T, [=] __device__(Index t) {
        const Index s = groups.sequence ? segment(t) : 0, begin = groups.begin(s), end = groups.end(s);
        if (valid(t) != 0 && priority(t, 0) != priority(t, 0)) *not_finite = 1;
        const unsigned long long mine = order_of(priority(t, 0), t);
        Index before = 0;
        for (Index u = begin; u < end; ++u) before += order_of(priority(u, 0), u) > mine;
        queue(begin + before) = static_cast<std::int32_t>(t);
    });
}

inline void place(Stream stream, View<const std::int32_t, 2> expert, View<const float, 2> priority,
                  View<const std::int32_t, 1> begin, View<const std::int32_t, 1> segment,
                  View<const std::uint8_t, 1> valid, View<std::int32_t, 1> queue, View<std::int32_t, 2> kept,
                  CapacityOptions options) {
    const Index K = expert.extent(1), E = options.experts;
    const bool sequence = options.scope == BalanceOptions::Scope::sequence;
    const bool sorted = options.order == CapacityOrder::priority;
    const bool by_token = options.order == CapacityOrder::token;
    const Groups groups{begin, sequence ? begin.extent(0) - 1 : 1, expert.extent(0), sequence};
    clear(cuda_stream(stream), expert, kept, E);
    if (sorted) line_up(cuda_stream(stream), priority, groups, segment, valid, queue);
    warps("capacity", cuda_stream(stream), groups.count * E, [=] __device__(Index i, int lane) {
        const Index s = i / E, e = i - s * E, from = groups.begin(s), rows = groups.end(s) - from;
        Index valid_tokens = 0, taken = 0;
        for (Index r = lane; r - lane < rows; r += kWarp)
            valid_tokens += __popc(__ballot_sync(0xffffffffu, r < rows && valid(from + r) != 0));
        const Index places = options.places(valid_tokens);
        for (Index j = lane; j - lane < rows * K && taken < places; j += kWarp) {
            const Index row = by_token ? j / K : j % rows, k = by_token ? j % K : j / rows;
            const bool inside = j < rows * K;
            const Index t = inside && sorted ? queue(from + row) : from + row;
            const bool asks = inside && expert(t, k) == e;
            const unsigned asking = __ballot_sync(0xffffffffu, asks);
            if (asks && taken + __popc(asking & ((1u << lane) - 1)) < places)
                kept(t, k) = static_cast<std::int32_t>(e);
            taken += __popc(asking);
        }
    });
}

template <class Real>
constexpr CapacityKernels<Real> kernels{place};

}  // namespace
}  // namespace moegrad::cuda::capacity

MOEGRAD_CUDA_FLOAT_SEAT(capacity)
