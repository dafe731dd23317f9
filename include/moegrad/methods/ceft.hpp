#pragma once
// ceft: context-faithful expert fine-tuning. In every layer the picked experts train gate, up and down, all else is
// frozen, the router at the checkpoint's values too.   Router Lens, arXiv 2508.19594, stage 2
//     router.options = "picked=0-5/2-3"        per layer, what `moegrad lens` prints (routing/expert_lists.hpp)
//                      "picked=..,lora=true"   LoRA of adapter.r on w1, w3 and w2 of the picked, as the code has it
// The picked experts are copied into stacks of their own (nn/picked_experts.hpp): gradients, moments and the adapter hold
// n experts, the checkpoint's stack is never written. The paper does not say whether it trains full weights; its code has
// LoRA (r = 8, alpha = 32) on experts in NF4. Of OLMoE-1B-7B with 8 of 64 picked: 805,306,368 in full, 9,437,184 in LoRA.

#include <moegrad/methods/model_method.hpp>
#include <moegrad/nn/picked_experts.hpp>
#include <moegrad/routing/expert_lists.hpp>

namespace moegrad {

template <class Real>
struct Ceft {
    static inline const std::vector<std::string> targets{};
    static bool reads_lora(const AdapterSpec& spec) {
        return !spec.targets.empty() || RouterOptions(spec.options).flag("lora", false);
    }

    static void attach(MethodBuild<Real>& build) {
        auto& layers = build.model.layers();
        if (!build.model.config().is_mixture()) {
            throw Error{ErrorCode::config, "adapter.method", "a mixture of experts for ceft",
                        "a dense model"};
        }
        const auto picked = picks(build);
        const bool lora = build.options.flag("lora", false);
        for (std::size_t l = 0; l < layers.size(); ++l) {
            for (auto& moe : layers[l].moe) {
                if (!picked[l].empty()) split(build, moe, picked[l], lora);
            }
        }
    }

private:
    static std::vector<ExpertList> picks(MethodBuild<Real>& build) {
        const auto& config = build.model.config();
        const auto layers = static_cast<std::size_t>(config.num_hidden_layers);
        const auto all = expert_lists(build.options.text("picked", ""), "router.options: picked",
                                      config.num_local_experts);
        const bool some = std::any_of(all.begin(), all.end(), [](const auto& list) { return !list.empty(); });
        if (all.size() == layers && some) return all;
        throw Error{ErrorCode::config, "router.options: picked",
                    format("{} layers joined by '/', and an expert in one at least", layers),
                    format("{} layers{}", all.size(), some ? "" : " without an expert"),
                    "`moegrad lens` picks and prints them"};
    }

    static void split(MethodBuild<Real>& build, MoeLayer<Real>& moe, const ExpertList& list, bool lora) {
        auto& base = moe.experts;
        if (base.gate_up_lora.defined() || base.down_lora.defined()) {
            throw Error{ErrorCode::config, "adapter.target", "no experts beside the picked ones of ceft",
                        moe.name + ".experts", "picked experts get theirs by router.options = \"lora=true\""};
        }
        const Index n = static_cast<Index>(list.size()), E = base.count(), F = base.width(),
                    D = base.gate_up.shape()[2];
        const std::string name = moe.name + ".ceft";
        Experts<Real> mine(lora ? name + kBaseCopy : name, n, D, F);
        copy(base.gate_up, list, mine.gate_up, !lora);
        copy(base.down, list, mine.down, !lora);
        if (lora) {
            mine.gate_up_lora = gate_and_up_lora<Real>(name + ".gate_up", n, F, D, build.spec.lora,
                                                       build.spec.seed, build.modules.next());
            mine.down_lora = LoraParameters<Real>(name + ".down", n, D, F, build.spec.lora, build.spec.seed,
                                                  build.modules.next());
        }
        moe.own = SlotTable::without(E, list);
        moe.beside.push_back(
            std::make_unique<PickedExperts<Real>>(std::move(mine), SlotTable::among(E, list)));
    }

    /// Matrix list[i] of a stack becomes matrix i.
    static void copy(const Parameter<Real>& stack, const ExpertList& list, Parameter<Real>& mine,
                     bool trains) {
        require_dense(stack);
        mine.set_trainable(trains);
        change_values<Real>(mine, [&](const Tensor<Wide<Real>>& values) {
            const auto from = host_values<Real>(stack);
            for (std::size_t i = 0; i < list.size(); ++i) {
                copy_values(from.slice(list[i]), values.slice(static_cast<Index>(i)));
            }
        });
    }
};

inline const RegisterMethod<Ceft> ceft_registered{"ceft"};

}  // namespace moegrad
