#pragma once
// stats_total: adds what a router did with one batch (RoutingStats) to the counts of a whole step, on the device.
//     total[i] = total[i] + words[i]        whole numbers in the order of RoutingWords: exact in any order
// Saved: nothing.

#include <moegrad/ops/route_stats.hpp>

namespace moegrad {

template <class Real>
struct StatsTotalKernels {
    void (*add)(Stream, View<const std::int64_t, 1> words, View<std::int64_t, 1> total);
};

inline constinit KernelSlot<StatsTotalKernels> stats_total_slot{"stats_total", Proof::reference};

/// Real: the router's number type; it says which seat serves. total: as many numbers as batch.words.
template <class Real>
void stats_total(Stream stream, const RoutingStats& batch, const Tensor<std::int64_t>& total) {
    if (!(total.shape() == batch.words.shape())) {
        throw Error{ErrorCode::shape, "stats_total", "a total of " + batch.words.shape().text(),
                    total.shape().text()};
    }
    stats_total_slot.get<Real>(stream.device()).add(stream, batch.words.view<1>(), total.view<1>());
}

}  // namespace moegrad
