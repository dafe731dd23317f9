// AdaMoE, the router alone: the published vectors, the edge cases and the weights of both options.
// Zeng et al. 2024 (arXiv 2406.13233). E = 2 true and M = 2 null experts, K = 2, three tokens:
//     logits [2, 1, 0, -1]  [1, -1, 0, -2]  [-1, -2, 1, 0]   ->   chosen {0, 1}  {0, 2}  {2, 3}

#include "support/routing_golden.hpp"

#include <moegrad/nn/forward.hpp>
#include <moegrad/train/schedule.hpp>

#include <doctest/doctest.h>

using namespace moegrad;
using test::golden;

namespace {

constexpr double kPrinted = 1e-6;  // the vectors are printed with six digits

Tensor<double> published_logits() {
    return Tensor<double>::from({3, 4}, {2, 1, 0, -1, 1, -1, 0, -2, -1, -2, 1, 0});
}

NullExpertRouter<double> published_router(BalanceLoss balance) {
    auto router = test::null_router_on_logits(2, 2, 2);
    router.penalties = {.balance = balance, .scope = BalanceOptions::Scope::micro, .z = true};
    return router;
}

void check_close(const Tensor<double>& got, std::initializer_list<double> want, double bound = kPrinted) {
    REQUIRE(got.values().size() == want.size());
    std::size_t i = 0;
    for (double value : want) CHECK(std::abs(got.values()[i++] - value) <= bound);
}

std::vector<std::int32_t> experts_of(const Tensor<std::int32_t>& expert) {
    return {expert.values().begin(), expert.values().end()};
}

}  // namespace

TEST_CASE("AdaMoE vectors: chosen experts, weights over the true ones, loads") {
    AnyRouter<double> router = published_router(BalanceLoss::adamoe_eq6);
    const auto outcome = test::decide(router, test::batch_of(published_logits()));
    CHECK(experts_of(outcome.expert) == std::vector<std::int32_t>{0, 1, 0, kNull, kNull, kNull});
    check_close(outcome.weight, {0.731059, 0.268941, 1, 0, 0, 0});
    CHECK(outcome.weight.data()[2] == 1.0);
    CHECK(outcome.stats.load() == 1.0);
    CHECK(outcome.stats.experts_per_token() == std::vector<std::int64_t>{1, 1, 1});
    CHECK(outcome.stats.all_null_tokens() == 1);
}

TEST_CASE("AdaMoE vectors: f, the averaged f and P") {
    AnyRouter<double> router = published_router(BalanceLoss::adamoe_eq6);
    const auto outcome = test::decide(router, test::batch_of(published_logits()));
    const auto& slots = outcome.stats.slots();
    std::vector<double> f;
    for (std::int64_t n : slots) f.push_back(static_cast<double>(n) / 3);
    const std::vector<double> want{0.666667, 0.333333, 0.666667, 0.333333};
    const std::vector<double> mass{0.458324, 0.118695, 0.322647, 0.100333};
    double balance = 0;
    for (std::size_t c = 0; c < 4; ++c) {
        CHECK(std::abs(f[c] - want[c]) <= kPrinted);
        CHECK(std::abs(outcome.stats.probability(c) - mass[c]) <= kPrinted);
        const double averaged = c < 2 ? f[c] : (f[2] + f[3]) / 2;
        balance += 4 * averaged * outcome.stats.probability(c);
    }
    CHECK((f[2] + f[3]) / 2 == 0.5);
    CHECK(std::abs(balance - penalty_value(outcome, "balance").data()[0]) <= 1e-8);
}

TEST_CASE("AdaMoE vectors: Eq 3, Eq 6 and the count-normalised variant") {
    const auto batch = test::batch_of(published_logits());
    AnyRouter<double> eq3 = published_router(BalanceLoss::adamoe_eq3),
                      eq6 = published_router(BalanceLoss::adamoe_eq6);
    check_close(penalty_value(test::decide(eq3, batch), "balance"), {2.374629});
    check_close(penalty_value(test::decide(eq6, batch), "balance"), {2.226419});
    // Counts over T K instead of T: a factor K between the coefficients.
    Tape tape(test::routing_context(), Mode::inference);
    const auto p = softmax(tape, Var<double>(published_logits()));
    BalanceOptions options{.scope = BalanceOptions::Scope::micro,
                           .counts = BalanceOptions::Counts::share,
                           .nulls = BalanceOptions::Nulls::averaged,
                           .true_experts = 2};
    const auto choice = top_k(tape, p.value(), 2);
    check_close(balance_loss(tape, p, choice, batch.segments, options).value(), {1.113210});
}

TEST_CASE("AdaMoE vectors: gradient rows of Eq 6") {
    AnyRouter<double> router = published_router(BalanceLoss::adamoe_eq6);
    const auto gradient = test::penalty_gradient(router, test::batch_of(published_logits()), "balance");
    check_close(gradient, {0.084849, -0.074067, -0.007882, -0.002900, 0.063423, -0.030147, -0.029309,
                           -0.003967, 0.018299, -0.007517, -0.007882, -0.002900});
}

