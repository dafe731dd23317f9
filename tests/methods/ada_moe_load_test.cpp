// AdaMoE: the balance loss controls the load. On symmetric random routers the load is near k E / (E + M) with the loss
// off, so the routers here start biased: +3 on every true logit, through a constant feature. A regression task runs
// beside the loss, so that with coefficient 0 the router learns as well, but not to be balanced.

#include "support/routing_golden.hpp"

#include <moegrad/nn/moe_layer.hpp>
#include <moegrad/ops/adamw.hpp>

#include <doctest/doctest.h>

using namespace moegrad;

namespace {

struct Course {
    double first = 0, last_hundred = 0;  // loads
    double loss_begin = 0, loss_end = 0;
};

/// One MoE layer with frozen experts learns the output of a plain top-2 router over the same experts.
class LoadControl {
public:
    LoadControl(Index E, Index M, Index K, double coefficient) {
        const RouterSize size{.features = kFeatures, .experts = E, .nulls = M, .slots = K};
        auto biased = detail::random_gate<float>("gate", E, size, GateTraining::full, 1, 0);
        for (Index e = 0; e < E; ++e) biased.weight->value().matrix()(e, kFeatures - 1) = 3;
        auto gate2 = detail::random_gate<float>("gate2", M, size, GateTraining::full, 1, 8);
        for (Index m = 0; m < M; ++m) gate2.weight->value().matrix()(m, kFeatures - 1) = 0;
        NullExpertRouter<float> router{.gate = biased, .gate2 = gate2, .k = K};
        router.penalties.scope = BalanceOptions::Scope::micro;
        layer_.router = std::move(router);
        layer_.experts = Experts<float>("experts", E, kFeatures, 8);
        fill_normal(layer_.experts.gate_up.value(), 0.3, 2, 0);
        fill_normal(layer_.experts.down.value(), 0.3, 2, 1);
        teacher_ =
            TopKRouter<float>{.gate = detail::random_gate<float>("t", E, size, GateTraining::frozen, 3, 0)};
        context_.scalars().learning_rate = 1e-2;
        context_.scalars().coefficient[1] = coefficient;
    }

    Course run() {
        Course course;
        for (int n = 0; n < 600; ++n) {
            const auto [load, loss] = step(n);
            if (n == 0) course.first = load;
            if (n >= 500) course.last_hundred += load / 100;
            (n < 100 ? course.loss_begin : course.loss_end) += n < 100 || n >= 500 ? loss / 100 : 0;
        }
        return course;
    }

private:
    static constexpr Index kFeatures = 17, kTokens = 256;

    Tensor<float> output(Tape& tape, const test::RouterBatch<float>& batch,
                         std::vector<RoutingRecord<float>>& routings, Var<float>& y) {
        const auto token = Tensor<std::int32_t>::zeros({kTokens});
        Forward<float> forward{tape, token, batch.segments};
        y = layer_(forward, Var<float>(batch.x));
        routings = std::move(forward.routings);
        return test::copy_of(y.value());
    }

    std::pair<double, double> step(int n) {
        auto batch = test::random_batch<float>(kFeatures, {kTokens}, 100 + static_cast<std::uint64_t>(n));
        for (Index t = 0; t < kTokens; ++t) batch.x.matrix()(t, kFeatures - 1) = 1;
        std::vector<RoutingRecord<float>> routings;
        Var<float> y;
        std::swap(layer_.router, teacher_);
        Tape aside(context_, Mode::inference);
        const auto target = output(aside, batch, routings, y);
        std::swap(layer_.router, teacher_);
        for (auto* parameter : layer_.router.parameters()) parameter->forget_gradients();
        Tape tape(context_);
        output(tape, batch, routings, y);
        double loss = 0;
        auto dy = y.gradient()->target();
        for (std::size_t i = 0; i < target.values().size(); ++i) {
            const float difference = y.value().values()[i] - target.values()[i];
            loss += static_cast<double>(difference * difference) / kTokens;
            dy.tensor.values()[i] = 2 * difference / static_cast<float>(kTokens);
        }
        const auto& routing = routings.front().routing;
        if (context_.scalars().coefficient[1] != 0) seed(tape, routing.penalties.front().value, 1);
        RoutingTotals totals;
        totals.add(routing.stats);
        tape.backward();
        context_.scalars().step = static_cast<std::uint64_t>(n);
        for (auto* parameter : layer_.router.parameters()) {
            const GradientUses<float> gradients(parameter->gradients());
            adamw_update(context_.stream(), gradients, parameter->value(), parameter->first_moment(),
                         parameter->second_moment(), {.weight_decay = 0});
        }
        return {totals.load(), loss};
    }

    Context context_{{.device = Device::cpu, .threads = 1}};
    MoeLayer<float> layer_;
    AnyRouter<float> teacher_;
};

}  // namespace

TEST_CASE("AdaMoE load control: E = 8, (8, 3) from 2.99 to within 2 % of 1.5") {
    const auto course = LoadControl(8, 8, 3, 1.0).run();
    INFO(course.first, " -> ", course.last_hundred, " loss ", course.loss_begin, " -> ", course.loss_end);
    CHECK(course.first > 2.95);
    CHECK(std::abs(course.last_hundred / 1.5 - 1) <= 0.02);
}

TEST_CASE("AdaMoE load control: E = 4, (5, 4) to within 3 % of 1.778") {
    const auto course = LoadControl(4, 5, 4, 1.0).run();
    INFO(course.first, " -> ", course.last_hundred, " loss ", course.loss_begin, " -> ", course.loss_end);
    CHECK(course.first > 3.5);
    CHECK(std::abs(course.last_hundred / (16.0 / 9) - 1) <= 0.03);
}

TEST_CASE("AdaMoE load control: with coefficient 0 the task is learned and the load stays above 2.9") {
    const auto course = LoadControl(8, 8, 3, 0).run();
    INFO(course.first, " -> ", course.last_hundred, " loss ", course.loss_begin, " -> ", course.loss_end);
    CHECK(course.last_hundred > 2.9);
    CHECK(course.loss_end < 0.9 * course.loss_begin);
}
