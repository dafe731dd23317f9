#pragma once
// RouterFactory: the router that a method puts over the experts of a Mixtral, or over the LoRA experts of one Linear.

#include <memory>
#include <string>
#include <utility>

#include <moegrad/methods/adapter_spec.hpp>
#include <moegrad/models/decoder.hpp>
#include <moegrad/ops/adamw.hpp>

namespace moegrad {

/// One number per adapted module, in the order of attaching: keys its random start and its dropout.
class ModuleNumbers {
public:
    std::uint32_t next() { return ++last_; }

private:
    std::uint32_t last_ = 0;
};

template <class Real>
class RouterFactory {
public:
    /// `layers`: how many the model has.
    RouterFactory(const AdapterSpec& spec, ModuleNumbers& modules, Index layers)
        : spec_(spec), modules_(modules), layers_(layers) {}

    /// The router of a MoE layer, over the experts it has.
    AnyRouter<Wide<Real>> routed(MoeLayer<Real>& moe) {
        const Index k = spec_.top_k > 0 ? spec_.top_k : moe.router.slots();
        if (spec_.method == Method::adamoe) {
            const Index nulls = spec_.null_experts > 0 ? spec_.null_experts : moe.experts.count();
            NullExpertRouter<Wide<Real>> router{.gate = tuned_gate(moe.gate, moe.name + ".gate"),
                                                .gate2 = {},
                                                .k = spec_.top_k > 0 ? spec_.top_k : 3,
                                                .weights = spec_.null_weights,
                                                .null_map = spec_.null_map,
                                                .penalties = spec_.penalties()};
            router.gate2 =
                tuned_gate(copy_gate(*moe.gate, nulls, moe.name + ".gate2.weight"), moe.name + ".gate2");
            router.check();
            return router;
        }
        if (spec_.method == Method::mor) {
            constexpr Index kMost = GradientUses<Wide<Real>>::kMost;
            if (spec_.gate_mode() == GateMode::full && spec_.routers > kMost) {
                throw Error{ErrorCode::config, "router.routers",
                            format("at most {} with a fully trained gate", kMost),
                            format("{}", spec_.routers)};
            }
            auto router = empty_mixture(k);
            const bool full = spec_.gate_mode() == GateMode::full;
            if (full) moe.gate->set_trainable(true);
            std::shared_ptr<Parameter<Wide<Real>>> gate2;
            if (spec_.null_experts > 0) {
                gate2 = copy_gate(*moe.gate, spec_.null_experts, moe.name + ".gate2.weight");
                gate2->set_trainable(full);
            }
            for (Index j = 0; j < spec_.routers; ++j) {
                const std::string path = moe.name + ".router.sub." + std::to_string(j);
                router.sub.emplace_back(moe.gate, static_cast<int>(j));
                add_lora(router.sub.back(), path);
                if (!gate2) continue;
                router.sub_nulls.emplace_back(gate2, static_cast<int>(j));
                add_lora(router.sub_nulls.back(), path + ".gate2");
            }
            router.main = main_router(moe.name + ".router", moe.gate->shape()[1]);
            router.check();
            return router;
        }
        if (spec_.method == Method::registered) {
            return registered_router(moe.name + ".router", tuned_gate(moe.gate, moe.name + ".gate"),
                                     moe.layer, k);
        }
        check_top_k(k, moe.experts.count());
        return TopKRouter<Wide<Real>>{.gate = tuned_gate(moe.gate, moe.name + ".gate"),
                                      .k = k,
                                      .weights = TopKWeights::renormalized,
                                      .penalties = spec_.penalties()};
    }