TEST_CASE("AdaMoE vectors: z-loss over E + M logits") {
    AnyRouter<double> router = published_router(BalanceLoss::adamoe_eq6);
    const auto outcome = test::decide(router, test::batch_of(published_logits()));
    const auto& z = penalty_value(outcome, "z");
    CHECK(std::abs((z.data()[0] + z.data()[1] + z.data()[2]) / 3 - 3.367606) <= kPrinted);
}

TEST_CASE("AdaMoE golden: the same vectors from autograd, with all digits") {
    const auto batch = test::batch_of(golden("published_adamoe.logits"));
    for (const auto& [balance, name] : {std::pair{BalanceLoss::adamoe_eq3, "adamoe_eq3"},
                                        std::pair{BalanceLoss::adamoe_eq6, "adamoe_eq6"}}) {
        AnyRouter<double> router = published_router(balance);
        const auto outcome = test::decide(router, batch);
        const std::string key = std::string("published_adamoe.") + name;
        CHECK(test::largest_difference(penalty_value(outcome, "balance"), golden(key)) <= 1e-12);
        CHECK(test::largest_difference(test::penalty_gradient(router, batch, "balance"),
                                       golden(std::string("published_adamoe.d") + name)) <= 1e-12);
        CHECK(test::largest_difference(outcome.weight, golden("published_adamoe.weight")) <= 1e-12);
        auto dz = test::penalty_gradient(router, batch, "z");
        for (double& value : dz.values()) value /= 3;  // the golden value is the mean over the tokens
        CHECK(test::largest_difference(dz, golden("published_adamoe.dz_loss")) <= 1e-12);
    }
}

TEST_CASE("AdaMoE golden: tokens with 0, 1, 2 and 3 true experts, both options, with gradients") {
    for (const auto& [weights, key] : {std::pair{NullWeights::over_true, "adamoe_over_true"},
                                       std::pair{NullWeights::over_all, "adamoe_over_selected"}}) {
        const std::string name = std::string(key) + ".";
        const auto batch = test::batch_of(golden(name + "logits"));
        auto nulls = test::null_router_on_logits(4, 4, 3);
        nulls.weights = weights;
        AnyRouter<double> router = std::move(nulls);
        const auto outcome = test::decide(router, batch);
        const auto choice = test::golden_choice(name + "expert"),
                   count = test::golden_choice(name + "true_count");
        for (std::size_t i = 0; i < choice.values().size(); ++i) {
            CHECK(outcome.expert.values()[i] == (choice.values()[i] < 4 ? choice.values()[i] : kNull));
        }
        std::vector<std::int64_t> histogram(4);
        for (std::int32_t n : count.values()) ++histogram[static_cast<std::size_t>(n)];
        CHECK(outcome.stats.experts_per_token() == histogram);
        CHECK(test::largest_difference(outcome.weight, golden(name + "weight")) <= 1e-12);
        CHECK(test::largest_difference(test::task_gradient(router, batch, golden(name + "dweight")),
                                       golden(name + "dlogits")) <= 1e-12);
    }
}

TEST_CASE("AdaMoE: under option 2 the nulls have exactly no task gradient, true rows sum to 0") {
    const auto batch = test::random_batch<double>(8, {40}, 3);
    const auto dweight = test::random_batch<double>(3, {40}, 4).x;
    AnyRouter<double> router = test::null_router_on_logits(4, 4, 3);
    const auto outcome = test::decide(router, batch);
    const auto dz = test::task_gradient(router, batch, dweight);
    const auto gate2 = test::parameter_gradients(router)[1];
    for (double value : gate2.values()) CHECK(value == 0.0);
    for (Index t = 0; t < 40; ++t) {
        double sum = 0;
        Index used = 0;
        for (Index k = 0; k < 3; ++k) used += outcome.expert.matrix()(t, k) >= 0;
        for (Index c = 0; c < 8; ++c) {
            const double value = dz.matrix()(t, c);
            sum += value;
            if (c >= 4 || used < 2) CHECK(value == 0.0);
        }
        CHECK(std::abs(sum) <= 1e-15);
    }
}

TEST_CASE("AdaMoE: under option 1 the nulls have a task gradient") {
    const auto batch = test::random_batch<double>(8, {40}, 3);
    auto nulls = test::null_router_on_logits(4, 4, 3);
    nulls.weights = NullWeights::over_all;
    AnyRouter<double> router = std::move(nulls);
    test::task_gradient(router, batch, test::random_batch<double>(3, {40}, 4).x);
    const auto gate2 = test::parameter_gradients(router)[1];
    CHECK(std::any_of(gate2.values().begin(), gate2.values().end(),
                      [](double v) { return std::abs(v) > 1e-3; }));
}

