#pragma once
// MoeLayer: router -> dispatch -> experts -> combine.     y[t] = sum_k w[t,k] E_e(t,k)(x[t])  (+ passthrough[t] x[t])
// The router is any that satisfies the contract; the layer and the model know nothing of it but its Routing.

#include <cmath>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <moegrad/nn/branch.hpp>
#include <moegrad/nn/experts.hpp>
#include <moegrad/ops/add.hpp>
#include <moegrad/ops/cast.hpp>
#include <moegrad/ops/combine.hpp>
#include <moegrad/ops/dispatch.hpp>
#include <moegrad/ops/remap_slots.hpp>

namespace moegrad {

template <class Real>
struct MoeLayer {
    std::string name;  // "model.layers.0.mlp"
    int layer = 0;
    // The checkpoint's gate [E, D]. Shared with the router, and kept when another router takes over.
    std::shared_ptr<Parameter<Wide<Real>>> gate;
    AnyRouter<Wide<Real>> router;
    Experts<Real> experts;
    // Rows per token that the experts have room for; 0: every slot of the router. A batch that needs more is an error
    // (ops/dispatch.hpp).
    double row_budget = 0;
    // More experts under the same routing, whose output is added (PERFT-E); none of them may need the passthrough.
    std::vector<std::unique_ptr<ExpertSet<Real>>> beside;
    // Which experts the stack runs itself; the others are in `beside` (CEFT). Empty: all.
    std::optional<SlotTable> own = {};

    Var<Real> operator()(Forward<Real>& forward, const Var<Real>& x) {
        const RouteInput<Wide<Real>> input{.x = cast_on_read<Wide<Real>>(forward.tape, x),
                                           .token = forward.token,
                                           .segments = forward.segments,
                                           .layer = layer,
                                           .mode = forward.tape.mode(),
                                           .module = static_cast<std::uint32_t>(layer)};
        auto routing = router.route(forward.tape, input);
        const auto rows = static_cast<Index>(std::ceil(row_budget * static_cast<double>(x.extent(0))));
        const auto mine = own ? remap_slots(forward.tape, routing.expert, *own) : routing.expert;
        const auto plan = dispatch(forward.tape, mine, experts.count(), rows);
        const auto h = experts(forward, x, plan);
        auto y = routing.passthrough.defined()
                     ? combine(forward.tape, h, routing.weight, plan, routing.passthrough, x)
                     : combine(forward.tape, h, routing.weight, plan);
        for (auto& set : beside) {
            y = add(forward.tape, y, set->forward(forward, x, routing.expert, routing.weight));
        }
        forward.routings.push_back({name, layer, std::move(routing)});
        return y;
    }
};

}  // namespace moegrad
