#pragma once
// Which tensors an adapter file holds, and how each lies in it. Names are PEFT's; for what PEFT does not know they
// follow its style (gate2, router.sub.J, router.main, q_proj.experts.E).
//
// LoRA over fused experts is packed as PEFT 0.19+ packs it, R rows per expert:
//     lora_A [E R, in]    row e R + r       expert slowest: our [E, R, in] as it lies
//     lora_B [out, R E]   column r E + e    expert fastest: transposed from our [E, out, R]

#include <string>
#include <vector>

#include <moegrad/methods/attach.hpp>

namespace moegrad {

enum class AdapterLayout { as_is, fused_a, fused_b, one_expert };

template <class Real>
struct AdapterTensor {
    std::string name;
    Parameter<Real>* parameter = nullptr;
    AdapterLayout layout = AdapterLayout::as_is;
    Index expert = 0;  // one_expert: which matrix of the stack

    Shape shape() const {
        const Shape& s = parameter->shape();
        switch (layout) {
            case AdapterLayout::as_is: return s;
            case AdapterLayout::fused_a: return {s[0] * s[1], s[2]};
            case AdapterLayout::fused_b: return {s[1], s[2] * s[0]};
            case AdapterLayout::one_expert: return {s[1], s[2]};
        }
        return s;
    }

    /// The file's values, from a tensor of the parameter's shape (its value or its gradient).
    std::vector<Real> pack(const Tensor<Real>& whole) const {
        std::vector<Real> out(static_cast<std::size_t>(shape().size()));
        visit(whole, [&](Index at, Real& value) { out[static_cast<std::size_t>(at)] = value; });
        return out;
    }
    void unpack(const std::vector<Real>& from, const Tensor<Real>& whole) const {
        visit(whole, [&](Index at, Real& value) { value = from[static_cast<std::size_t>(at)]; });
    }

private:
    /// each(place in the file, value in the parameter's layout).
    template <class Each>
    void visit(const Tensor<Real>& whole, Each each) const {
        const Shape& s = parameter->shape();
        if (layout == AdapterLayout::fused_b) {
            const Index E = s[0], O = s[1], R = s[2];
            for (Index e = 0; e < E; ++e) {
                for (Index o = 0; o < O; ++o) {
                    for (Index r = 0; r < R; ++r) each(o * R * E + r * E + e, whole.data()[(e * O + o) * R + r]);
                }
            }
            return;
        }
        const Index begin = layout == AdapterLayout::one_expert ? expert * s[1] * s[2] : 0;
        for (Index i = 0; i < shape().size(); ++i) each(i, whole.data()[begin + i]);
    }
};

namespace detail {

inline constexpr const char* kAdapterPrefix = "base_model.model.";

template <class Real>
void add_adapter_tensors(std::vector<AdapterTensor<Real>>& all, Linear<Real>& linear) {
    if (!linear.adapter) return;
    auto* mixture = dynamic_cast<MixtureLora<Real>*>(linear.adapter.get());
    if (mixture == nullptr) {
        for (auto* p : linear.adapter->parameters()) all.push_back({kAdapterPrefix + p->name(), p});
        return;
    }
    auto& lora = mixture->lora();
    for (Index e = 0; e < lora.A.shape()[0]; ++e) {
        const std::string name = kAdapterPrefix + linear.path() + ".experts." + std::to_string(e);
        all.push_back({name + ".lora_A.weight", &lora.A, AdapterLayout::one_expert, e});
        all.push_back({name + ".lora_B.weight", &lora.B, AdapterLayout::one_expert, e});
    }
    for (auto* p : mixture->router()->parameters()) all.push_back({kAdapterPrefix + p->name(), p});
}

}  // namespace detail

/// Every tensor of the model's adapter file, layer by layer.
template <class Real>
std::vector<AdapterTensor<Real>> adapter_tensors(Decoder<Real>& model) {
    std::vector<AdapterTensor<Real>> all;
    for (auto& layer : model.layers()) {
        for (auto& [name, linear] : model.linears(layer)) detail::add_adapter_tensors(all, *linear);
        for (auto& moe : layer.moe) {
            for (auto* lora : {&moe.experts.gate_up_lora, &moe.experts.down_lora}) {
                if (!lora->defined()) continue;
                all.push_back({detail::kAdapterPrefix + lora->A.name(), &lora->A, AdapterLayout::fused_a});
                all.push_back({detail::kAdapterPrefix + lora->B.name(), &lora->B, AdapterLayout::fused_b});
            }
            for (auto* p : moe.router.parameters()) {
                if (p->trainable()) all.push_back({detail::kAdapterPrefix + p->name(), p});
            }
        }
    }
    return all;
}

/// Sets every adapter's dropout to 0: a gradient of the function that evaluation sees.
template <class Real>
void clear_dropout(Decoder<Real>& model) {
    const auto clear_gate = [](auto& gate) { gate.lora.dropout = 0; };
    const auto clear_router = [&](AnyRouter<Wide<Real>>& router) {
        if (auto* top_k = router.template get<TopKRouter<Wide<Real>>>()) clear_gate(top_k->gate);
        if (auto* nulls = router.template get<NullExpertRouter<Wide<Real>>>()) {
            clear_gate(nulls->gate);
            clear_gate(nulls->gate2);
        }
        if (auto* mixture = router.template get<MixtureRouter<Wide<Real>>>()) {
            for (auto& sub : mixture->sub) clear_gate(sub);
        }
    };
    for (auto& layer : model.layers()) {
        for (auto& [name, linear] : model.linears(layer)) {
            if (auto* lora = dynamic_cast<Lora<Real>*>(linear->adapter.get())) lora->lora().dropout = 0;
            if (auto* mixture = dynamic_cast<MixtureLora<Real>*>(linear->adapter.get())) {
                mixture->lora().dropout = 0;
                clear_router(*mixture->router());
            }
        }
        for (auto& moe : layer.moe) {
            moe.experts.gate_up_lora.dropout = moe.experts.down_lora.dropout = 0;
            clear_router(moe.router);
        }
    }
}

}  // namespace moegrad