TEST_CASE("AdaMoE: identity nulls pass the token with the weight of its nulls") {
    auto nulls = test::null_router_on_logits(2, 2, 2);
    nulls.weights = NullWeights::over_all;
    nulls.null_map = NullMap::identity;
    AnyRouter<double> router = std::move(nulls);
    const auto outcome = test::decide(router, test::batch_of(published_logits()));
    // Over the two chosen: token 1 has logits 1 (true) and 0 (null), token 2 only nulls.
    check_close(outcome.weight, {0.731059, 0.268941, 0.731059, 0, 0, 0});
    check_close(outcome.passthrough, {0, 0.268941, 1});
}

TEST_CASE("AdaMoE: contradictory settings are an error with the way out") {
    auto router = test::null_router_on_logits(2, 2, 2);
    router.null_map = NullMap::identity;
    CHECK_THROWS_WITH_AS(router.check(), doctest::Contains("null_weights = \"all\""), Error);
    router.null_map = NullMap::zero;
    router.k = 5;
    CHECK_THROWS_WITH_AS(router.check(), doctest::Contains("top_k in [1, 4]"), Error);
    CHECK_THROWS_WITH_AS(router.check(), doctest::Contains("2 experts and 2 null experts"), Error);
    CHECK_THROWS_WITH_AS(copy_gate(*router.gate.weight, 3, "gate2"), doctest::Contains("multiple of the 2"),
                         Error);
}

TEST_CASE("AdaMoE: without null experts it is plain top-k, to the bit") {
    for (std::uint64_t seed = 0; seed < 200; ++seed) {
        const RouterSize size{
            .features = 5, .experts = 6, .nulls = 0, .slots = 1 + static_cast<Index>(seed % 6)};
        auto plain = BuiltinTopK<TopKWeights::renormalized, GateTraining::full>::make<float>(
            size, seed, {.balance = BalanceLoss::adamoe_eq3, .z = true});
        auto nulls =
            BuiltinNullExpert<NullWeights::over_true, NullMap::zero, GateTraining::full>::make<float>(
                size, seed, {.balance = BalanceLoss::adamoe_eq6, .z = true});
        const auto batch = test::random_batch<float>(5, {3, 4}, seed);
        const auto a = test::decide_and_learn(plain, batch), b = test::decide_and_learn(nulls, batch);
        CHECK(test::same_values(a.expert, b.expert));
        CHECK(test::same_values(a.weight, b.weight));
        CHECK(test::same_values(a.dx, b.dx));
        CHECK(test::same_values(a.penalties[0].value, b.penalties[0].value));
        CHECK(test::same_values(test::parameter_gradients(plain)[0], test::parameter_gradients(nulls)[0]));
    }
}

TEST_CASE("AdaMoE: a balanced router costs K, one that always takes the same K costs E + M") {
    for (BalanceLoss balance : {BalanceLoss::adamoe_eq3, BalanceLoss::adamoe_eq6}) {
        for (Index K : {1, 3, 4}) {
            auto nulls = test::null_router_on_logits(4, 4, K);
            nulls.penalties = {.balance = balance};
            AnyRouter<double> router = std::move(nulls);
            auto batch =
                test::batch_of(Tensor<double>::zeros({5, 8}));  // P uniform: sum of f is K, whoever is chosen
            check_close(penalty_value(test::decide(router, batch), "balance"), {static_cast<double>(K)},
                        1e-12);
            for (Index t = 0; t < 5; ++t) {
                for (Index e = 0; e < K; ++e) batch.x.matrix()(t, e) = 40;
            }
            check_close(penalty_value(test::decide(router, batch), "balance"), {8.0}, 1e-9);
        }
    }
}

TEST_CASE("AdaMoE: annealing is a step per epoch and scales the loss alone") {
    const EpochCoefficient anneal{{0.02, 0.0001}};
    CHECK(anneal.at(0) == 0.02);
    CHECK(anneal.at(1) == 0.0001);
    CHECK(anneal.at(7) == 0.0001);
    CHECK(EpochCoefficient{}.at(3) == 0);
    // The coefficient of a step reaches the gradient as a factor and changes nothing else.
    std::vector<Tensor<double>> gradients;
    for (Index epoch : {0, 1}) {
        AnyRouter<double> router = published_router(BalanceLoss::adamoe_eq6);
        Context context({.device = Device::cpu, .threads = 1});
        context.scalars().coefficient[1] = anneal.at(epoch);
        Tape tape(context);
        const auto batch = test::batch_of(published_logits());
        const auto routing = test::call_router(router, tape, Var<double>(batch.x), batch.segments);
        seed(tape, routing.penalties.front().value, 1);
        tape.backward();
        gradients.push_back(test::parameter_gradients(router)[0]);
    }
    for (std::size_t i = 0; i < gradients[0].values().size(); ++i) {
        CHECK(gradients[0].values()[i] == doctest::Approx(200 * gradients[1].values()[i]).epsilon(1e-12));
    }
}
