#pragma once
// Jobs timed in turns: every round runs each of them for some milliseconds, so that a clock which sinks under load sinks for
// all, ours and PyTorch's alike (ABAB). A turn begins with a run that does not count: it pays for what the turn before
// left behind, caches and the switch between two processes among it. Works on every device.

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include <moegrad/core/context.hpp>
#include <moegrad/core/philox.hpp>

#include "spread.hpp"

namespace moegrad::bench {

/// What a rate is divided by: a copy inside the device's memory, or one large product of matrices.
enum class Against { nothing, copy, product };

/// The two ceilings: every part times them beside its own jobs.
inline const std::string kProduct = "one large product", kCopy = "copy";

struct Job {
    std::string part, what;
    double flops, bytes;  // that the task needs at least; 0: not counted
    Against against;
    std::function<void()> run;
    std::function<void()> before = {};  // puts back what a run uses up; not timed
    std::function<double(int)> elsewhere =
        {};                            // seconds of that many runs in another process; then `run` is empty
    std::string note = {};             // of a peer: the setting that it found best
    std::vector<double> seconds = {};  // of one run, one entry a round

    bool theirs() const { return !note.empty(); }
    Estimate time() const { return median_interval(seconds); }
    double rate() const { return (against == Against::copy ? bytes : flops) / time().value; }
};

inline void wait(Device device) {
    if (device == Device::cuda) cuda_memory().wait();
}

/// Of one of `repeats` runs. The host's clock: one wait for many runs, so that launches overlap with work.
inline double seconds_of(Device device, const Job& job, int repeats) {
    using Clock = std::chrono::steady_clock;
    const int warm = std::max(1, repeats / 2);
    wait(device);
    if (job.elsewhere) {
        if (repeats > 1) job.elsewhere(warm);
        return job.elsewhere(repeats) / repeats;
    }
    for (int i = 0; i < warm; ++i) {
        if (job.before) job.before();
        job.run();
    }
    if (job.before) job.before();
    wait(device);
    const auto begin = Clock::now();
    for (int i = 0; i < repeats; ++i) job.run();
    wait(device);
    return std::chrono::duration<double>(Clock::now() - begin).count() / repeats;
}

struct Turns {
    using Clock = std::chrono::steady_clock;

    int rounds = 20;
    double least = 10e-3;                                // seconds of a job in one round
    Clock::time_point until = Clock::time_point::max();  // no round begins later, but for the first few
};

/// Every round has an order of its own: a job runs hot behind a large product and cool behind a copy, where the card has a limit of
/// power. A peer that fails says so and leaves the list: failed(job, reason).
template <class Failed>
void time_in_turns(Device device, std::vector<Job>& jobs, const Turns& turns, const Failed& failed) {
    constexpr int kMost = 400, kFew = 3;
    std::vector<int> repeats;
    const auto measured = [&](Job& job, int count) {
        try {
            return seconds_of(device, job, count);
        } catch (const std::exception& error) {
            if (!job.elsewhere) throw;
            failed(job, error.what());
            job.elsewhere = {};
            return 0.0;
        }
    };
    const auto gone = [](const Job& job) { return job.theirs() && !job.elsewhere; };
    for (Job& job : jobs) {
        measured(job, 1);
        const double once = job.before || gone(job) ? turns.least : measured(job, 2);
        repeats.push_back(static_cast<int>(std::clamp(std::ceil(turns.least / once), 1.0, double{kMost})));
    }
    std::vector<std::size_t> order(jobs.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    Random random(0);
    for (int round = 0; round < turns.rounds; ++round) {
        if (round >= kFew && Turns::Clock::now() > turns.until) break;
        shuffle(std::span<std::size_t>(order), random);
        for (const std::size_t i : order) {
            if (gone(jobs[i])) continue;
            const double seconds = measured(jobs[i], repeats[i]);
            if (!gone(jobs[i])) jobs[i].seconds.push_back(seconds);
        }
    }
    std::erase_if(jobs, gone);
}

}  // namespace moegrad::bench
