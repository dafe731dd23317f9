#pragma once
// MixLoRA: the feed-forward of a dense model becomes E experts, each the frozen block with three LoRAs of its own
// (nn/mix_lora_experts.hpp), under one router per layer; attention gets ordinary LoRA.   Li et al. 2024 (arXiv 2404.15159).
//     p = softmax(W_r x),  W_r ~ N(0, 0.02^2),   S = top-2,   w = p renormalised over S,   y = sum_{e in S} w_e E_e(x)
// Renormalised as the paper's Algorithm 1 and the code; its Eq. 7 leaves it out, and step 0 would not be the base.
// adapter.target: attention, or some of its Linears; those of the feed-forward have their LoRA already.
// router.options: experts = 8;  top_k = 2;  router = top_k, or any registered router with its own options: the code's
// variants are top-p ("dynamic") and Switch ("switch"), without a top_k, whose weights need not sum to 1;
// deviation = 0.02 of W_r.
// Loss: "balance", slot form over all chosen slots (adamoe_eq3: balanced value k), per layer, coefficient 0.001 as the code
// and the paper's best (its Eq. 8 counts the first choice only, with 0.01).

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <moegrad/methods/branch_router.hpp>
#include <moegrad/nn/mix_lora_experts.hpp>

namespace moegrad {

template <class Real>
struct MixLora {
    static inline const std::vector<std::string> targets{"attention"};
    static constexpr bool reads_top_k = true;

    static void attach(MethodBuild<Real>& build) {
        const Index E = build.options.count("experts", 8);
        const BranchRouting routing{.experts = E,
                                    .top_k = branch_top_k(build, build.spec.top_k, 2),
                                    .deviation = build.options.number("deviation", 0.02),
                                    .coefficients = {{"balance", 0.001}}};
        for (auto& layer : build.model.layers()) {
            require_bare_block(layer);
            const std::string name = format("model.layers.{}.mlp.mixlora", layer.index);
            const auto lora = [&](const Linear<Real>& linear, const char* part) {
                const Shape& W = linear.weight.shape();
                return LoraParameters<Real>(name + part, E, W[0], W[1], build.spec.lora, build.spec.seed,
                                            build.modules.next());
            };
            auto& dense = *layer.dense;
            typename MixLoraExperts<Real>::Adapters adapters{
                lora(dense.gate, ".gate_proj"), lora(dense.up, ".up_proj"), lora(dense.down, ".down_proj")};
            layer.branches.push_back({name, layer.index, build.modules.next(),
                                      branch_router(build, name + ".router", layer.index, routing),
                                      std::make_unique<MixLoraExperts<Real>>(dense, std::move(adapters))});
            layer.dense_replaced = true;
        }
    }

private:
    static void require_bare_block(const DecoderLayer<Real>& layer) {
        if (!layer.dense) {
            throw Error{ErrorCode::config, "adapter.method", "a dense model for mixlora",
                        "a mixture of experts", "on Mixtral the experts are there: lora over experts"};
        }
        if (!layer.dense->gate.adapter && !layer.dense->up.adapter && !layer.dense->down.adapter) return;
        throw Error{ErrorCode::config, "adapter.target", "attention or its Linears with mixlora",
                    "a Linear of the feed-forward", "its experts have a LoRA of each of those already"};
    }
};

inline const RegisterMethod<MixLora> mix_lora_registered{"mixlora"};

}  // namespace moegrad
