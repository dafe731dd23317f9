#pragma once
// merge: W' = W + s B A for every weight that a plain LoRA adapter changes, in place; the model is bare afterwards.
//     Linear            W [O, D],    A [R, D],    B [O, R]
//     expert stacks     W [E, O, D], A [E, R, D], B [E, O, R]     gate_up: O = 2F; down: O = D, D = F
//     a gate            W [E, D],    A [R, D],    B [E, R]        (one that trained in full is in place already)
// An element of the update is summed over r in double, then rounded once together with W.
// What depends on the token - routers of Mo-LoRA, null experts, mixtures of routers - is no weight and is refused.

#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include <moegrad/methods/attach.hpp>
#include <moegrad/models/quantised.hpp>
#include <moegrad/routing/top_k_router.hpp>

namespace moegrad {

/// One weight and the update that an adapter gives it; `lora` shares the adapter's values.
template <class Real>
struct LoraUpdate {
    Parameter<Real>* weight = nullptr;
    LoraParameters<Real> lora;

    Index matrices() const { return weight->shape().rank() == 3 ? weight->shape()[0] : 1; }
    Index rows() const { return weight->shape().rows() / matrices(); }
    Index columns() const { return weight->shape().columns(); }
    Index rank() const { return lora.rank(); }
    /// A of matrix e, [R, D]; B of matrix e, [O, R].
    const Real* a(Index e) const { return lora.A.value().data() + e * rank() * columns(); }
    const Real* b(Index e) const { return lora.B.value().data() + e * rows() * rank(); }

    /// Row `row` of s B A of matrix e.
    void delta_row(Index e, Index row, std::span<double> out) const {
        for (double& value : out) value = 0;
        for (Index r = 0; r < rank(); ++r) {
            const double factor = lora.scale * static_cast<double>(b(e)[row * rank() + r]);
            const Real* from = a(e) + r * columns();
            for (std::size_t i = 0; i < out.size(); ++i) out[i] += factor * static_cast<double>(from[i]);
        }
    }
};

namespace detail {

/// Why an adapter of this kind is no change of weights; empty when it is one.
inline std::string reason_against_merging(const AdapterSpec& spec, const ModelConfig& config) {
    const std::string method = spec.method_name();
    if (spec.method == Method::model)
        return method + ": more than LoRA beside the weights; only lora has a merge";
    if (!config.is_mixture() && spec.method != Method::lora) {
        return method + ": every Linear has LoRA experts and a router that chooses among them per token";
    }
    if (spec.method == Method::adamoe) return "adamoe: null experts stand beside the true ones in the router";
    if (spec.method == Method::mor) return "mor: a mixture of routers stands in the place of the gate";
    if (spec.method != Method::lora) return method + ": a router of its own stands in the place of the gate";
    return "";
}

}  // namespace detail

/// Throws unless the adapter is a change of the base's own weights.
inline void require_mergeable(const AdapterSpec& spec, const ModelConfig& config, const std::string& place) {
    const std::string reason = detail::reason_against_merging(spec, config);
    if (reason.empty()) return;
    throw Error{
        ErrorCode::unsupported, place, "plain LoRA, or a gate that trained", reason,
        format("a {} checkpoint has no place for it, so nothing is merged, not even the part that could "
               "be; keep the adapter beside the base and pass --adapter to forward, generate or eval",
               name(config.model_type))};
}

/// Every update of a model that carries a plain LoRA adapter.
template <class Real>
std::vector<LoraUpdate<Real>> lora_updates(Decoder<Real>& model) {
    static_assert(std::is_same_v<Real, Wide<Real>>, "merging is for masters, not for rounded copies");
    std::vector<LoraUpdate<Real>> all;
    const auto add = [&](Parameter<Real>& weight, const LoraParameters<Real>& lora) {
        if (lora.defined()) all.push_back({&weight, lora});
    };
    for (auto& layer : model.layers()) {
        for (auto& [name, linear] : model.linears(layer)) {
            if (auto* lora = dynamic_cast<Lora<Real>*>(linear->adapter.get()))
                add(linear->weight, lora->lora());
        }
        for (auto& moe : layer.moe) {
            add(moe.experts.gate_up, moe.experts.gate_up_lora);
            add(moe.experts.down, moe.experts.down_lora);
            if (auto* router = moe.router.template get<TopKRouter<Real>>()) add(*moe.gate, router->gate.lora);
        }
    }
    return all;
}

/// Takes the LoRA off a model and leaves its weights as they are.
template <class Real>
void detach_lora(Decoder<Real>& model) {
    for (auto& layer : model.layers()) {
        for (auto& [name, linear] : model.linears(layer)) linear->adapter.reset();
        for (auto& moe : layer.moe) {
            moe.experts.gate_up_lora = moe.experts.down_lora = {};
            moe.experts.lora_modules = LoraModules::fused;
            if (auto* router = moe.router.template get<TopKRouter<Real>>()) router->gate.lora = {};
        }
    }
}

/// Adds the updates to the weights and takes the adapter off. The updates stay readable.
template <class Real>
std::vector<LoraUpdate<Real>> merge_lora(Decoder<Real>& model, const AdapterSpec& spec) {
    require_mergeable(spec, model.config(), "merge");
    require_dense(model, "merge");
    auto updates = lora_updates(model);
    std::vector<double> delta;
    for (const auto& update : updates) {
        delta.resize(static_cast<std::size_t>(update.columns()));
        Real* row = update.weight->value().data();
        for (Index e = 0; e < update.matrices(); ++e) {
            for (Index o = 0; o < update.rows(); ++o, row += update.columns()) {
                update.delta_row(e, o, delta);
                for (std::size_t i = 0; i < delta.size(); ++i) {
                    row[i] = static_cast<Real>(static_cast<double>(row[i]) + delta[i]);
                }
            }
        }
    }
    detach_lora(model);
    return updates;
}

}  // namespace moegrad
