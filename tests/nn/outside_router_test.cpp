// A router that the library does not know, written from the contract alone, handed to MoeLayer and trained ten steps.

#include <moegrad/testing/router_scope.hpp>
#include "support/routing_builtin.hpp"
#include "support/routing_layers.hpp"

#include <moegrad/ops/adamw.hpp>

#include <doctest/doctest.h>

using namespace moegrad;

namespace {

/// Threshold router: every expert whose probability reaches `floor`, at most K, weighted by that probability.
template <class Real>
struct ThresholdRouter {
    std::shared_ptr<Parameter<Real>> weight;  // [E, D]
    static constexpr bool reads_on_host = true;
    Index k = 2;
    Real floor = Real(0.2);

    Index slots() const { return k; }
    Index experts() const { return weight->shape()[0]; }
    RouterScope scope() const { return RouterScope::token; }
    std::vector<Parameter<Real>*> parameters() { return {weight.get()}; }

    Routing<Real> route(Tape& tape, const RouteInput<Real>& input) {
        const auto logits = linear(tape, input.x, weight->use());
        const auto p = softmax(tape, logits);
        const auto best = top_k(tape, logits.value(), k);
        Routing<Real> routing;
        routing.expert = classify_slots<Real>(tape, best, input.segments, experts());
        const auto values = host(p.value());
        const auto experts_on_host = host(routing.expert);
        for (Index t = 0; t < best.extent(0); ++t) {
            for (Index s = 0; s < k; ++s) {
                std::int32_t& expert = experts_on_host.matrix()(t, s);
                if (expert >= 0 && values.matrix()(t, expert) < floor) expert = kUnused;
            }
        }
        copy_values(experts_on_host, routing.expert);
        routing.weight = take(tape, p, routing.expert);
        routing.penalties.push_back({"z", z_loss(tape, logits, input.segments.valid), PenaltyUnit::token});
        routing.stats = route_stats(tape, routing.expert, routing.expert, p.value(), input.segments);
        return routing;
    }
    void after_step(const RoutingTotals&) { floor *= Real(0.99); }
};
static_assert(Router<ThresholdRouter<float>, float>);

struct ThresholdEntry {
    static constexpr WeightSum sum = WeightSum::at_most_one;
    static std::string name() { return "threshold"; }
    static Index most_slots(const RouterSize& size) { return size.experts; }
    template <class Real>
    static AnyRouter<Real> make(const RouterSize& size, std::uint64_t seed, const PenaltySettings& = {}) {
        auto weight = std::make_shared<Parameter<Real>>("mine", Shape{size.experts, size.features});
        weight->set_trainable(true);
        fill_normal(weight->value(), 0.5, seed, 0);
        return ThresholdRouter<Real>{.weight = std::move(weight), .k = size.slots};
    }
};

}  // namespace

TEST_CASE("outside router: the conformance suite runs over it as over our own") {
    const auto report = test::check_router(test::router_case<ThresholdEntry>());
    INFO(report.text());
    CHECK(report.passed());
}

TEST_CASE("outside router: says that it reads on the host; our own read nothing there") {
    CHECK(ThresholdEntry::make<float>({}, 1).reads_on_host());
    for (const auto& router : test::builtin_router_cases()) {
        INFO(router.name);
        CHECK_FALSE(router.make<float>({}, 1).reads_on_host());
    }
}

TEST_CASE("outside router: MoeLayer trains it ten steps") {
    const RouterSize size{.features = 6, .experts = 4, .slots = 2};
    auto layer = test::random_layer<float>(4, 6, 5, 1), teacher = test::random_layer<float>(4, 6, 5, 1);
    layer.router = ThresholdEntry::make<float>(size, 1);
    teacher.router = ThresholdEntry::make<float>(size, 2);
    const auto batch = test::random_batch<float>(6, {64}, 1);
    const auto target = test::run_layer(teacher, batch).y;
    Context context({.device = Device::cpu, .threads = 1});
    context.scalars().learning_rate = 0.05;
    const auto token = Tensor<std::int32_t>::zeros({64});
    std::vector<double> losses;
    for (std::uint64_t step = 0; step < 10; ++step) {
        Tape tape(context);
        Forward<float> forward{tape, token, batch.segments};
        const auto y = layer(forward, Var<float>(batch.x));
        auto dy = y.gradient()->target();
        double loss = 0;
        for (std::size_t i = 0; i < target.values().size(); ++i) {
            dy.tensor.values()[i] = y.value().values()[i] - target.values()[i];
            loss += static_cast<double>(dy.tensor.values()[i] * dy.tensor.values()[i]);
        }
        losses.push_back(loss);
        tape.backward();
        context.scalars().step = step;
        for (auto* parameter : layer.router.parameters()) {
            adamw_update(context.stream(), GradientUses<float>(parameter->gradients()), parameter->value(),
                         parameter->first_moment(), parameter->second_moment(), {.weight_decay = 0});
            parameter->forget_gradients();
        }
        RoutingTotals totals;
        totals.add(forward.routings.at(0).routing.stats);
        layer.router.after_step(totals);
    }
    CHECK(losses.back() < 0.7 * losses.front());
    const auto* mine = layer.router.get<ThresholdRouter<float>>();
    REQUIRE(mine != nullptr);
    CHECK(mine->floor == doctest::Approx(0.2 * std::pow(0.99, 10)).epsilon(1e-5));
    CHECK(layer.router.get<TopKRouter<float>>() == nullptr);
}
