#pragma once
// RunState: what a training run knows besides its weights and moments. Order of samples, dropout, learning rate and
// coefficients are functions of the step, so a run that starts again from here ends where it would have ended.

#include <cstdint>
#include <limits>

#include <moegrad/core/view.hpp>

namespace moegrad {

struct RunState {
    Index step = 0;                                         // steps done
    double best = std::numeric_limits<double>::infinity();  // lowest held-out nll so far
    Index best_step = -1;
    Index evaluations_without_gain = 0;
    double average = 0;                // of the cross entropy, exponentially, 0.9
    Index tokens = 0, supervised = 0;  // in steps
    double seconds = 0;                // in steps; by the clock, so it varies
    bool evaluated = false;
    double nll_before = 0;            // held out, before the first step
    std::uint64_t metrics_bytes = 0;  // of metrics.jsonl
    Index stream = 0;                 // documents read, where samples come from a stream
};

}  // namespace moegrad
