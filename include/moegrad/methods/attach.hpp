#pragma once
// attach: freezes a base model and adds what an AdapterSpec asks for. Every target must match something: a LoRA that
// silently reaches no expert is the commonest failure of the field.

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include <moegrad/methods/adapter_spec.hpp>
#include <moegrad/models/decoder.hpp>
#include <moegrad/nn/lora.hpp>
#include <moegrad/nn/mixture_lora.hpp>
#include <moegrad/ops/adamw.hpp>

namespace moegrad {

namespace detail {
inline std::string join_names(const std::vector<std::string>& names) {
    std::string all;
    for (const auto& one : names) all += (all.empty() ? "" : ", ") + one;
    return all;
}
}  // namespace detail

template <class Real>
class Attachment {
public:
    Attachment(Decoder<Real>& model, const AdapterSpec& spec) : model_(model), spec_(spec) {}

    void run() {
        require_bare();
        require_gate_that_is_there();
        for (auto* parameter : model_.base_parameters()) parameter->set_trainable(false);
        for (auto& layer : model_.layers()) {
            for (auto& [name, linear] : model_.linears(layer)) attach_linear(layer, name, *linear);
            for (auto& moe : layer.moe) attach_moe(moe);
        }
        require_every_target_met();
    }

private:
    /// One adapter at a time: a second one would mix with the first.
    void require_bare() {
        for (auto& layer : model_.layers()) {
            bool adapted = false;
            for (auto& [name, linear] : model_.linears(layer)) adapted = adapted || linear->adapter;
            for (auto& moe : layer.moe) {
                adapted = adapted || moe.experts.gate_up_lora.defined() || moe.experts.down_lora.defined();
            }
            if (!adapted) continue;
            throw Error{ErrorCode::state, "attach", "a base model without an adapter",
                        "one that has an adapter", "load the base again"};
        }
    }

    std::uint32_t next_module() { return ++modules_; }
    bool meets(const std::string& name, const std::string& group) {
        for (const std::string& target : spec_.targets) {
            if (target == name || target == group || target == "all") met_.push_back(target);
        }
        return spec_.wants(name, group);
    }

    void attach_linear(DecoderLayer<Real>& layer, const std::string& name, Linear<Real>& linear) {
        const bool dense = name == "gate_proj" || name == "up_proj" || name == "down_proj";
        if (!meets(name, dense ? "mlp" : "attention")) return;
        if (spec_.method == Method::lora || !layer.moe.empty()) {
            linear.adapter = std::make_unique<Lora<Real>>(linear, spec_.lora, spec_.seed, next_module());
            return;
        }
        const std::uint32_t module = next_module();
        linear.adapter = std::make_unique<MixtureLora<Real>>(
            linear, layer.index, fresh_router(linear.path() + ".router", linear.weight.shape()[1]),
            spec_.lora, spec_.seed, module);
    }

    void attach_moe(MoeLayer<Real>& moe) {
        auto& experts = moe.experts;
        const Index E = experts.count(), F = experts.width(), D = experts.gate_up.shape()[2];
        const bool up = meets("experts.gate_up", "experts"), down = meets("experts.down", "experts");
        attach_single(moe, up || down);
        // PEFT nests one wrapper per target parameter: the inner is "experts.base_layer" when there are two.
        const std::string path = moe.name + ".experts";
        if (up) {
            experts.gate_up_lora = LoraParameters<Real>(down ? path + ".base_layer" : path, E, 2 * F, D,
                                                        spec_.lora, spec_.seed, next_module());
        }
        if (down) {
            experts.down_lora = LoraParameters<Real>(path, E, D, F, spec_.lora, spec_.seed, next_module());
        }
        if (spec_.method == Method::molora) {
            throw Error{ErrorCode::config, "adapter.method", "lora, adamoe or mor on a mixture of experts",
                        "molora", "molora adds experts to a dense model; on Mixtral the experts are there"};
        }
        moe.router = routed(moe);
    }

    /// w1, w2 and w3 as modules of their own.
    void attach_single(MoeLayer<Real>& moe, bool fused) {
        const bool w1 = spec_.names("w1"), w2 = spec_.names("w2"), w3 = spec_.names("w3");
        if (!w1 && !w2 && !w3) return;
        if (w1 != w3 || fused) {
            throw Error{ErrorCode::config, "adapter.target",
                        "w1 and w3 together, and no fused experts beside them",
                        detail::join_names(spec_.targets), "use experts, or w1, w2, w3"};
        }
        met_.insert(met_.end(), {"w1", "w2", "w3"});
        auto& experts = moe.experts;
        const Index E = experts.count(), F = experts.width(), D = experts.gate_up.shape()[2],
                    R = spec_.lora.rank;
        experts.lora_modules = LoraModules::single;
        if (w1) {
            LoraOptions twice = spec_.lora;
            twice.rank = 2 * R;
            auto& lora = experts.gate_up_lora;
            lora = LoraParameters<Real>(moe.name + ".experts.gate_up", E, 2 * F, D, twice, spec_.seed,
                                        next_module());
            lora.scale = spec_.lora.factor();
            lora.B.freeze_block({0, F, R, 2 * R});
            lora.B.freeze_block({F, 2 * F, 0, R});
        }
        if (w2) {
            experts.down_lora = LoraParameters<Real>(moe.name + ".experts.down", E, D, F, spec_.lora,
                                                     spec_.seed, next_module());
        }
    }

