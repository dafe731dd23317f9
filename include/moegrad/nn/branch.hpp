#pragma once
// What a method may add to a layer, beside the adapters of its Linears and the routers of its experts.
//
//   ExpertSet   experts of any kind that a Routing runs:   y[t] = sum_k weight[t,k] E_{expert[t,k]}(x[t])
//   Branch      a router and an ExpertSet in parallel with the feed-forward; their output is added
//   LayerHook   runs in the place of a whole layer, and may run the layer itself as often as it likes
//
// The parameters of all three are found by their names: saved, loaded, moved and trained like any others.

#include <map>
#include <memory>
#include <string>
#include <vector>

#include <moegrad/nn/forward.hpp>
#include <moegrad/ops/cast.hpp>

namespace moegrad {

/// Part of the names of parameters that attach copies from the base: frozen, so no adapter file holds them.
inline constexpr const char* kBaseCopy = ".base_copy";

/// What a router may know beside the tokens (RouteInput::side).
template <class Real>
using SideInput = std::map<std::string, Tensor<Wide<Real>>>;

template <class Real>
class ExpertSet {
public:
    virtual ~ExpertSet() = default;
    /// E: the experts that a routing may name.
    virtual Index count() const = 0;
    /// x [T, D], expert and weight [T, K] as in Routing -> [T, D]; 0 for a token without an expert.
    virtual Var<Real> forward(Forward<Real>& forward, const Var<Real>& x, const Tensor<std::int32_t>& expert,
                              const Var<Wide<Real>>& weight) = 0;
    /// What the experts have to say to the router of a Branch, before it decides.
    virtual SideInput<Real> side(Forward<Real>&, const Var<Real>&) { return {}; }
    /// With those of router().
    virtual std::vector<Parameter<Wide<Real>>*> parameters() = 0;
    /// Of a set that chooses among its experts itself, and the name of its routings.
    virtual AnyRouter<Wide<Real>>* router() { return nullptr; }
    virtual std::string router_name() const { return {}; }
    /// Sets every dropout to 0.
    virtual void clear_dropout() {}
};

template <class Real>
struct Branch {
    std::string name;  // "model.layers.0.mlp.perft": its parameters' names start with it
    int layer = 0;
    std::uint32_t module = 0;  // keys the router's random draws
    AnyRouter<Wide<Real>> router;
    std::unique_ptr<ExpertSet<Real>> experts;

    /// x [T, D], what the feed-forward gets -> [T, D].
    Var<Real> operator()(Forward<Real>& forward, const Var<Real>& x) {
        auto routing = route(forward, x);
        auto y = experts->forward(forward, x, routing.expert, routing.weight);
        forward.routings.push_back({name, layer, std::move(routing)});
        return y;
    }
    Routing<Wide<Real>> route(Forward<Real>& forward, const Var<Real>& x) {
        const SideInput<Real> side = experts->side(forward, x);
        const RouteInput<Wide<Real>> input{.x = cast_on_read<Wide<Real>>(forward.tape, x),
                                           .token = forward.token,
                                           .segments = forward.segments,
                                           .layer = layer,
                                           .mode = forward.tape.mode(),
                                           .module = module,
                                           .side = &side};
        auto routing = router.route(forward.tape, input);
        if (routing.passthrough.defined()) {
            throw Error{ErrorCode::config, name, "a router without a passthrough over a branch",
                        "one with it", "a token that passes through has its residual already"};
        }
        return routing;
    }
};

template <class Real>
struct DecoderLayer;

template <class Real>
class LayerHook {
public:
    virtual ~LayerHook() = default;
    /// x [T, D], the residual stream before the layer -> after it. `layer.plain(forward, x)` is the layer without
    /// hook, `layer.update(forward, x)` what that adds to x.
    virtual Var<Real> forward(Forward<Real>& forward, DecoderLayer<Real>& layer, const Var<Real>& x) = 0;
    virtual std::vector<Parameter<Wide<Real>>*> parameters() = 0;
    virtual AnyRouter<Wide<Real>>* router() { return nullptr; }
    virtual void clear_dropout() {}
};

}  // namespace moegrad
