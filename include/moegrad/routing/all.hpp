#pragma once
// Every router that ships, and BuiltinRouters: one entry per setting that is worth a test of its own. The conformance
// suite runs over this list, and adapter.method knows every Named of it: a new router adds its header and its entries
// here, nothing else.

#include <tuple>

#include <moegrad/routing/builtin.hpp>
#include <moegrad/routing/random_drop_router.hpp>
#include <moegrad/routing/random_router.hpp>

namespace moegrad {

using BuiltinRouters =
    std::tuple<BuiltinTopK<TopKWeights::renormalized, GateTraining::full>,
               BuiltinTopK<TopKWeights::renormalized, GateTraining::frozen>,
               BuiltinTopK<TopKWeights::renormalized, GateTraining::lora>,
               BuiltinTopK<TopKWeights::raw, GateTraining::full>,
               BuiltinTopK<TopKWeights::raw, GateTraining::lora>,
               BuiltinNullExpert<NullWeights::over_true, NullMap::zero, GateTraining::full>,
               BuiltinNullExpert<NullWeights::over_true, NullMap::zero, GateTraining::frozen>,
               BuiltinNullExpert<NullWeights::over_true, NullMap::zero, GateTraining::lora>,
               BuiltinNullExpert<NullWeights::over_all, NullMap::zero, GateTraining::full>,
               BuiltinNullExpert<NullWeights::over_all, NullMap::identity, GateTraining::full>,
               BuiltinNullExpert<NullWeights::over_all, NullMap::identity, GateTraining::lora>,
               BuiltinMixture<MixtureKind::probabilities, GateTraining::full>,
               BuiltinMixture<MixtureKind::probabilities, GateTraining::frozen>,
               BuiltinMixture<MixtureKind::probabilities, GateTraining::lora>,
               BuiltinMixture<MixtureKind::logits, GateTraining::full>,
               BuiltinMixture<MixtureKind::logits, GateTraining::lora>,
               BuiltinMixture<MixtureKind::vote, GateTraining::full>,
               BuiltinMixture<MixtureKind::vote, GateTraining::lora>,
               BuiltinMixture<MixtureKind::free_weights, GateTraining::full>,
               BuiltinMixture<MixtureKind::free_weights, GateTraining::lora>,
               //
               Named<RandomDropRouter, "random_drop">,
               Named<RandomDropRouter, "random_drop", "load=1", GateTraining::frozen>>;

}  // namespace moegrad
