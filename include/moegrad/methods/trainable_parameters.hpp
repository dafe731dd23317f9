#pragma once
// trainable_parameters: what a step updates, whoever attached it.

#include <algorithm>
#include <vector>

#include <moegrad/models/decoder.hpp>

namespace moegrad {

/// Every trainable parameter, each once: adapters, routers, and base weights that train.
template <class Real>
std::vector<Parameter<Wide<Real>>*> trainable_parameters(Decoder<Real>& model) {
    std::vector<Parameter<Wide<Real>>*> all;
    const auto take = [&all](Parameter<Wide<Real>>* p) {
        if (p->trainable() && std::find(all.begin(), all.end(), p) == all.end()) all.push_back(p);
    };
    for (auto* p : model.base_parameters()) take(p);
    for (auto& layer : model.layers()) {
        for (auto& [name, linear] : model.linears(layer)) {
            if (!linear->adapter) continue;
            for (auto* p : linear->adapter->parameters()) take(p);
        }
        for (auto& moe : layer.moe) {
            for (auto* p : moe.experts.parameters()) take(p);
            for (auto* p : moe.router.parameters()) take(p);
        }
    }
    return all;
}

}  // namespace moegrad
