#pragma once
// total: the sum of values in double, in one fixed order. For losses and penalties: it adds into a place on the device, so
// that a step reads nothing back.
//   into = sum_i value[i], or into += that; i runs over the valid values

#include <cstdint>

#include <moegrad/core/context.hpp>
#include <moegrad/core/segments.hpp>
#include <moegrad/core/slot.hpp>

namespace moegrad {

/// Values that one block of a GPU sums; more are summed by several, whose sums are then added in order.
inline constexpr Index kTotalBlock = 16384;

template <class Real>
struct TotalKernels {
    /// CPU: one chain, (into + v_0) + v_1 + ..., however the values are cut into calls. GPU: into + the sum of the blocks
    /// in `part` [ceil(size / kTotalBlock)]. valid: empty where all are.
    void (*sum)(Stream, View<const Real, 1> value, View<const std::uint8_t, 1> valid, View<double, 1> part,
                View<double, 1> into, Write);
};

inline constinit KernelSlot<TotalKernels> total_slot{"total", Proof::reference};

/// into [1], on the stream's device. valid, where given: which values count, as many as there are values.
template <class Real>
void total(Stream stream, View<const Real, 1> value, View<double, 1> into, Write write,
           View<const std::uint8_t, 1> valid = {}) {
    if (into.size() != 1) {
        throw Error{ErrorCode::shape, "total", "room for one sum", format("[{}]", into.size())};
    }
    if (valid.size() > 0 && valid.size() != value.size()) {
        throw Error{ErrorCode::shape, "total", format("valid [{}]", value.size()),
                    format("[{}]", valid.size())};
    }
    const Tensor<double> part =
        stream.context().make<double>({(value.size() + kTotalBlock - 1) / kTotalBlock});
    total_slot.get<Real>(stream.device()).sum(stream, value, valid, part.view<1>(), into, write);
}

}  // namespace moegrad
