#pragma once
// EarlyStop: whether a held-out nll is a new best, and when to stop waiting for one.
//     new best:  nll < best - min_delta          stop:  `patience` evaluations in a row without one (0: never)
// The evaluation before the first step counts: where training only makes things worse, the start is the best.

#include <string>

#include <moegrad/core/format.hpp>
#include <moegrad/train/run_state.hpp>

namespace moegrad {

struct EarlyStop {
    Index patience = 0;
    double min_delta = 0;

    /// Takes an evaluation after `step` steps into the state. True: it is a new best. A nll that is not a number never is.
    bool update(RunState& state, double nll, Index step) const {
        if (nll < state.best - min_delta) {
            state.best = nll;
            state.best_step = step;
            state.evaluations_without_gain = 0;
            return true;
        }
        ++state.evaluations_without_gain;
        return false;
    }

    bool stop(const RunState& state) const {
        return patience > 0 && state.evaluations_without_gain >= patience;
    }

    /// The sentence for the screen, metrics and manifest.
    std::string reason(const RunState& state) const {
        return format(
            "{} evaluations without a held-out nll below {:.4f} - {} (eval.patience {}); best at step {}",
            state.evaluations_without_gain, state.best, min_delta, patience, state.best_step);
    }
};

}  // namespace moegrad
