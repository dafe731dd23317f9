#pragma once
// What the routers of one run did at its first step and over its last tenth: per router the share of tokens that chose
// each column (true experts, then nulls), and how many true experts a token got.

#include <moegrad/report/curves.hpp>

namespace moegrad::report {

/// A true expert that fewer tokens than this chose over the last tenth of the steps is dead.
inline constexpr double kDeadShare = 0.001;

struct RouterUse {
    std::string label, name;
    std::vector<double> before, after;      // [C] tokens that chose the column / tokens
    std::vector<double> experts_per_token;  // [K + 1] share of tokens, over the last tenth
    double all_null = 0, load = 0;          // over the last tenth
};

struct RunUse {
    std::vector<RouterUse> routers;
    std::size_t experts = 0, columns = 0;        // true experts; experts and nulls
    double tokens_before = 0, tokens_after = 0;  // per router
    std::int64_t steps_after = 0;

    /// Experts of a router that are dead.
    std::vector<std::size_t> dead(std::size_t router) const {
        std::vector<std::size_t> all;
        for (std::size_t e = 0; e < std::min(experts, routers[router].after.size()); ++e)
            if (routers[router].after[e] < kDeadShare) all.push_back(e);
        return all;
    }
};

namespace detail {

inline void add_to(std::vector<double>& sum, const std::vector<double>& values) {
    if (sum.size() < values.size()) sum.resize(values.size(), 0);
    for (std::size_t i = 0; i < values.size(); ++i) sum[i] += values[i];
}
inline double total(const std::vector<double>& values) {
    double sum = 0;
    for (double value : values) sum += value;
    return sum;
}
inline void divide(std::vector<double>& values, double by) {
    for (double& value : values) value = by > 0 ? value / by : 0;
}

/// True experts among `columns`: what tokens.json says, else what the configuration of a null-expert router says.
inline std::size_t true_experts(const RunFolder& run, std::size_t columns) {
    const auto known = static_cast<std::size_t>(run.tokens.experts);
    if (known > 0) return std::min(known, columns);
    if (run.setting("adapter.method") != "adamoe") return columns;
    const auto nulls =
        static_cast<std::size_t>(std::strtoull(run.setting("router.null_experts").c_str(), nullptr, 10));
    return nulls == 0 ? columns / 2 : nulls < columns ? columns - nulls : columns;
}

inline RouterUse router_use(const RunFolder& run, std::size_t at, std::int64_t from, RunUse& all) {
    const RouterLine& first = run.steps.front().routers[at];
    RouterUse use{router_label(first.name), first.name, first.slots, {}, {}, 0, 0};
    all.tokens_before = total(first.experts_per_token);
    divide(use.before, all.tokens_before);
    for (const MetricsLine& line : run.steps) {
        if (line.step < from || at >= line.routers.size()) continue;
        add_to(use.after, line.routers[at].slots);
        add_to(use.experts_per_token, line.routers[at].experts_per_token);
        const double tokens = total(line.routers[at].experts_per_token);
        if (!std::isnan(line.routers[at].all_null)) use.all_null += line.routers[at].all_null * tokens;
    }
    all.tokens_after = total(use.experts_per_token);
    divide(use.after, all.tokens_after);
    divide(use.experts_per_token, all.tokens_after);
    use.all_null = all.tokens_after > 0 ? use.all_null / all.tokens_after : 0;
    for (std::size_t n = 0; n < use.experts_per_token.size(); ++n)
        use.load += static_cast<double>(n) * use.experts_per_token[n];
    return use;
}

}  // namespace detail

inline RunUse run_use(const RunFolder& run) {
    RunUse use;
    if (run.steps.empty()) return use;
    const std::int64_t steps = steps_of(run);
    use.steps_after = std::max<std::int64_t>(1, steps / 10);
    for (std::size_t i = 0; i < run.steps.front().routers.size(); ++i) {
        use.routers.push_back(detail::router_use(run, i, steps - use.steps_after, use));
        use.columns = std::max({use.columns, use.routers[i].after.size(), use.routers[i].before.size()});
    }
    use.experts = detail::true_experts(run, use.columns);
    return use;
}

}  // namespace moegrad::report
