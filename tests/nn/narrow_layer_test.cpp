// Memory of a MoE layer in bf16, by a plan: a gate keeps no float copy of x, a router that reads x does.

#include <moegrad/nn/moe_layer.hpp>
#include <moegrad/routing/top_k_router.hpp>

#include <doctest/doctest.h>

using namespace moegrad;

namespace {

/// Top-1 by a Gate, or by a linear of its own over RouteInput::x.
template <bool Gated>
struct TopOneRouter {
    std::shared_ptr<Parameter<float>> weight;  // [E, D]

    Index slots() const { return 1; }
    Index experts() const { return weight->shape()[0]; }
    RouterScope scope() const { return RouterScope::token; }
    std::vector<Parameter<float>*> parameters() { return {weight.get()}; }
    Routing<float> route(Tape& tape, const RouteInput<float>& input) {
        const auto z = Gated ? Gate<float>(weight).logits(tape, input.x, input.segments)
                             : linear(tape, input.x, weight->use());
        Routing<float> routing;
        routing.expert = classify_slots<float>(tape, top_k(tape, z.value(), 1), input.segments, experts());
        routing.weight = take(tape, softmax(tape, z), routing.expert);
        return routing;
    }
};

constexpr Index kT = 512, kD = 64, kE = 4;

struct PlannedBytes {
    std::size_t forward = 0, peak = 0;
};

template <bool Gated>
PlannedBytes planned_layer() {
    const Planning planning;
    Context context({.device = Device::dry, .plans = Device::cuda});
    auto weight = std::make_shared<Parameter<float>>("gate", Shape{kE, kD});
    weight->set_trainable(true);
    MoeLayer<bf16> layer;
    layer.experts = Experts<bf16>("experts", kE, kD, 8);
    layer.router = TopOneRouter<Gated>{std::move(weight)};
    const auto segments = Segments::of_lengths({kT});
    const Tensor<std::int32_t> token;
    Tape tape(context);
    Forward<bf16> forward{tape, token, segments};
    PlannedBytes bytes;
    {
        const auto x = tape.input(tape.make<bf16>({kT, kD}));
        const auto y = layer(forward, x);
        bytes.forward = context.arena().in_use();
        y.gradient()->target();
    }
    forward.routings.clear();
    tape.backward();
    bytes.peak = context.arena().peak();
    return bytes;
}

}  // namespace

TEST_CASE("MoeLayer in bf16: a gate keeps no float copy of x, and backward needs none") {
    const auto gated = planned_layer<true>(), reading = planned_layer<false>();
    constexpr std::size_t copy = kT * kD * sizeof(float);
    CHECK(reading.forward - gated.forward == copy);
    CHECK(reading.peak > gated.peak + copy / 2);
}
