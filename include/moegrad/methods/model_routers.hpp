#pragma once
// model_routers: every router of a model with the name of its routings, layer by layer: those of adapters, of what stands
// beside the experts of the MoE layers, of these layers, then those of branches and hooks.

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include <moegrad/models/decoder.hpp>

namespace moegrad {

template <class Real>
using NamedRouters = std::vector<std::pair<std::string, AnyRouter<Wide<Real>>*>>;

template <class Real>
NamedRouters<Real> model_routers(Decoder<Real>& model) {
    NamedRouters<Real> all;
    for (auto& layer : model.layers()) {
        for (auto& [name, linear] : model.linears(layer)) {
            if (linear->adapter && linear->adapter->router())
                all.emplace_back(linear->path(), linear->adapter->router());
        }
        for (auto& moe : layer.moe) {
            for (auto& set : moe.beside) {
                if (set->router()) all.emplace_back(set->router_name(), set->router());
            }
            if (moe.router.defined()) all.emplace_back(moe.name, &moe.router);
        }
        for (auto& branch : layer.branches) all.emplace_back(branch.name, &branch.router);
        if (layer.hook && layer.hook->router()) {
            all.emplace_back("model.layers." + std::to_string(layer.index), layer.hook->router());
        }
    }
    return all;
}

/// E of the router that made a record, by its name.
template <class Real>
Index experts_of(const NamedRouters<Real>& routers, const std::string& name) {
    for (const auto& [one, router] : routers) {
        if (one == name) return router->experts();
    }
    throw Error{ErrorCode::state, "the routings of " + name, "a router of that name in the model", "none",
                "an expert set with a router of its own names it (ExpertSet::router)"};
}

/// What the routers of a model caution about, each sentence once.
template <class Real>
std::vector<std::string> router_cautions(Decoder<Real>& model) {
    std::vector<std::string> all;
    for (const auto& [name, router] : model_routers(model)) {
        const std::string one = router->caution();
        if (!one.empty() && std::find(all.begin(), all.end(), one) == all.end()) all.push_back(one);
    }
    return all;
}

}  // namespace moegrad
