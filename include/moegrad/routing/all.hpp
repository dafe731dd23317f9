#pragma once
// Every router that ships, and BuiltinRouters: one entry per variant, each with a name and a maker of any size.
// The conformance suite runs over this list: a new router adds its header and its entries here, nothing else.

#include <cmath>
#include <memory>
#include <string>
#include <tuple>

#include <moegrad/routing/gate_router.hpp>
#include <moegrad/routing/mixture_router.hpp>
#include <moegrad/routing/null_expert_router.hpp>
#include <moegrad/routing/random_drop_router.hpp>
#include <moegrad/routing/random_router.hpp>
#include <moegrad/routing/top_k_router.hpp>

namespace moegrad {

/// What a router is made for; each reads what it needs.
struct RouterSize {
    Index features = 8;  // D
    Index experts = 4;   // E
    Index nulls = 4;     // M
    Index slots = 2;     // K
    Index routers = 2;   // J
};

/// What a token's weights, with its passthrough, sum to when it has any; a token without experts has 0.
enum class WeightSum { one, at_most_one };

/// What trains of a gate.
enum class GateTraining { full, frozen, lora };

namespace detail {

inline std::string with_gate(std::string router, GateTraining training) {
    if (training == GateTraining::full) return router;
    return router + (training == GateTraining::frozen ? ", frozen gate" : ", LoRA on the gate");
}

/// A LoRA whose B is not zero, so that both factors have a gradient.
template <class Real>
void add_random_lora(Gate<Real>& gate, const std::string& path, std::uint64_t seed, std::uint32_t module) {
    const LoraOptions options{.rank = 2, .alpha = 4};
    gate.lora = LoraParameters<Real>(path, 0, gate.columns(), gate.weight->shape()[1], options, seed, module);
    fill_normal(gate.lora.B.value(), 0.5, seed, module + 1);
}

/// Logits of variance near 1 for tokens of variance 1.
template <class Real>
Gate<Real> random_gate(const std::string& path, Index rows, const RouterSize& size, GateTraining training,
                       std::uint64_t seed, std::uint32_t module) {
    Gate<Real> gate(std::make_shared<Parameter<Real>>(path + ".weight", Shape{rows, size.features}));
    gate.weight->set_trainable(training == GateTraining::full);
    fill_normal(gate.weight->value(), 1 / std::sqrt(static_cast<double>(size.features)), seed, module);
    if (training == GateTraining::lora) add_random_lora(gate, path, seed, module + 1);
    return gate;
}

}  // namespace detail

template <TopKWeights Weights, GateTraining Training>
struct BuiltinTopK {
    static constexpr WeightSum sum = Weights == TopKWeights::raw ? WeightSum::at_most_one : WeightSum::one;
    static std::string name() {
        return detail::with_gate(Weights == TopKWeights::raw ? "top_k raw" : "top_k", Training);
    }
    static Index most_slots(const RouterSize& size) { return size.experts; }

    template <class Real>
    static AnyRouter<Real> make(const RouterSize& size, std::uint64_t seed,
                                const PenaltySettings& penalties = {}) {
        return TopKRouter<Real>{
            .gate = detail::random_gate<Real>("gate", size.experts, size, Training, seed, 0),
            .k = size.slots,
            .weights = Weights,
            .penalties = penalties};
    }
};

template <NullWeights Weights, NullMap Map, GateTraining Training>
struct BuiltinNullExpert {
    static constexpr WeightSum sum =
        Weights == NullWeights::over_all && Map == NullMap::zero ? WeightSum::at_most_one : WeightSum::one;
    static std::string name() {
        const char* variant = Map == NullMap::identity           ? "null_expert identity"
                              : Weights == NullWeights::over_all ? "null_expert over all"
                                                                 : "null_expert";
        return detail::with_gate(variant, Training);
    }
    static Index most_slots(const RouterSize& size) { return size.experts + size.nulls; }

    template <class Real>
    static AnyRouter<Real> make(const RouterSize& size, std::uint64_t seed,
                                const PenaltySettings& penalties = {}) {
        NullExpertRouter<Real> router{
            .gate = detail::random_gate<Real>("gate", size.experts, size, Training, seed, 0),
            .gate2 = {},
            .k = size.slots,
            .weights = Weights,
            .null_map = Map,
            .penalties = penalties};
        if (size.nulls > 0) {
            router.gate2 = detail::random_gate<Real>("gate2", size.nulls, size, Training, seed, 8);
        }
        router.check();
        return router;
    }
};

/// With LoRA the sub-routers share one gate, as they do on a pretrained mixture of experts.
template <MixtureKind Kind, GateTraining Training>
struct BuiltinMixture {
    static constexpr WeightSum sum = WeightSum::one;
    static std::string name() {
        return detail::with_gate(std::string("mixture ") + "ABCD"[static_cast<int>(Kind)], Training);
    }
    static Index most_slots(const RouterSize& size) { return size.experts; }

    template <class Real>
    static AnyRouter<Real> make(const RouterSize& size, std::uint64_t seed,
                                const PenaltySettings& penalties = {}) {
        constexpr bool shared = Training == GateTraining::lora;
        constexpr GateTraining base = shared ? GateTraining::frozen : Training;
        MixtureRouter<Real> router{
            .sub = {}, .main = {}, .kind = Kind, .k = size.slots, .penalties = penalties};
        for (Index j = 0; j < size.routers; ++j) {
            const std::string path = "router.sub." + std::to_string(j);
            const auto module = static_cast<std::uint32_t>(8 * (j + 1));
            auto gate = shared && j > 0
                            ? Gate<Real>(router.sub.front().weight, static_cast<int>(j))
                            : detail::random_gate<Real>(path, size.experts, size, base, seed, module);
            if (shared) detail::add_random_lora(gate, path, seed, module + 1);
            router.sub.push_back(std::move(gate));
        }
        const Index columns = Kind == MixtureKind::free_weights ? 1 : size.features;
        router.main = std::make_shared<Parameter<Real>>("router.main.weight", Shape{size.routers, columns});
        router.main->set_trainable(true);
        fill_normal(router.main->value(), 0.5, seed, 4);
        return router;
    }
};

/// A load of 1.6 where there are two slots.
template <GateTraining Training>
struct BuiltinRandomDrop {
    static constexpr WeightSum sum = WeightSum::one;
    static std::string name() { return detail::with_gate("random_drop", Training); }
    static Index most_slots(const RouterSize& size) { return size.experts; }

    template <class Real>
    static AnyRouter<Real> make(const RouterSize& size, std::uint64_t seed,
                                const PenaltySettings& penalties = {}) {
        RandomDropRouter<Real> router{
            .gate = detail::random_gate<Real>("gate", size.experts, size, Training, seed, 0),
            .k = size.slots,
            .load = 1 + 0.6 * static_cast<double>(size.slots - 1),
            .seed = seed,
            .penalties = penalties};
        router.check();
        return router;
    }
};

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
               BuiltinRandomDrop<GateTraining::full>, BuiltinRandomDrop<GateTraining::frozen>>;

}  // namespace moegrad
