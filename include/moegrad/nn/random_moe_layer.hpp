#pragma once
// random_moe_layer: a MoE layer of random weights behind a top-2 router, everything trainable: for first experiments,
// before a checkpoint is there.

#include <algorithm>
#include <cmath>
#include <memory>

#include <moegrad/nn/moe_layer.hpp>
#include <moegrad/routing/top_k_router.hpp>

namespace moegrad {

/// E experts of width F over D features. Weights are normal with deviation 1 / sqrt(inputs).
template <class Real>
MoeLayer<Real> random_moe_layer(Index E, Index D, Index F, std::uint64_t seed) {
    MoeLayer<Real> layer;
    layer.name = "mlp";
    layer.gate = std::make_shared<Parameter<Wide<Real>>>("mlp.gate.weight", Shape{E, D});
    layer.experts = Experts<Real>("mlp.experts", E, D, F);
    const auto deviation = [](Index inputs) { return 1 / std::sqrt(static_cast<double>(inputs)); };
    fill_normal(layer.gate->value(), deviation(D), seed, 0);
    fill_normal(layer.experts.gate_up.value(), deviation(D), seed, 1);
    fill_normal(layer.experts.down.value(), deviation(F), seed, 2);
    layer.gate->set_trainable(true);
    for (auto* parameter : layer.experts.parameters()) parameter->set_trainable(true);
    layer.router = TopKRouter<Wide<Real>>{.gate = Gate<Wide<Real>>(layer.gate), .k = std::min<Index>(2, E)};
    return layer;
}

}  // namespace moegrad
