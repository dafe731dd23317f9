#pragma once
// dora: DoRA (nn/dora.hpp) on every Linear that adapter.target names; no options. Experts of a Mixtral are refused: PEFT has
// no DoRA for fused experts either, and a LoRA in its place would be another method under this name.

#include <memory>

#include <moegrad/methods/linears_only.hpp>
#include <moegrad/nn/dora.hpp>

namespace moegrad {

template <class Real>
struct DoraMethod {
    static void attach(MethodBuild<Real>& build) { refuse_expert_targets(build); }
    static std::unique_ptr<LinearAdapter<Real>> adapt(MethodBuild<Real>& build, DecoderLayer<Real>&,
                                                      Linear<Real>& linear, const LoraOptions& options) {
        return std::make_unique<Dora<Real>>(linear, options, build.spec.seed, build.modules.next());
    }
};

inline const RegisterMethod<DoraMethod> dora_registered{"dora"};

}  // namespace moegrad
