#pragma once
// Every router that ships, and BuiltinRouters: one entry per setting that is worth a test of its own. The conformance
// suite runs over this list, and adapter.method knows every Named of it: a new router adds its header and its entries
// here, nothing else.

#include <tuple>

#include <moegrad/routing/base_router.hpp>
#include <moegrad/routing/bias_router.hpp>
#include <moegrad/routing/builtin.hpp>
#include <moegrad/routing/dense_router.hpp>
#include <moegrad/routing/dyn_mole_router.hpp>
#include <moegrad/routing/expert_choice_router.hpp>
#include <moegrad/routing/gshard_router.hpp>
#include <moegrad/routing/gw_router.hpp>
#include <moegrad/routing/hash_router.hpp>
#include <moegrad/routing/intervened_router.hpp>
#include <moegrad/routing/noisy_top_k_router.hpp>
#include <moegrad/routing/random_drop_router.hpp>
#include <moegrad/routing/random_router.hpp>
#include <moegrad/routing/ratio_router.hpp>
#include <moegrad/routing/sparsemixer_router.hpp>
#include <moegrad/routing/switch_router.hpp>
#include <moegrad/routing/task_router.hpp>
#include <moegrad/routing/top_p_router.hpp>

namespace moegrad {

using BuiltinRouters = std::tuple<
    BuiltinTopK<TopKWeights::renormalized, GateTraining::full>,
    BuiltinTopK<TopKWeights::renormalized, GateTraining::frozen>,
    BuiltinTopK<TopKWeights::renormalized, GateTraining::lora>,
    BuiltinTopK<TopKWeights::raw, GateTraining::full>, BuiltinTopK<TopKWeights::raw, GateTraining::lora>,
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
    BuiltinMixture<MixtureKind::probabilities, GateTraining::lora, MixtureNulls::zero>,
    BuiltinMixture<MixtureKind::probabilities, GateTraining::full, MixtureNulls::identity>,
    BuiltinMixture<MixtureKind::vote, GateTraining::full, MixtureNulls::zero>,
    //
    Named<BaseRouter, "base">, Named<BaseRouter, "base", "embeddings=gate", GateTraining::lora>,
    Named<BiasRouter, "bias">,
    Named<BiasRouter, "bias", "score=softmax, normalise=false", GateTraining::lora>,
    Named<BiasRouter, "bias", "nulls=3, load=0.5, null_weights=all">,
    Named<BiasRouter, "bias", "nulls=2, null_map=identity", GateTraining::frozen>,
    Named<DenseRouter, "dense">, Named<DenseRouter, "dense", "lbc=cv2, temperature=2">,
    Named<DenseRouter, "dense", "lbc=paper", GateTraining::lora>,
    Named<DynMoleRouter, "dyn_mole", "soft_balance=true">,
    Named<DynMoleRouter, "dyn_mole", "threshold=0.7, crossing=true, renormalize=true", GateTraining::lora>,
    Named<ExpertChoiceRouter, "expert_choice", "capacity=1">,
    Named<ExpertChoiceRouter, "expert_choice", "capacity=1, group=sequence", GateTraining::lora>,
    Named<ExpertChoiceRouter, "expert_choice", "capacity=1, eval=top_k">, Named<GShardRouter, "gshard">,
    Named<GShardRouter, "gshard", "policy=all, capacity=1.25, min_capacity=1">,
    Named<GShardRouter, "gshard",
          "policy=threshold, threshold=0.3, capacity=1, min_capacity=1, capacity_scope=batch, "
          "capacity_order=priority",
          GateTraining::lora>,
    Named<GwRouter, "gw_moe">, Named<GwRouter, "gw_moe", "quantile=0.5, slots=2">,
    Named<GwRouter, "gw_moe", "slots=2", GateTraining::lora>,
    Named<GwRouter, "gw_moe", "threshold=0.9, weights=raw", GateTraining::frozen>, Named<HashRouter, "hash">,
    Named<IntervenedRouter, "intervene">, Named<NoisyTopKRouter, "noisy_top_k">,
    Named<NoisyTopKRouter, "noisy_top_k", "", GateTraining::lora>, Named<RandomDropRouter, "random_drop">,
    Named<RandomDropRouter, "random_drop", "load=1", GateTraining::frozen>, Named<RatioRouter, "ratio">,
    Named<SparsemixerRouter, "sparsemixer", "heun=false">,
    Named<SparsemixerRouter, "sparsemixer", "heun=false, jitter=0.3, input_jitter=0.05", GateTraining::lora>,
    Named<SwitchRouter, "switch">, Named<SwitchRouter, "switch", "capacity=1, min_capacity=1">,
    Named<SwitchRouter, "switch", "capacity=1, min_capacity=1, capacity_order=priority", GateTraining::lora>,
    Named<TaskRouter, "task", "tasks=2, width=3">, Named<TaskRouter, "task", "tasks=4, default_task=1">,
    Named<TopPRouter, "top_p">, Named<TopPRouter, "top_p", "p=0.8, weights=raw", GateTraining::lora>,
    Named<TopPRouter, "top_p", "p=0.7, nulls=3">,
    Named<TopPRouter, "top_p", "p=0.7, at_most=2, nulls=3, weights=all, null_map=identity",
          GateTraining::lora>>;

}  // namespace moegrad
