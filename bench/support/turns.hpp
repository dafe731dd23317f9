#pragma once
// Jobs timed in turns: every round runs each of them once, for a few milliseconds, so that a clock which sinks under load
// sinks for all. A job's time is its median over the rounds. Works on every device.

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include <fmt/core.h>

#include <moegrad/core/context.hpp>

namespace moegrad::bench {

/// What a rate is divided by: a copy inside the device's memory, or one large product of matrices.
enum class Against { nothing, copy, product };

struct Job {
    std::string group, what;
    double flops, bytes;  // that the task needs at least; 0: not counted
    Against against;
    double floor;  // of the share; 0: none
    std::function<void()> run;
    std::function<void()> before = {};  // puts back what a run uses up; not timed
    std::vector<double> seconds = {};   // of one run, one entry a round

    double median() const {
        std::vector<double> sorted = seconds;
        std::sort(sorted.begin(), sorted.end());
        return sorted.empty() ? 0 : sorted[sorted.size() / 2];
    }
    double rate() const { return (against == Against::copy ? bytes : flops) / median(); }
};

inline void wait(Device device) {
    if (device == Device::cuda) cuda_memory().wait();
}

/// Of one of `repeats` runs. The host's clock: one wait for many runs, so that launches overlap with work.
inline double seconds_of(Device device, const Job& job, int repeats) {
    using Clock = std::chrono::steady_clock;
    if (job.before) job.before();
    wait(device);
    const auto begin = Clock::now();
    for (int i = 0; i < repeats; ++i) job.run();
    wait(device);
    return std::chrono::duration<double>(Clock::now() - begin).count() / repeats;
}

struct Turns {
    int rounds = 20;
    double least = 4e-3;  // seconds of a job in one round: a wait costs some 10 us of it
};

inline void time_in_turns(Device device, std::vector<Job>& jobs, const Turns& turns) {
    constexpr int kMost = 400;
    std::vector<int> repeats;
    for (const Job& job : jobs) {
        seconds_of(device, job, 1);  // warms up
        const int sample = job.before ? 1 : 3;
        const double many = std::ceil(turns.least / seconds_of(device, job, sample));
        repeats.push_back(job.before ? 1 : static_cast<int>(std::clamp(many, 1.0, double{kMost})));
    }
    for (int round = 0; round < turns.rounds; ++round) {
        for (std::size_t i = 0; i < jobs.size(); ++i)
            jobs[i].seconds.push_back(seconds_of(device, jobs[i], repeats[i]));
    }
}

/// A line of the table, then the same as JSON. `share`: of the rate it is measured against; negative: none.
inline void print(const Job& job, double share) {
    std::string rate, verdict;
    if (job.flops > 0) rate += fmt::format("  {:7.1f} TFLOP/s", job.flops / job.median() * 1e-12);
    if (job.bytes > 0) rate += fmt::format("  {:7.0f} GB/s", job.bytes / job.median() * 1e-9);
    if (share >= 0) verdict = fmt::format("  {:.2f}", share);
    if (share >= 0 && job.floor > 0) {
        verdict += fmt::format(" (floor {:.2f}{})", job.floor, share < job.floor ? ", MISSED" : "");
    }
    fmt::print("{:<12} {:<34} {:10.1f} us{:<34}{}\n", job.group, job.what, job.median() * 1e6, rate, verdict);
}
inline void print_json(const Job& job, double share) {
    fmt::print(
        R"({{"group": "{}", "what": "{}", "us": {:.3f}, "tflops": {:.3f}, "gbs": {:.2f}, "share": {:.4f}, "floor": {}}})"
        "\n",
        job.group, job.what, job.median() * 1e6, job.flops / job.median() * 1e-12,
        job.bytes / job.median() * 1e-9, share, job.floor);
}

}  // namespace moegrad::bench
