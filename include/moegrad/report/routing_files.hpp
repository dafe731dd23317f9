#pragma once
// CSV files of the routers: load per column, experts per token, and every router at every step.

#include <moegrad/report/page.hpp>
#include <moegrad/report/router_use.hpp>

namespace moegrad::report {

/// Their places, as links of the page.
struct RoutingFiles {
    std::string load, experts_per_token, routers;
};

namespace detail {

inline Csv load_csv(const ReportData& data) {
    Csv csv({"arm", "run", "router", "column", "kind", "before", "after", "dead"});
    for (const Arm& arm : data.arms) {
        for (const RunFolder& run : arm.runs) {
            const RunUse use = run_use(run);
            for (const RouterUse& router : use.routers) {
                for (std::size_t c = 0; c < router.after.size(); ++c) {
                    const bool real = c < use.experts;
                    csv.add(arm.name).add(run.name).add(router.name).add(static_cast<std::int64_t>(c));
                    csv.add(real ? "expert" : "null").add(c < router.before.size() ? router.before[c] : 0);
                    csv.add(router.after[c]).add(real && router.after[c] < kDeadShare ? "yes" : "no").end();
                }
            }
        }
    }
    return csv;
}

inline Csv experts_per_token_csv(const ReportData& data) {
    Csv csv({"arm", "run", "router", "true_experts", "share"});
    for (const Arm& arm : data.arms) {
        for (const RunFolder& run : arm.runs) {
            for (const RouterUse& router : run_use(run).routers) {
                for (std::size_t n = 0; n < router.experts_per_token.size(); ++n) {
                    csv.add(arm.name).add(run.name).add(router.name).add(static_cast<std::int64_t>(n));
                    csv.add(router.experts_per_token[n]).end();
                }
            }
        }
    }
    return csv;
}

inline Csv routers_csv(const ReportData& data) {
    Csv csv({"arm", "run", "step", "router", "load", "entropy", "all_null"});
    for (const Arm& arm : data.arms)
        for (const RunFolder& run : arm.runs)
            for (const MetricsLine& line : run.steps)
                for (const RouterLine& router : line.routers)
                    csv.add(arm.name)
                        .add(run.name)
                        .add(line.step)
                        .add(router.name)
                        .add(router.load)
                        .add(router.entropy)
                        .add(router.all_null)
                        .end();
    return csv;
}

}  // namespace detail

inline RoutingFiles add_routing_files(Page& page, const ReportData& data) {
    return {page.file("expert_load.csv", detail::load_csv(data)),
            page.file("experts_per_token.csv", detail::experts_per_token_csv(data)),
            page.file("routers.csv", detail::routers_csv(data))};
}

}  // namespace moegrad::report
