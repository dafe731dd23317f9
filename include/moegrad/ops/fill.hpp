#pragma once
// fill: a tensor of one value, in step memory.   x[..] = value
// Saved: nothing.

#include <moegrad/autograd/tape.hpp>
#include <moegrad/core/slot.hpp>

namespace moegrad {

template <class Real>
struct FillKernels {
    void (*fill)(Stream, View<Real, 1> x, double value);
};

inline constinit KernelSlot<FillKernels> fill_slot{"fill", Proof::reference};

template <class Real>
Tensor<Real> filled(Tape& tape, const Shape& shape, double value) {
    auto x = tape.make<Real>(shape);
    fill_slot.get<Real>(tape.device()).fill(tape.stream(), x.flat(), value);
    return x;
}

}  // namespace moegrad
