#pragma once
// MoE layers for tests: a layer of random weights, a router that says what it is told, and the layer written as a
// plain loop over tokens in double.

#include "support/routing_golden.hpp"

#include <moegrad/nn/moe_layer.hpp>

namespace moegrad::test {

/// Chooses what the test says, with weights that learn. An outside router in 20 lines.
template <class Real>
struct FixedRouter {
    Tensor<std::int32_t> expert;              // [T, K]
    std::shared_ptr<Parameter<Real>> weight;  // [T, K]
    Index count = 1;

    Index slots() const { return expert.extent(1); }
    Index experts() const { return count; }
    RouterScope scope() const { return RouterScope::batch; }
    std::vector<Parameter<Real>*> parameters() { return {weight.get()}; }
    Routing<Real> route(Tape& tape, const RouteInput<Real>& input) {
        Routing<Real> routing;
        routing.expert = expert;
        routing.weight = keep_true(tape, weight->use(), expert);
        routing.stats =
            route_stats(tape, expert, expert, Tensor<Real>::zeros({expert.extent(0), count}), input.segments);
        return routing;
    }
};

template <class Real>
MoeLayer<Real> random_layer(Index E, Index D, Index F, std::uint64_t seed, bool lora = false) {
    MoeLayer<Real> layer;
    layer.name = "mlp";
    layer.experts = Experts<Real>("mlp.experts", E, D, F);
    fill_normal(layer.experts.gate_up.value(), 0.6, seed, 1);
    fill_normal(layer.experts.down.value(), 0.6, seed, 2);
    if (!lora) return layer;
    const LoraOptions options{.rank = 2, .alpha = 3};
    layer.experts.gate_up_lora = LoraParameters<Real>("up", E, 2 * F, D, options, seed, 3);
    layer.experts.down_lora = LoraParameters<Real>("down", E, D, F, options, seed, 4);
    fill_normal(layer.experts.gate_up_lora.B.value(), 0.5, seed, 5);
    fill_normal(layer.experts.down_lora.B.value(), 0.5, seed, 6);
    return layer;
}

template <class Real>
void train_experts(Experts<Real>& experts) {
    for (auto* parameter : experts.parameters()) parameter->set_trainable(true);
}

/// What a layer gave, copied out of step memory.
template <class Real>
struct LayerOutcome {
    Tensor<Real> y, dx;
    Outcome<Real> routing;
};

/// dL/dy is fixed per row of the batch; parameter gradients accumulate.
template <class Real>
LayerOutcome<Real> run_layer(MoeLayer<Real>& layer, const RouterBatch<Real>& batch, int threads = 1) {
    Tape tape(routing_context(threads));
    const auto token = Tensor<std::int32_t>::zeros({batch.tokens()});
    const Var<Real> x(batch.x, std::make_shared<Gradient<Real>>(Tensor<Real>::zeros(batch.x.shape())));
    Forward<Real> forward{tape, token, batch.segments};
    LayerOutcome<Real> result;
    {
        const auto y = layer(forward, x);
        result.y = copy_of(y.value());
        result.routing = detail::outcome_of(forward.routings.at(0).routing);
        detail::seed_rows(y, batch.row);
    }
    forward.routings.clear();
    tape.backward();
    result.dx = x.gradient()->tensor();
    return result;
}

/// W [O, I] + s B [O, R] A [R, I] of expert e, times x.
template <class Real>
std::vector<double> expert_product(const Parameter<Real>& weight, const LoraParameters<Real>& lora, Index e,
                                   const std::vector<double>& x) {
    const auto w = weight.value().slice(e);
    const auto at = [](const auto& tensor, Index i, Index j) {
        return static_cast<double>(tensor.matrix()(i, j));
    };
    std::vector<double> y;
    for (Index o = 0; o < w.extent(0); ++o) {
        double sum = 0;
        for (Index i = 0; i < w.extent(1); ++i) sum += at(w, o, i) * x[static_cast<std::size_t>(i)];
        for (Index r = 0; lora.defined() && r < lora.rank(); ++r) {
            double u = 0;
            for (Index i = 0; i < w.extent(1); ++i)
                u += at(lora.A.value().slice(e), r, i) * x[static_cast<std::size_t>(i)];
            sum += lora.scale * at(lora.B.value().slice(e), o, r) * u;
        }
        y.push_back(sum);
    }
    return y;
}

/// w2 (silu(w1 x) * w3 x) of expert e.
template <class Real>
std::vector<double> expert_output(const Experts<Real>& experts, Index e, const std::vector<double>& x) {
    const auto inner = expert_product(experts.gate_up, experts.gate_up_lora, e, x);
    const std::size_t F = inner.size() / 2;
    std::vector<double> active;
    for (std::size_t f = 0; f < F; ++f) active.push_back(inner[f] / (1 + std::exp(-inner[f])) * inner[F + f]);
    return expert_product(experts.down, experts.down_lora, e, active);
}

/// The layer, token by token.
template <class Real>
Tensor<double> plain_loop(const Experts<Real>& experts, const Tensor<Real>& x, const Outcome<Real>& routing) {
    const Index T = x.extent(0), D = x.extent(1);
    auto y = Tensor<double>::zeros({T, D});
    for (Index t = 0; t < T; ++t) {
        std::vector<double> row;
        for (Index d = 0; d < D; ++d) row.push_back(static_cast<double>(x.matrix()(t, d)));
        for (Index k = 0; k < routing.expert.extent(1); ++k) {
            if (routing.expert.matrix()(t, k) < 0) continue;
            const auto h = expert_output(experts, routing.expert.matrix()(t, k), row);
            const auto weight = static_cast<double>(routing.weight.matrix()(t, k));
            for (Index d = 0; d < D; ++d) y.matrix()(t, d) += weight * h[static_cast<std::size_t>(d)];
        }
        if (!routing.passthrough.defined()) continue;
        const auto pass = static_cast<double>(routing.passthrough.data()[t]);
        for (Index d = 0; d < D; ++d) y.matrix()(t, d) += pass * row[static_cast<std::size_t>(d)];
    }
    return y;
}

}  // namespace moegrad::test
