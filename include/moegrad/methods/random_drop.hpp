#pragma once
// Method "random_drop": the control of routing/random_drop_router.hpp over the checkpoint's gate.
// router.options: load = 1 .. top_k (1.5 unless told).

#include <moegrad/methods/router_registry.hpp>
#include <moegrad/routing/random_drop_router.hpp>

namespace moegrad {

template <class Real>
struct RandomDrop : RandomDropRouter<Real> {
    static RandomDropRouter<Real> make(RouterBuild<Real> build) {
        RandomDropRouter<Real> router{.gate = std::move(build.gate),
                                      .k = build.top_k,
                                      .load = build.options.number("load", 1.5),
                                      .seed = build.seed,
                                      .penalties = build.penalties};
        router.check();
        return router;
    }
};

inline const RegisterRouter<RandomDrop> random_drop_registered{"random_drop"};

}  // namespace moegrad
