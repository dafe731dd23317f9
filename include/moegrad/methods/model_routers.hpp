#pragma once
// model_routers: every router of a model with its name, those of adapters before those of the MoE layers, then
// those of branches and hooks, layer by layer.

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
            if (moe.router.defined()) all.emplace_back(moe.name, &moe.router);
        }
        for (auto& branch : layer.branches) all.emplace_back(branch.name, &branch.router);
        if (layer.hook && layer.hook->router()) {
            all.emplace_back("model.layers." + std::to_string(layer.index), layer.hook->router());
        }
    }
    return all;
}

}  // namespace moegrad
