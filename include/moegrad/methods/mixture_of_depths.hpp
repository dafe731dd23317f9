#pragma once
// mod: Mixture-of-Depths (models/mixture_of_depths.hpp) on a frozen dense model, with the usual LoRA on its Linears.
//
//   router.options   capacity (0.125)  tokens of a sequence that a routed layer computes
//                    every (2)         one layer in so many is routed: 1, 3, 5, ..
//                    std               of the routers' normal start; 1 / sqrt(3 D), as a fresh gate has
//
// Not on a mixture of experts: what its routers say would be told of other tokens than it is about.

#include <cmath>
#include <memory>
#include <string>
#include <utility>

#include <moegrad/methods/model_method.hpp>
#include <moegrad/models/mixture_of_depths.hpp>
#include <moegrad/routing/router_build.hpp>

namespace moegrad {

template <class Real>
struct MixtureOfDepthsMethod {
    static void attach(MethodBuild<Real>& build) {
        const Index every = build.options.count("every", 2), D = build.model.config().hidden_size;
        const double capacity = build.options.number("capacity", 0.125);
        const double deviation = build.options.number("std", 1 / std::sqrt(3.0 * static_cast<double>(D)));
        check(build, every, capacity);
        for (auto& layer : build.model.layers()) {
            if (layer.index % every != every - 1) continue;
            const std::string name = "model.layers." + std::to_string(layer.index);
            const RouterBuild<Wide<Real>> router{.path = name + ".mod",
                                                 .layer = layer.index,
                                                 .experts = 1,
                                                 .features = D,
                                                 .seed = build.spec.seed};
            layer.hook = std::make_unique<MixtureOfDepths<Real>>(
                name, DepthRouter<Wide<Real>>{Gate<Wide<Real>>(router.normal("weight", {1, D}, deviation)),
                                              capacity});
        }
    }

private:
    static void check(const MethodBuild<Real>& build, Index every, double capacity) {
        const auto layers = static_cast<Index>(build.model.layers().size());
        if (every < 1 || every > layers || !(capacity > 0 && capacity <= 1)) {
            throw Error{ErrorCode::config, "router.options",
                        format("every from 1 to {} (the layers), capacity above 0 and up to 1", layers),
                        format("every = {}, capacity = {}", every, capacity)};
        }
        if (build.model.config().is_mixture()) {
            throw Error{ErrorCode::unsupported, "adapter.method", "a dense model for mod",
                        "a mixture of experts"};
        }
    }
};

inline const RegisterMethod<MixtureOfDepthsMethod> mixture_of_depths_registered{"mod"};

}  // namespace moegrad
