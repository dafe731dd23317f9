#pragma once
// seed: the start of backward. A loss is a list of values whose sum enters the objective with one coefficient,
//     objective = sum_l coefficient[l] * sum_i loss_l[i],     d objective / d loss_l[i] = coefficient[l].
// The coefficient is read from the step scalars, so it may change between steps of a recorded graph.

#include <moegrad/autograd/tape.hpp>
#include <moegrad/core/slot.hpp>

namespace moegrad {

template <class Real>
struct SeedKernels {
    void (*fill)(Stream, int coefficient, View<Real, 1> gradient);
};

inline constinit KernelSlot<SeedKernels> seed_slot{"seed", Proof::reference};

/// Writes the gradient of `loss` (any shape, dense). Call once per loss, before Tape::backward.
template <class Real>
void seed(Tape& tape, const Var<Real>& loss, int coefficient) {
    if (coefficient < 0 || coefficient >= kCoefficients) {
        throw Error{ErrorCode::value, "seed", format("a coefficient in [0, {})", kCoefficients),
                    format("{}", coefficient)};
    }
    if (!loss.needs_gradient()) return;
    const auto target = loss.gradient()->target();
    if (target.write == Write::accumulate) {
        throw Error{ErrorCode::state, "seed", "a loss that was not seeded and feeds nothing else",
                    "a second write"};
    }
    seed_slot.get<Real>(tape.device()).fill(tape.stream(), coefficient, target.tensor.flat());
}

}  // namespace moegrad
