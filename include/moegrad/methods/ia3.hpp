#pragma once
// ia3, mov: vectors that rescale activations (nn/ia3.hpp), one per Linear or E of them under a router (nn/mov.hpp).
// Targets are k_proj, v_proj and down_proj, which is rescaled at its input; any other Linear at its output. On a Mixtral
// attention alone: its experts have no such vectors.
//
//   ia3   no options
//   mov   experts (10), top_k (all of them: dense), std of the gate's normal start (0.02, as in the released code)

#include <memory>
#include <string>
#include <vector>

#include <moegrad/methods/linears_only.hpp>
#include <moegrad/nn/mov.hpp>
#include <moegrad/routing/top_k_router.hpp>

namespace moegrad {

namespace detail {

template <class Real>
RescaledSide rescaled_side(DecoderLayer<Real>& layer, const Linear<Real>& linear) {
    return layer.dense && &layer.dense->down == &linear ? RescaledSide::input : RescaledSide::output;
}

}  // namespace detail

template <class Real>
struct Ia3Method {
    static inline const std::vector<std::string> targets{"k_proj", "v_proj", "down_proj"};
    static bool reads_lora(const AdapterSpec&) { return false; }
    static void attach(MethodBuild<Real>& build) { refuse_expert_targets(build); }
    static std::unique_ptr<LinearAdapter<Real>> adapt(MethodBuild<Real>&, DecoderLayer<Real>& layer,
                                                      Linear<Real>& linear, const LoraOptions&) {
        return std::make_unique<Ia3<Real>>(linear, detail::rescaled_side(layer, linear));
    }
};

template <class Real>
struct MovMethod {
    static inline const std::vector<std::string> targets{"k_proj", "v_proj", "down_proj"};
    static bool reads_lora(const AdapterSpec&) { return false; }
    static void attach(MethodBuild<Real>& build) { refuse_expert_targets(build); }

    static std::unique_ptr<LinearAdapter<Real>> adapt(MethodBuild<Real>& build, DecoderLayer<Real>& layer,
                                                      Linear<Real>& linear, const LoraOptions&) {
        const Index E = build.options.count("experts", 10), k = build.options.count("top_k", E);
        if (E < 1 || k < 1 || k > E) {
            throw Error{ErrorCode::config, "router.options", "experts from 1, top_k from 1 to that many",
                        format("experts = {}, top_k = {}", E, k)};
        }
        const std::uint32_t module = build.modules.next();
        auto gate = std::make_shared<Parameter<Wide<Real>>>(linear.path() + ".router.gate.weight",
                                                            Shape{E, linear.weight.shape()[1]});
        gate->set_trainable(true);
        fill_normal(gate->value(), build.options.number("std", 0.02), build.spec.seed, module);
        TopKRouter<Wide<Real>> router{.gate = Gate<Wide<Real>>(std::move(gate)), .k = k};
        router.penalties = build.spec.penalties();
        return std::make_unique<Mov<Real>>(linear, detail::rescaled_side(layer, linear), layer.index,
                                           std::move(router), module);
    }
};

inline const RegisterMethod<Ia3Method> ia3_registered{"ia3"};
inline const RegisterMethod<MovMethod> mov_registered{"mov"};

}  // namespace moegrad
