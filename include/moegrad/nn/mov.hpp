#pragma once
// Mov: E (IA)3 vectors on one Linear, mixed for every token by a router that looks at the Linear's input.
//     keys, values:      y = (sum_e w_e l_e) * (W x)
//     down projection:   y = W ((sum_e w_e l_e) * x)
// Every l_e starts as ones and the weights sum to 1, so the first forward is the base's, to the rounding of that sum.
// Zadouri et al. 2023 (arXiv 2309.05444), section 3. Their code gives each attention head a mixture of its own, routed by
// that head's keys or values; here a Linear has one, as in the paper's figure 2.

#include <utility>

#include <moegrad/nn/ia3.hpp>
#include <moegrad/ops/cast.hpp>
#include <moegrad/ops/multiply.hpp>
#include <moegrad/ops/scatter.hpp>

namespace moegrad {

template <class Real>
class Mov final : public LinearAdapter<Real> {
public:
    Mov(const Linear<Real>& linear, RescaledSide side, int layer, AnyRouter<Wide<Real>> router,
        std::uint32_t module)
        : name_(linear.path()),
          side_(side),
          layer_(layer),
          module_(module),
          router_(std::move(router)),
          l_(name_ + ".mov_l",
             Shape{linear.weight.shape()[side == RescaledSide::output ? 0 : 1], router_.experts()}) {
        l_.set_trainable(true);
        for (auto& value : l_.value().values()) value = 1;
    }

    Var<Real> forward(Forward<Real>& forward, const Var<Real>& x, const Matrix<Real>& w) override {
        Tape& tape = forward.tape;
        const RouteInput<Wide<Real>> input{.x = cast_on_read<Wide<Real>>(tape, x),
                                           .token = forward.token,
                                           .segments = forward.segments,
                                           .layer = layer_,
                                           .mode = tape.mode(),
                                           .module = module_};
        auto routing = router_.route(tape, input);
        const auto weights = scatter(tape, routing.weight, routing.expert, router_.experts());
        const auto factors = linear(tape, weights, l_.use());  // [T, O]
        forward.routings.push_back({name_, layer_, std::move(routing)});
        return side_ == RescaledSide::output ? multiply(tape, factors, linear(tape, x, w))
                                             : linear(tape, multiply(tape, factors, x), w);
    }
    std::vector<Parameter<Wide<Real>>*> parameters() override {
        std::vector<Parameter<Wide<Real>>*> all{&l_};
        for (auto* parameter : router_.parameters()) all.push_back(parameter);
        return all;
    }
    AnyRouter<Wide<Real>>* router() override { return &router_; }

private:
    std::string name_;
    RescaledSide side_;
    int layer_;
    std::uint32_t module_;
    AnyRouter<Wide<Real>> router_;
    Parameter<Wide<Real>> l_;  // [O, E], a column per expert
};

}  // namespace moegrad
