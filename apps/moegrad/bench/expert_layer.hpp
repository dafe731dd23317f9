#pragma once
// The experts of one layer with LoRA of rank R on both stacks, random weights; and their forward and backward as a model
// runs them.

#include <moegrad/ops/cast.hpp>
#include <moegrad/ops/combine.hpp>
#include <moegrad/ops/dispatch.hpp>
#include <moegrad/ops/expert_swiglu.hpp>
#include <moegrad/routing/router.hpp>

#include "values.hpp"

namespace moegrad::bench {

struct LayerShape {
    Index T = 8192, D = 4096, F = 14336, E = 8, R = 8;
};

template <class Real>
struct ExpertLayer {
    ExpertLayer(const LayerShape& s, Device device)
        : shape(s),
          up(normal<Real>({s.E, 2 * s.F, s.D}, 11, 1 / std::sqrt(static_cast<double>(s.D)), device)),
          down(normal<Real>({s.E, s.D, s.F}, 12, 1 / std::sqrt(static_cast<double>(s.F)), device)),
          up_lora(adapter(2 * s.F, s.D, device)),
          down_lora(adapter(s.D, s.F, device)),
          x(normal<Real>({s.T, s.D}, 13, 1, device)),
          dy(normal<Real>({s.T, s.D}, 14, 1, device)) {}

    /// dispatch, experts, combine and all their gradients. expert, weight [T, K].
    void forward_and_backward(Context& context, const Tensor<std::int32_t>& expert,
                              const Tensor<Wide<Real>>& weight) const {
        Tape tape(context);
        const auto y = experts(tape, tape.input(x), expert, tape.input(weight), true);
        y.gradient()->adopt(dy);
        tape.backward();
    }

    /// What the router makes of x, on the host: PyTorch gets the same.
    Tensor<std::int32_t> choice(Context& context, AnyRouter<Wide<Real>>& router,
                                const Segments& segments) const {
        Tape tape(context);
        return host(route(tape, tape.input(x), router, segments).expert);
    }

    /// A whole block with the router given, frozen experts with LoRA or without; `backward`: its gradients too.
    void block(Context& context, AnyRouter<Wide<Real>>& router, const Segments& segments, bool lora,
               bool backward) const {
        Tape tape(context);
        const auto input = tape.input(x);
        const auto routing = route(tape, input, router, segments);
        const auto y = experts(tape, input, routing.expert, routing.weight, lora);
        if (!backward) return;
        y.gradient()->adopt(dy);
        tape.backward();
    }

    LayerShape shape;
    Tensor<Real> up, down;
    LoraStack<Real> up_lora, down_lora;
    Tensor<Real> x, dy;

private:
    static Routing<Wide<Real>> route(Tape& tape, const Var<Real>& input, AnyRouter<Wide<Real>>& router,
                                     const Segments& segments) {
        const Tensor<std::int32_t> token;
        return router.route(tape, {.x = cast_on_read<Wide<Real>>(tape, input),
                                   .token = token,
                                   .segments = segments,
                                   .mode = tape.mode()});
    }
    Var<Real> experts(Tape& tape, const Var<Real>& input, const Tensor<std::int32_t>& expert,
                      const Var<Wide<Real>>& weight, bool lora) const {
        for (const auto* stack : {&up_lora, &down_lora}) {
            stack->A.gradient()->forget();
            stack->B.gradient()->forget();
        }
        const DispatchPlan plan = dispatch(tape, expert, shape.E);
        const auto h = expert_swiglu<Real>(tape, input, {Weight<Real>(up), lora ? &up_lora : nullptr},
                                           {Weight<Real>(down), lora ? &down_lora : nullptr}, plan);
        return combine<Real>(tape, h, weight, plan);
    }
    LoraStack<Real> adapter(Index O, Index D, Device device) const {
        const double deviation = 1 / std::sqrt(static_cast<double>(D));
        return {learning_weight<Real>({shape.E, shape.R, D}, deviation, device),
                learning_weight<Real>({shape.E, O, shape.R}, 0.02, device), 2};
    }
};

}  // namespace moegrad::bench
