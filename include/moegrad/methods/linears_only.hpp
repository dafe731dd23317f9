#pragma once
// For methods that adapt Linears and have no form for the experts of a Mixtral: a LoRA there would train beside them under
// the method's name.

#include <moegrad/methods/model_method.hpp>

namespace moegrad {

/// Call it from `attach`, which runs after the targets were met.
template <class Real>
void refuse_expert_targets(MethodBuild<Real>& build) {
    for (auto& layer : build.model.layers()) {
        for (auto& moe : layer.moe) {
            if (!moe.experts.gate_up_lora.defined() && !moe.experts.down_lora.defined()) continue;
            throw Error{ErrorCode::config, "adapter.target", "Linears for method " + build.spec.method_name(),
                        "experts",
                        build.spec.method_name() +
                            " has no form for the experts of a Mixtral: adapter.target = [\"attention\"], or "
                            "single projections of it"};
        }
    }
}

}  // namespace moegrad
