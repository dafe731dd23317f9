#pragma once
// What changes with the step: the learning rate and the coefficients of the penalties.
//
// Of step n = 0, 1, .. in a run of N, with warm-up W: (n + 1) / W of the peak while n < W, then p of it:
//   constant   1
//   linear     f + (1 - f) (1 - d)                      d = (n - W) / (N - W),  f = floor
//   cosine     f + (1 - f) (1 + cos(pi d)) / 2
//   wsd        1 until the last D steps (`decay`), then f + (1 - f) (1 - sqrt(d))    d = (n - (N - D)) / D
//   inv_sqrt   max(f, sqrt(W / (n + 1))), W at least 1
// wsd: warm-up, stable, decay of Hu et al. 2024 (MiniCPM, arXiv 2404.06395) with the 1 - sqrt decay that
// Haegele et al. 2024 (arXiv 2405.18392, eq. 1) found best. inv_sqrt: Vaswani et al. 2017 (arXiv 1706.03762, section 5.3).

#include <algorithm>
#include <string>
#include <vector>

#include <moegrad/core/error.hpp>
#include <moegrad/core/math.hpp>
#include <moegrad/core/math_trigonometric.hpp>
#include <moegrad/core/view.hpp>

namespace moegrad {

struct LearningRate {
    enum class Shape { constant, linear, cosine, wsd, inv_sqrt };
    double peak = 1e-4;
    Index warmup = 0;  // steps of a linear rise; the first step has peak / warmup
    Shape shape = Shape::constant;
    double floor = 0;  // end of a decay, as a share of the peak
    Index decay = 0;   // wsd: steps of the final decay; 0: a tenth of the run, as in MiniCPM

    /// Of step n (from 0) in a run of `steps`.
    double at(Index n, Index steps) const {
        if (n < warmup) return peak * static_cast<double>(n + 1) / static_cast<double>(warmup);
        switch (shape) {
            case Shape::constant: return peak;
            case Shape::linear: return above_floor(1 - done(n, warmup, steps));
            case Shape::cosine:
                return above_floor(0.5 * (1 + cos(3.14159265358979323846 * done(n, warmup, steps))));
            case Shape::wsd: return above_floor(1 - sqrt(done(n, decay_begin(steps), steps)));
            case Shape::inv_sqrt: {
                const double risen = static_cast<double>(std::max<Index>(1, warmup));
                return peak * std::max(floor, sqrt(risen / static_cast<double>(n + 1)));
            }
        }
        return peak;
    }

    /// The first step of wsd's final decay; a decay that is longer than what the warm-up leaves begins after it.
    Index decay_begin(Index steps) const {
        const Index length = decay > 0 ? decay : std::max<Index>(1, steps / 10);
        return std::max(warmup, steps - length);
    }

    static Shape named(const std::string& text) {
        if (text == "constant") return Shape::constant;
        if (text == "linear") return Shape::linear;
        if (text == "cosine") return Shape::cosine;
        if (text == "wsd") return Shape::wsd;
        if (text == "inv_sqrt") return Shape::inv_sqrt;
        throw Error{ErrorCode::config, "schedule.shape", "constant, linear, cosine, wsd or inv_sqrt", text};
    }

private:
    double above_floor(double share) const { return peak * (floor + (1 - floor) * share); }
    /// Of the way from step `begin` to step `end`, within [0, 1].
    static double done(Index n, Index begin, Index end) {
        const double length = static_cast<double>(std::max<Index>(1, end - begin));
        return std::clamp(static_cast<double>(n - begin) / length, 0.0, 1.0);
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
