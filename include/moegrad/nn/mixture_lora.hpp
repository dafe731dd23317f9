#pragma once
// MixtureLora: E LoRA experts on one Linear and a router of their own that looks at the Linear's input,
//     y = W x + sum_{e in S} w_e s B_e A_e drop(x)
// The router is any: top-k (MoLA), null experts (AdaMoE's Mo-LoRA), mixture of routers. A token without an expert keeps
// the frozen base output. E = 1 with weight 1 is plain LoRA, on a CPU to the bit.
// On a GPU in bf16 router and experts read x together (nn/shared_reading.hpp).

#include <moegrad/autograd/lora_parameters.hpp>
#include <moegrad/nn/linear.hpp>
#include <moegrad/nn/shared_reading.hpp>

namespace moegrad {

template <class Real>
class MixtureLora final : public LinearAdapter<Real> {
public:
    MixtureLora(const Linear<Real>& linear, int layer, AnyRouter<Wide<Real>> router,
                const LoraOptions& options, std::uint64_t seed, std::uint32_t module)
        : name_(linear.path()),
          layer_(layer),
          router_(std::move(router)),
          lora_(linear.path(), router_.experts(), linear.weight.shape()[0], linear.weight.shape()[1], options,
                seed, module) {}

    Var<Real> forward(Forward<Real>& forward, const Var<Real>& x, const Matrix<Real>& w) override {
        const LoraWeights<Real> experts{
            lora_.A.use(), lora_.B.use(), lora_.scale, {lora_.dropout, lora_.module}};
        const auto shared = share_reading(forward.tape, x, experts, forward.segments);
        auto routing =
            route(forward, shared ? Var<Wide<Real>>(shared) : cast_on_read<Wide<Real>>(forward.tape, x));
        auto y = mixed(forward, shared, x, w, experts, routing);
        forward.routings.push_back({name_, layer_, std::move(routing)});
        return y;
    }
    std::vector<Parameter<Wide<Real>>*> parameters() override {
        std::vector<Parameter<Wide<Real>>*> all{&lora_.A, &lora_.B};
        for (auto* parameter : router_.parameters()) all.push_back(parameter);
        return all;
    }
    AnyRouter<Wide<Real>>* router() override { return &router_; }
    void clear_dropout() override { lora_.dropout = 0; }
    LoraParameters<Real>& lora() { return lora_; }

private:
    Routing<Wide<Real>> route(Forward<Real>& forward, const Var<Wide<Real>>& x) {
        const RouteInput<Wide<Real>> input{.x = x,
                                           .token = forward.token,
                                           .segments = forward.segments,
                                           .layer = layer_,
                                           .mode = forward.tape.mode(),
                                           .module = lora_.module};
        auto routing = router_.route(forward.tape, input);
        if (!routing.passthrough.defined()) return routing;
        throw Error{ErrorCode::config, name_, "a router without a passthrough over LoRA experts",
                    "one with it",
                    "the experts are updates of a Linear; the token itself has no place there"};
    }
    static Var<Real> mixed(Forward<Real>& forward, const std::shared_ptr<SharedReading<Real>>& shared,
                           const Var<Real>& x, const Matrix<Real>& w, const LoraWeights<Real>& experts,
                           const Routing<Wide<Real>>& routing) {
        const auto reading = shared ? shared->take() : JointReading<Real>();
        if (reading.shared)
            return molora_joint(forward.tape, reading, x, w, experts.B, routing.expert, routing.weight);
        return molora_linear(forward.tape, x, w, experts, routing.expert, routing.weight, forward.segments);
    }

    std::string name_;
    int layer_;
    AnyRouter<Wide<Real>> router_;
    LoraParameters<Real> lora_;
};

}  // namespace moegrad
