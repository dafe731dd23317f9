#pragma once
// router_tuning: only the gates of a mixture of experts learn, by the cross entropy alone (balancing them would work
// against the specialisation that is looked for).   Router Lens, arXiv 2508.19594, stage 1
// router.mode says how: full (every gate weight, the default) or lora (adapter.r and lora_alpha; the code has r = 8,
// alpha = 32, dropout 0.1). Sizes of OLMoE-1B-7B: 2,097,152 in full, 270,336 with LoRA.
// The released code quantises the gates with the rest to NF4, and so routes otherwise before any training; here gates
// stay as the checkpoint has them.

#include <moegrad/methods/model_method.hpp>

namespace moegrad {

template <class Real>
struct RouterTuning {
    static inline const std::vector<std::string> targets{};
    static bool reads_lora(const AdapterSpec& spec) {
        return !spec.targets.empty() || spec.gate == GateMode::lora;
    }

    static void attach(MethodBuild<Real>& build) {
        if (!build.model.config().is_mixture()) {
            throw Error{ErrorCode::config, "adapter.method", "a mixture of experts for router_tuning",
                        "a dense model"};
        }
        if (build.spec.gate == GateMode::frozen) {
            throw Error{ErrorCode::config, "router.mode", "full or lora with router_tuning", "freeze",
                        "nothing would train"};
        }
        if (build.spec.gate == GateMode::lora) return;  // the factory of routers has added it
        for (auto& layer : build.model.layers()) {
            for (auto& moe : layer.moe) moe.gate->set_trainable(true);
        }
    }
};

inline const RegisterMethod<RouterTuning> router_tuning_registered{"router_tuning"};

}  // namespace moegrad