    /// The gate of a MoE layer as the spec wants it trained.
    Gate<Wide<Real>> tuned_gate(std::shared_ptr<Parameter<Wide<Real>>> weight, const std::string& path) {
        Gate<Wide<Real>> gate(std::move(weight));
        if (spec_.gate_mode() == GateMode::full) gate.weight->set_trainable(true);
        if (spec_.gate_mode() == GateMode::lora) add_lora(gate, path);
        return gate;
    }
    void add_lora(Gate<Wide<Real>>& gate, const std::string& path) {
        gate.lora = LoraParameters<Wide<Real>>(path, 0, gate.weight->shape()[0], gate.weight->shape()[1],
                                               spec_.lora, spec_.seed, next_module());
    }

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
            MixtureRouter<Wide<Real>> router{
                .sub = {}, .main = {}, .kind = spec_.mixture, .k = k, .penalties = spec_.penalties()};
            if (spec_.gate_mode() == GateMode::full) moe.gate->set_trainable(true);
            for (Index j = 0; j < spec_.routers; ++j) {
                Gate<Wide<Real>> sub(moe.gate, static_cast<int>(j));
                add_lora(sub, moe.name + ".router.sub." + std::to_string(j));
                router.sub.push_back(std::move(sub));
            }
            router.main = main_router(moe.name + ".router", moe.gate->shape()[1]);
            return router;
        }
        check_top_k(k, moe.experts.count());
        return TopKRouter<Wide<Real>>{.gate = tuned_gate(moe.gate, moe.name + ".gate"),
                                      .k = k,
                                      .weights = TopKWeights::renormalized,
                                      .penalties = spec_.penalties()};
    }

    /// A trainable router over E new LoRA experts, for one Linear with D inputs.
    AnyRouter<Wide<Real>> fresh_router(const std::string& path, Index D) {
        const Index E = spec_.experts, k = spec_.top_k > 0                  ? spec_.top_k
                                           : spec_.method == Method::adamoe ? 3
                                                                            : 2;
        if (spec_.method == Method::mor) {
            MixtureRouter<Wide<Real>> router{
                .sub = {}, .main = {}, .kind = spec_.mixture, .k = k, .penalties = spec_.penalties()};
            for (Index j = 0; j < spec_.routers; ++j) {
                router.sub.push_back(fresh_gate(path + ".sub." + std::to_string(j) + ".weight", E, D));
            }
            router.main = main_router(path, D);
            check_top_k(k, E);
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
            if (spec_.null_map == NullMap::identity) {
                throw Error{
                    ErrorCode::config, "router.null_map", "zero with Mo-LoRA", "identity",
                    "the experts of Mo-LoRA are updates of a Linear; the identity has no meaning there"};
            }
            router.gate2 = fresh_gate(path + ".gate2.weight", nulls, D);
            router.check();
            return router;
        }
        check_top_k(k, E);
        return TopKRouter<Wide<Real>>{.gate = fresh_gate(path + ".gate.weight", E, D),
                                      .k = k,
                                      .weights = TopKWeights::renormalized,
                                      .penalties = spec_.penalties()};
    }

    Gate<Wide<Real>> fresh_gate(const std::string& name, Index rows, Index D) {
        auto weight = std::make_shared<Parameter<Wide<Real>>>(name, Shape{rows, D});
        weight->set_trainable(true);
        fill_kaiming(weight->value(), spec_.seed, next_module());
        return Gate<Wide<Real>>(std::move(weight));
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

    /// Only a mixture of experts has a gate of its own to tune; the routers of Mo-LoRA are new and train in full.
    void require_gate_that_is_there() const {
        const GateMode fits = spec_.method == Method::lora ? GateMode::frozen : GateMode::full;
        if (model_.config().is_mixture() || spec_.gate == GateMode::by_method || spec_.gate == fits) return;
        throw Error{ErrorCode::config, "router.mode", "by_method on a dense model", "a mode of its own",
                    "only a mixture of experts has a gate to tune; routers of Mo-LoRA always train in full"};
    }

    void require_every_target_met() const {
        for (const std::string& target : spec_.targets) {
            if (std::find(met_.begin(), met_.end(), target) == met_.end()) {
                throw Error{ErrorCode::config, format("adapter.targets: \"{}\"", target),
                            "a name that matches a Linear or the experts of this model", "no match",
                            "names: q_proj k_proj v_proj o_proj gate_proj up_proj down_proj experts.gate_up "
                            "experts.down w1 w2 w3; groups: attention mlp experts all"};
            }
        }
    }

    Decoder<Real>& model_;
    const AdapterSpec& spec_;
    std::uint32_t modules_ = 0;
    std::vector<std::string> met_;
};

/// Freezes every base weight and adds the adapters and routers of `spec`.
template <class Real>
void attach(Decoder<Real>& model, const AdapterSpec& spec) {
    Attachment<Real>(model, spec).run();
}

/// Every trainable parameter, each once: adapters, routers, and base weights that train.
template <class Real>
std::vector<Parameter<Real>*> trainable_parameters(Decoder<Real>& model) {
    std::vector<Parameter<Real>*> all;
    const auto take = [&all](Parameter<Real>* p) {
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