    /// A trainable router over E new LoRA experts, for one Linear with D inputs.
    AnyRouter<Wide<Real>> fresh(const std::string& path, int layer, Index D) {
        const Index E = spec_.experts_at(layer, layers_), k = spec_.top_k > 0                  ? spec_.top_k
                                                              : spec_.method == Method::adamoe ? 3
                                                                                               : 2;
        if (spec_.method == Method::mor) {
            refuse_identity_nulls();
            auto router = empty_mixture(k);
            for (Index j = 0; j < spec_.routers; ++j) {
                const std::string sub = path + ".sub." + std::to_string(j);
                router.sub.push_back(fresh_gate(sub + ".weight", E, D));
                if (spec_.null_experts > 0)
                    router.sub_nulls.push_back(fresh_gate(sub + ".gate2.weight", spec_.null_experts, D));
            }
            router.main = main_router(path, D);
            router.check();
            return router;
        }
        if (spec_.method == Method::adamoe) {
            NullExpertRouter<Wide<Real>> router{.gate = fresh_gate(path + ".gate.weight", E, D),
                                                .gate2 = {},
                                                .k = k,
                                                .weights = spec_.null_weights,
                                                .null_map = spec_.null_map,
                                                .penalties = spec_.penalties()};
            const Index nulls = spec_.null_experts > 0 ? spec_.null_experts : E;
            refuse_identity_nulls();
            router.gate2 = fresh_gate(path + ".gate2.weight", nulls, D);
            router.check();
            return router;
        }
        if (spec_.method == Method::registered) {
            return registered_router(path, fresh_gate(path + ".gate.weight", E, D), layer, k);
        }
        check_top_k(k, E);
        return TopKRouter<Wide<Real>>{.gate = fresh_gate(path + ".gate.weight", E, D),
                                      .k = k,
                                      .weights = TopKWeights::renormalized,
                                      .penalties = spec_.penalties()};
    }

private:
    /// The gate of a MoE layer as the spec wants it trained.
    Gate<Wide<Real>> tuned_gate(std::shared_ptr<Parameter<Wide<Real>>> weight, const std::string& path) {
        Gate<Wide<Real>> gate(std::move(weight));
        if (spec_.gate_mode() == GateMode::full) gate.weight->set_trainable(true);
        if (spec_.gate_mode() == GateMode::lora) add_lora(gate, path);
        return gate;
    }
    void add_lora(Gate<Wide<Real>>& gate, const std::string& path) {
        gate.lora = LoraParameters<Wide<Real>>(path, 0, gate.weight->shape()[0], gate.weight->shape()[1],
                                               spec_.lora, spec_.seed, modules_.next());
    }

    AnyRouter<Wide<Real>> registered_router(const std::string& path, Gate<Wide<Real>> gate, int layer,
                                            Index k) {
        gate.lora.dropout = 0;  // nobody outside the router could switch it off
        const Index E = gate.columns(), D = gate.weight->shape()[1];
        const bool asked = spec_.gate == GateMode::lora || spec_.gate == GateMode::full;
        const RegisteredRouter& registered = *find_router(spec_.router);
        refuse_unread_top_k(registered, RouterOptions(spec_.options), spec_.top_k);
        return make_router<Wide<Real>>(registered,
                                       {.path = path,
                                        .layer = layer,
                                        .experts = E,
                                        .features = D,
                                        .top_k = k,
                                        .seed = spec_.seed,
                                        .gate = std::move(gate),
                                        .penalties = spec_.penalties(),
                                        .options = RouterOptions(spec_.options)},
                                       asked ? GateUse::required : GateUse::optional);
    }

    Gate<Wide<Real>> fresh_gate(const std::string& name, Index rows, Index D) {
        auto weight = std::make_shared<Parameter<Wide<Real>>>(name, Shape{rows, D});
        weight->set_trainable(true);
        fill_kaiming(weight->value(), spec_.seed, modules_.next());
        return Gate<Wide<Real>>(std::move(weight));
    }

    MixtureRouter<Wide<Real>> empty_mixture(Index k) const {
        const bool over_true = spec_.null_weights == NullWeights::over_true;
        return {.sub = {},
                .main = {},
                .kind = spec_.mixture,
                .k = k,
                .weights = over_true ? SlotWeights::over_true : SlotWeights::over_all,
                .null_map = spec_.null_map,
                .penalties = spec_.penalties()};
    }

    void refuse_identity_nulls() const {
        if (spec_.null_map == NullMap::zero) return;
        throw Error{ErrorCode::config, "router.null_map", "zero with Mo-LoRA", "identity",
                    "the experts of Mo-LoRA are updates of a Linear; the identity has no meaning there"};
    }

    /// Zeros: every sub-router has the same weight at the start.
    std::shared_ptr<Parameter<Wide<Real>>> main_router(const std::string& path, Index D) {
        if (spec_.routers < 1) {
            throw Error{ErrorCode::config, "router.routers", "at least 1", format("{}", spec_.routers)};
        }
        const bool free = spec_.mixture == MixtureKind::free_weights;
        auto main = std::make_shared<Parameter<Wide<Real>>>(path + ".main.weight",
                                                            Shape{spec_.routers, free ? 1 : D});
        main->set_trainable(true);
        return main;
    }

    void check_top_k(Index k, Index experts) const {
        if (k < 1 || k > experts) {
            throw Error{ErrorCode::config, "router.top_k", format("1 to {} (the experts)", experts),
                        format("{}", k)};
        }
    }

    const AdapterSpec& spec_;
    ModuleNumbers& modules_;
    Index layers_;
};

}  // namespace moegrad
