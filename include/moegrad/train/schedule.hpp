#pragma once
// What changes with the step: the learning rate and the coefficients of the penalties.

#include <algorithm>
#include <string>
#include <vector>

#include <moegrad/core/error.hpp>
#include <moegrad/core/math.hpp>
#include <moegrad/core/math_trigonometric.hpp>
#include <moegrad/core/view.hpp>

namespace moegrad {

struct LearningRate {
    enum class Shape { constant, linear, cosine };
    double peak = 1e-4;
    Index warmup = 0;  // steps of a linear rise; the first step has peak / warmup
    Shape shape = Shape::constant;
    double floor = 0;  // end of a decay, as a share of the peak

    /// Of step n (from 0) in a run of `steps`.
    double at(Index n, Index steps) const {
        if (n < warmup) return peak * static_cast<double>(n + 1) / static_cast<double>(warmup);
        if (shape == Shape::constant) return peak;
        const double left = static_cast<double>(std::max<Index>(1, steps - warmup));
        const double done = std::min(1.0, static_cast<double>(n - warmup) / left);
        const double share =
            shape == Shape::linear ? 1 - done : 0.5 * (1 + cos(3.14159265358979323846 * done));
        return peak * (floor + (1 - floor) * share);
    }

    static Shape named(const std::string& text) {
        if (text == "constant") return Shape::constant;
        if (text == "linear") return Shape::linear;
        if (text == "cosine") return Shape::cosine;
        throw Error{ErrorCode::config, "schedule.shape", "constant, linear or cosine", text};
    }
};

/// A coefficient per epoch, the last one held: {0.02, 0.0001} is AdaMoE's annealing (a step, not a ramp).
struct EpochCoefficient {
    std::vector<double> per_epoch{0};

    double at(Index epoch) const {
        if (per_epoch.empty()) return 0;
        return per_epoch[static_cast<std::size_t>(std::min(epoch, static_cast<Index>(per_epoch.size()) - 1))];
    }
};

}  // namespace moegrad
