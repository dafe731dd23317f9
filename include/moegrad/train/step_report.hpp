#pragma once
// What a step is told, and what it tells.

#include <map>
#include <string>

#include <moegrad/ops/adamw.hpp>
#include <moegrad/ops/route_stats.hpp>

namespace moegrad {

struct TrainerOptions {
    AdamWOptions adamw{.weight_decay = 0};
    double clip = 1.0;          // largest global gradient norm; 0: no clipping
    Index micro_batch = 8;      // samples per micro-batch
    std::uint64_t seed = 0;     // of dropout
    bool allow_masked = false;  // samples without a supervised token, as long as the step has one
};

/// What one step did. Penalties are raw values in the unit they are divided by.
struct StepReport {
    Index step = 0;
    double cross_entropy = 0;
    double gradient_norm = 0;
    double learning_rate = 0;
    Index tokens = 0, supervised = 0;
    std::map<std::string, double> penalties;
    std::map<std::string, double> traces;          // means over valid tokens and routers
    std::map<std::string, RoutingTotals> routers;  // by the router's name

    /// Mean number of true experts per token over all routers; -1 without routers.
    double load() const {
        double sum = 0;
        for (const auto& [name, totals] : routers) sum += totals.load();
        return routers.empty() ? -1 : sum / static_cast<double>(routers.size());
    }
};

}  // namespace moegrad
