#pragma once
// What an entry of BuiltinRouters (all.hpp) is: a router in one setting, with a name and a maker of any size.
// Most routers have a static `make` from a RouterBuild, and are entered as Named<MyRouter, "my_router", "options">.

#include <cmath>
#include <memory>
#include <string>

#include <moegrad/routing/gate_router.hpp>
#include <moegrad/routing/mixture_router.hpp>
#include <moegrad/routing/null_expert_router.hpp>
#include <moegrad/routing/router_build.hpp>
#include <moegrad/routing/top_k_router.hpp>

namespace moegrad {

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

/// Noise on the trainable parameters below `path`, so that none of them stands at a zero.
template <class Real>
void move_from_start(AnyRouter<Real>& router, const std::string& path, std::uint64_t seed) {
    std::uint64_t stream = 100;
    for (auto* parameter : router.parameters()) {
        if (!parameter->name().starts_with(path) || !parameter->trainable()) continue;
        Random random(seed, ++stream);
        for (Real& value : parameter->value().values()) {
            value += static_cast<Real>(0.3 * random.next_normal());
        }
    }
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

enum class MixtureNulls { none, zero, identity };

/// With LoRA the sub-routers share one gate, as they do on a pretrained mixture of experts.
template <MixtureKind Kind, GateTraining Training, MixtureNulls Nulls = MixtureNulls::none>
struct BuiltinMixture {
    static constexpr WeightSum sum = WeightSum::one;
    static std::string name() {
        const char* nulls = Nulls == MixtureNulls::none   ? ""
                            : Nulls == MixtureNulls::zero ? " over nulls"
                                                          : " over identity nulls";
        return detail::with_gate(std::string("mixture ") + "ABCD"[static_cast<int>(Kind)] + nulls, Training);
    }
    static Index nulls(const RouterSize& size) { return Nulls == MixtureNulls::none ? 0 : size.nulls; }
    static Index most_slots(const RouterSize& size) { return size.experts + nulls(size); }

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
            if (nulls(size) == 0) continue;
            router.sub_nulls.push_back(
                detail::random_gate<Real>(path + ".gate2", nulls(size), size, base, seed, module + 40));
            if (shared) detail::add_random_lora(router.sub_nulls.back(), path + ".gate2", seed, module + 41);
        }
        if (Nulls == MixtureNulls::identity) {
            router.weights = SlotWeights::over_all;
            router.null_map = NullMap::identity;
        }
        const Index columns = Kind == MixtureKind::free_weights ? 1 : size.features;
        router.main = std::make_shared<Parameter<Real>>("router.main.weight", Shape{size.routers, columns});
        router.main->set_trainable(true);
        fill_normal(router.main->value(), 0.5, seed, 4);
        return router;
    }
};

/// A text as a template argument.
template <std::size_t N>
struct Text {
    char characters[N];
    constexpr Text(const char (&text)[N]) {  // NOLINT: implicit on purpose
        for (std::size_t i = 0; i < N; ++i) characters[i] = text[i];
    }
    std::string string() const { return std::string(characters, N - 1); }
};

/// A router with a static `make`, under the name that adapter.method has for it. It may say how far its weights sum
/// (static constexpr WeightSum sum) and how many slots there can be (static Index most_slots(const RouterSize&)); else:
/// at most one, and as many as experts. Its own parameters are moved away from their start.
template <template <class> class Mine, Text Name, Text Options = "",
          GateTraining Training = GateTraining::full>
struct Named {
    template <class Real>
    using RouterOf = Mine<Real>;

    static constexpr WeightSum sum = [] {
        if constexpr (requires { Mine<float>::sum; }) return Mine<float>::sum;
        return WeightSum::at_most_one;
    }();
    static constexpr bool relabels = [] {
        if constexpr (requires { Mine<float>::relabels; }) return Mine<float>::relabels;
        return true;
    }();
    /// Without what sets this entry apart from others of the same router.
    static std::string method() { return Name.string(); }
    static std::string name() {
        const std::string options = Options.string();
        return detail::with_gate(Name.string() + (options.empty() ? "" : " " + options), Training);
    }
    static Index most_slots(const RouterSize& size) {
        if constexpr (requires { Mine<float>::most_slots(size); }) return Mine<float>::most_slots(size);
        return size.experts;
    }

    template <class Real>
    static AnyRouter<Real> make(const RouterSize& size, std::uint64_t seed,
                                const PenaltySettings& penalties = {}) {
        AnyRouter<Real> router = Mine<Real>::make(
            {.path = "layer.router",
             .layer = 0,
             .experts = size.experts,
             .features = size.features,
             .top_k = size.slots,
             .seed = seed,
             .gate = detail::random_gate<Real>("layer.gate", size.experts, size, Training, seed, 0),
             .penalties = penalties,
             .options = RouterOptions(Options.string())});
        detail::move_from_start(router, "layer.router.", seed);
        return router;
    }
};

}  // namespace moegrad
