#pragma once
// Forward: what travels through the layers of one forward pass: the tape, the tokens and what the routers said.

#include <string>
#include <vector>

#include <moegrad/nn/key_value_cache.hpp>
#include <moegrad/ops/seed.hpp>
#include <moegrad/routing/router.hpp>

namespace moegrad {

/// What one router decided in this pass, in the order the layers ran.
template <class Real>
struct RoutingRecord {
    std::string name;  // "model.layers.3.mlp", "model.layers.3.self_attn.q_proj"
    int layer = 0;
    Routing<Wide<Real>> routing;
};

template <class Real>
struct Forward {
    Tape& tape;
    const Tensor<std::int32_t>& token;  // [T]
    const Segments& segments;           // of T tokens
    std::vector<RoutingRecord<Real>> routings = {};
    // Coefficient index of each penalty name, for checkpointed segments: they seed their own penalties.
    const std::vector<std::string>* penalty_names = nullptr;
    KeyValueCache<Real>* cache = nullptr;  // of the tokens before these, for generation
};

/// Coefficient 0 is the cross entropy; penalties follow in the order of `names`. -1: no coefficient, not trained on.
inline int coefficient_of(const std::vector<std::string>& names, const std::string& penalty) {
    for (std::size_t i = 0; i < names.size(); ++i) {
        if (names[i] == penalty) return static_cast<int>(i) + 1;
    }
    return -1;
}

/// Writes the gradient of every recorded penalty that has a coefficient. Before Tape::backward.
template <class Real>
void seed_penalties(Forward<Real>& forward) {
    if (forward.penalty_names == nullptr) return;
    for (auto& record : forward.routings) {
        for (auto& penalty : record.routing.penalties) {
            const int index = coefficient_of(*forward.penalty_names, penalty.name);
            if (index > 0) seed(forward.tape, penalty.value, index);
        }
    }
}

}  // namespace moegrad
