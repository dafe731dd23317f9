#pragma once
// attach: freezes a base model and adds what an AdapterSpec asks for. Every target must match something: a LoRA that
// silently reaches no expert is the commonest failure of the field.

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <moegrad/methods/model_method.hpp>
#include <moegrad/methods/trainable_parameters.hpp>
#include <moegrad/nn/lora.hpp>
#include <moegrad/nn/mixture_lora.hpp>

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
        if (parts_.attach != nullptr) parts_.attach(build_);
        if (spec_.method == Method::model) options_.require_all_read(spec_.router);
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
            adapted = adapted || !added_parameters(layer).empty();
            if (!adapted) continue;
            throw Error{ErrorCode::state, "attach", "a base model without an adapter",
                        "one that has an adapter", "load the base again"};
        }
    }

    /// The options of a place, nothing when it gets no adapter.
    std::optional<LoraOptions> options_at(const std::string& path, const std::string& target,
                                          const std::string& group, const LoraOptions& usual) {
        if (!spec_.places.empty()) {
            const AdapterPlace* place = spec_.place(path);
            if (place == nullptr) return std::nullopt;
            met_.push_back(path);
            return spec_.lora_at(*place);
        }
        for (const std::string& wanted : spec_.targets) {
            if (wanted == target || wanted == group || wanted == "all") met_.push_back(wanted);
        }
        if (!spec_.wants(target, group)) return std::nullopt;
        return usual;
    }

    void attach_linear(DecoderLayer<Real>& layer, const std::string& name, Linear<Real>& linear) {
        const bool dense = name == "gate_proj" || name == "up_proj" || name == "down_proj";
        const auto options = options_at(linear.path(), name, dense ? "mlp" : "attention", spec_.lora);
        if (!options) return;
        if (parts_.adapt != nullptr) {
            linear.adapter = parts_.adapt(build_, layer, linear, *options);
            return;
        }
        if (spec_.method == Method::lora || spec_.method == Method::model || !layer.moe.empty()) {
            linear.adapter = std::make_unique<Lora<Real>>(linear, *options, spec_.seed, modules_.next());
            return;
        }
        const std::uint32_t module = modules_.next();
        linear.adapter = std::make_unique<MixtureLora<Real>>(
            linear, layer.index,
            routers_.fresh(linear.path() + ".router", layer.index, linear.weight.shape()[1]), *options,
            spec_.seed, module);
    }

    void attach_moe(MoeLayer<Real>& moe) {
        auto& experts = moe.experts;
        const Index E = experts.count(), F = experts.width(), D = experts.gate_up.shape()[2];
        const std::string path = moe.name + ".experts";
        const auto up =
            options_at(path + ".gate_up_proj", "experts.gate_up", "experts", spec_.gate_up_lora());
        const auto down = options_at(path + ".down_proj", "experts.down", "experts", spec_.lora);
        attach_single(moe, up || down);
        // PEFT nests one wrapper per target parameter: the inner is "experts.base_layer" when there are two.
        if (up) {
            experts.gate_up_lora = LoraParameters<Real>(down ? path + ".base_layer" : path, E, 2 * F, D, *up,
                                                        spec_.seed, modules_.next());
        }
        if (down) {
            experts.down_lora = LoraParameters<Real>(path, E, D, F, *down, spec_.seed, modules_.next());
        }
        if (spec_.method == Method::molora) {
            throw Error{ErrorCode::config, "adapter.method", "lora, adamoe or mor on a mixture of experts",
                        "molora", "molora adds experts to a dense model; on Mixtral the experts are there"};
        }
        moe.router = routers_.routed(moe);
    }

    /// What a single expert module gets: a target by its own name, never by the group.
    std::optional<LoraOptions> single_at(const MoeLayer<Real>& moe, const char* name, const char* place) {
        if (spec_.places.empty() && !spec_.names(name)) return std::nullopt;
        return options_at(moe.name + ".experts." + place, name, name, spec_.lora);
    }

    /// w1, w2 and w3 as modules of their own.
    void attach_single(MoeLayer<Real>& moe, bool fused) {
        const auto w1 = single_at(moe, "w1", "w1"), w2 = single_at(moe, "w2", "w2"),
                   w3 = single_at(moe, "w3", "w1");
        if (!w1 && !w2 && !w3) return;
        if (w1.has_value() != w3.has_value() || fused) {
            throw Error{ErrorCode::config, "adapter.target",
                        "w1 and w3 together, and no fused experts beside them",
                        detail::join_names(spec_.targets), "use experts, or w1, w2, w3"};
        }
        auto& experts = moe.experts;
        const Index E = experts.count(), F = experts.width(), D = experts.gate_up.shape()[2];
        experts.lora_modules = LoraModules::single;
        if (w1) {
            experts.gate_up_lora = gate_and_up_lora<Real>(moe.name + ".experts.gate_up", E, F, D, *w1,
                                                          spec_.seed, modules_.next());
        }
        if (w2) {
            experts.down_lora =
                LoraParameters<Real>(moe.name + ".experts.down", E, D, F, *w2, spec_.seed, modules_.next());
        }
    }

    /// Only a mixture of experts has a gate of its own to tune; the routers of Mo-LoRA are new and train in full.
    void require_gate_that_is_there() const {
        const bool frozen = spec_.method == Method::lora || spec_.method == Method::model;
        const GateMode fits = frozen ? GateMode::frozen : GateMode::full;
        if (model_.config().is_mixture() || spec_.gate == GateMode::by_method || spec_.gate == fits) return;
        throw Error{ErrorCode::config, "router.mode", "by_method on a dense model", "a mode of its own",
                    "only a mixture of experts has a gate to tune; routers of Mo-LoRA always train in full"};
    }

    void require_every_target_met() const {
        for (const AdapterPlace& place : spec_.places) {
            if (std::find(met_.begin(), met_.end(), place.path) == met_.end()) {
                throw Error{ErrorCode::config, format("adapter.places: {}", place.path),
                            "a Linear or expert stack of this model", "no match"};
            }
        }
        if (!spec_.places.empty()) return;
        for (const std::string& target : spec_.targets) {
            if (std::find(met_.begin(), met_.end(), target) == met_.end()) {
                throw Error{ErrorCode::config, format("adapter.target: \"{}\"", target),
                            "a name that matches a Linear or the experts of this model", "no match",
                            "names: q_proj k_proj v_proj o_proj gate_proj up_proj down_proj experts.gate_up "
                            "experts.down w1 w2 w3; groups: attention mlp experts all"};
            }
        }
    }

    Decoder<Real>& model_;
    const AdapterSpec& spec_;
    ModuleNumbers modules_;
    RouterFactory<Real> routers_{spec_, modules_, model_.config().num_hidden_layers};
    RouterOptions options_{spec_.method == Method::model ? spec_.options : std::string()};
    MethodBuild<Real> build_{model_, spec_, options_, modules_, routers_};
    MethodParts<Real> parts_ =
        spec_.method == Method::model ? method_parts_of<Real>(spec_.router) : MethodParts<Real>();
    std::vector<std::string> met_;
};

/// Freezes every base weight and adds the adapters and routers of `spec`.
template <class Real>
void attach(Decoder<Real>& model, const AdapterSpec& spec) {
    Attachment<Real>(model, spec).run();
}

}  // namespace moegrad
