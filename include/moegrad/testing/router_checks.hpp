#pragma once
// The conformance suite over a router from outside, as a program. CMake's moegrad_add_router makes one of every router.
//
//     int main() { return moegrad::test::run_router_checks<MyRouter>("my_router"); }
//
// The router may say how far its weights sum (static constexpr WeightSum sum), how many slots it can have
// (static Index most_slots(const RouterSize&)) and that its experts' numbers mean something (static constexpr bool
// relabels = false); else: at most one, as many as experts, and any renumbering is as good.
// One check more than for our own: every parameter that trains gets a gradient somewhere ("learning").

#include <moegrad/methods/router_registry.hpp>
#include <moegrad/testing/router_scope.hpp>

#include <cstdio>

namespace moegrad::test {

/// A registered router as the suite wants it: of any size, its own parameters moved away from their start.
template <template <class> class Mine>
struct OutsideRouter {
    inline static std::string title = "router", options;
    static constexpr WeightSum sum = [] {
        if constexpr (requires { Mine<float>::sum; }) {
            return Mine<float>::sum;
        } else {
            return WeightSum::at_most_one;
        }
    }();
    static constexpr bool relabels = [] {
        if constexpr (requires { Mine<float>::relabels; }) return Mine<float>::relabels;
        return true;
    }();

    static std::string name() { return title; }
    static Index most_slots(const RouterSize& size) {
        if constexpr (requires { Mine<float>::most_slots(size); }) {
            return Mine<float>::most_slots(size);
        } else {
            return size.experts;
        }
    }

    template <class Real>
    static AnyRouter<Real> make(const RouterSize& size, std::uint64_t seed,
                                const PenaltySettings& penalties = {}) {
        using moegrad::detail::random_gate;
        RouterBuild<Real> build{
            .path = "layer.router",
            .layer = 0,
            .experts = size.experts,
            .features = size.features,
            .top_k = size.slots,
            .seed = seed,
            .gate = random_gate<Real>("layer.gate", size.experts, size, GateTraining::lora, seed, 0),
            .penalties = penalties,
            .options = RouterOptions(options)};
        const RegisteredRouter registered{title, "", &make_registered<float, Mine>,
                                          &make_registered<double, Mine>};
        auto router = make_router<Real>(registered, std::move(build));
        moegrad::detail::move_from_start(router, "layer.router.", seed);
        return router;
    }
};

/// Every parameter that trains gets a gradient in at least one of some random batches.
inline void check_learning(const RouterCase& router, Report& report) {
    const RouterSize size{.features = 6, .experts = 5, .nulls = 3, .slots = 2, .routers = 2};
    std::map<std::string, bool> moved;
    for (std::uint64_t seed = 0; seed < 5; ++seed) {
        auto made = router.make<double>(size, seed);
        decide_and_learn(made, random_batch<double>(size.features, {9, 7}, seed));
        const auto gradients = parameter_gradients(made);
        std::size_t i = 0;
        for (auto* parameter : made.parameters()) {
            const auto values = gradients[i++].values();
            if (!parameter->trainable()) continue;
            const bool any = std::any_of(values.begin(), values.end(), [](double g) { return g != 0; });
            moved[parameter->name()] = moved[parameter->name()] || any;
        }
    }
    for (const auto& [name, any] : moved) {
        if (!any) report.fail("learning", "no gradient reaches " + name);
    }
}

inline const char* scope_name(RouterScope scope) {
    return scope == RouterScope::token ? "token" : scope == RouterScope::sequence ? "sequence" : "batch";
}

/// A line per check; of failures the first three.
inline void print_check(const Report& report, const char* check) {
    int shown = 0;
    for (const auto& failure : report.failures) {
        if (failure.check == check && ++shown <= 3) {
            std::printf("  %-12s FAILED: %s\n", check, failure.what.c_str());
        }
    }
    if (shown == 0) std::printf("  %-12s ok\n", check);
    if (shown > 3) std::printf("  %-12s and %d more\n", "", shown - 3);
}

/// Runs the suite and prints it. 0: all is well.
inline int print_router_checks(const RouterCase& router, int cases) {
    try {
        std::printf("%s, scope %s\n", router.name.c_str(),
                    scope_name(router.make<float>(RouterSize{}, 1).scope()));
        Report report = check_router(router, cases);
        check_learning(router, report);
        for (const char* check : {"contract", "gradient", "learning", "threads", "permutation", "duplicates",
                                  "split", "padding", "edges", "relabelling", "device"}) {
            if (check != std::string("device") || has_cuda()) print_check(report, check);
        }
        return report.passed() ? 0 : 1;
    } catch (const Error& error) {
        std::printf("  FAILED: %s\n", error.what());
        return 1;
    }
}

template <template <class> class Mine>
int run_router_checks(const char* name, const char* options = "", int cases = 200) {
    OutsideRouter<Mine>::title = name;
    OutsideRouter<Mine>::options = options;
    return print_router_checks(router_case<OutsideRouter<Mine>>(), cases);
}

}  // namespace moegrad::test
