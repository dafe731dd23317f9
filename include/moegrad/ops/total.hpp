#pragma once
// total: the sum of values in double, in one fixed order. For losses and penalties: it adds into a place on the device, so
// that a step reads nothing back.
//   into = sum_i value[i], or into += that

#include <moegrad/core/context.hpp>
#include <moegrad/core/slot.hpp>

namespace moegrad {

/// Values that one block of a GPU sums; more are summed by several, whose sums are then added in order.
inline constexpr Index kTotalBlock = 16384;

template <class Real>
struct TotalKernels {
    /// CPU: one chain, (into + v_0) + v_1 + ..., however the values are cut into calls. GPU: into + the sum of the blocks
    /// in `part` [ceil(size / kTotalBlock)].
    void (*sum)(Stream, View<const Real, 1> value, View<double, 1> part, View<double, 1> into, Write);
};

inline constinit KernelSlot<TotalKernels> total_slot{"total", Proof::reference};

/// into [1], on the stream's device.
template <class Real>
void total(Stream stream, View<const Real, 1> value, View<double, 1> into, Write write) {
    if (into.size() != 1) {
        throw Error{ErrorCode::shape, "total", "room for one sum", format("[{}]", into.size())};
    }
    const Tensor<double> part =
        stream.context().make<double>({(value.size() + kTotalBlock - 1) / kTotalBlock});
    total_slot.get<Real>(stream.device()).sum(stream, value, part.view<1>(), into, write);
}

}  // namespace moegrad
