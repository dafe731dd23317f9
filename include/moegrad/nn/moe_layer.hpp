#pragma once
// MoeLayer: router -> dispatch -> experts -> combine.     y[t] = sum_k w[t,k] E_e(t,k)(x[t])  (+ passthrough[t] x[t])
// The router is any that satisfies the contract; the layer and the model know nothing of it but its Routing.

#include <memory>
#include <string>

#include <moegrad/nn/experts.hpp>
#include <moegrad/ops/combine.hpp>
#include <moegrad/ops/dispatch.hpp>

namespace moegrad {

template <class Real>
struct MoeLayer {
    std::string name;  // "model.layers.0.mlp"
    int layer = 0;
    // The checkpoint's gate [E, D]. Shared with the router, and kept when another router takes over.
    std::shared_ptr<Parameter<Wide<Real>>> gate;
    AnyRouter<Wide<Real>> router;
    Experts<Real> experts;

    Var<Real> operator()(Forward<Real>& forward, const Var<Real>& x) {
        const RouteInput<Wide<Real>> input{.x = x,
                                           .token = forward.token,
                                           .segments = forward.segments,
                                           .layer = layer,
                                           .mode = forward.tape.mode(),
                                           .module = static_cast<std::uint32_t>(layer)};
        auto routing = router.route(forward.tape, input);
        const auto plan = dispatch(forward.tape, routing.expert, experts.count());
        const auto h = experts(forward, x, plan);
        auto y = routing.passthrough.defined()
                     ? combine(forward.tape, h, routing.weight, plan, routing.passthrough, x)
                     : combine(forward.tape, h, routing.weight, plan);
        forward.routings.push_back({name, layer, std::move(routing)});
        return y;
    }
};

}  // namespace moegrad
