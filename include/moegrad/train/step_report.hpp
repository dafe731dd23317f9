#pragma once
// What a step is told, and what it tells.

#include <algorithm>
#include <map>
#include <string>

#include <moegrad/core/device_step.hpp>
#include <moegrad/ops/adamw.hpp>
#include <moegrad/ops/route_stats.hpp>

namespace moegrad {

struct TrainerOptions {
    AdamWOptions adamw{.weight_decay = 0};
    double clip = 1.0;          // largest global gradient norm; 0: no clipping
    Index micro_batch = 8;      // samples per micro-batch
    std::uint64_t seed = 0;     // of dropout
    bool allow_masked = false;  // samples without a supervised token, as long as the step has one
    bool graphs = true;         // on a GPU: steps are recorded and replayed; the same bits without
};

/// What one step did. Penalties are raw values in the unit they are divided by; with the coefficients of this step
///     objective = cross_entropy + sum_p weighted_p,   weighted_p = c_p penalty_p
struct StepReport {
    Index step = 0;
    double cross_entropy = 0;
    double gradient_norm = 0;
    double learning_rate = 0;
    Index tokens = 0, supervised = 0;
    std::map<std::string, double> penalties, coefficients;
    std::map<std::string, double> traces;          // means over valid tokens and routers
    std::map<std::string, RoutingTotals> routers;  // by the router's name

    /// What each penalty added to the objective; 0 of one without a coefficient.
    std::map<std::string, double> weighted() const {
        std::map<std::string, double> all;
        for (const auto& [name, value] : penalties) {
            const auto found = coefficients.find(name);
            all[name] = found == coefficients.end() ? 0 : found->second * value;
        }
        return all;
    }
    /// Mean number of true experts per token over all routers; -1 without routers.
    double load() const {
        double sum = 0;
        for (const auto& [name, totals] : routers) sum += totals.load();
        return routers.empty() ? -1 : sum / static_cast<double>(routers.size());
    }
};

/// Routers with state learn what the whole step did. routers: names and routers.
template <class Routers>
void tell_routers(const Routers& routers, const StepReport& report) {
    for (const auto& [name, router] : routers) {
        const auto found = report.routers.find(name);
        if (found != report.routers.end()) router->after_step(found->second);
    }
}

/// How a trainer used a GPU. A steady step is one in which nothing ran or was recorded for the first time.
struct DeviceUse {
    Index steady_steps = 0;
    DeviceCounts most;   // of one steady step, from its begin to its report
    int graphs = 0;      // recorded and replayed
    bool plain = false;  // steps run without recording

    void add(const DeviceCounts& calls) {
        ++steady_steps;
        most.allocations = std::max(most.allocations, calls.allocations);
        most.synchronising = std::max(most.synchronising, calls.synchronising);
    }
};

inline std::string device_use_text(const DeviceUse& use) {
    const std::string how = use.plain ? "not recorded" : format("{} graphs", use.graphs);
    if (use.steady_steps == 0) return format("GPU: {}; no step was a steady one", how);
    return format("GPU: {}; a steady step made {} synchronising calls and {} allocations ({} steps)", how,
                  use.most.synchronising, use.most.allocations, use.steady_steps);
}

}  // namespace moegrad
