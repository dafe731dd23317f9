// dyn_mole (DynMoLE): golden rows of methods.md 4, its three switches, its two penalties, its limits.

#include <moegrad/routing/dyn_mole_router.hpp>
#include <moegrad/testing/router_scope.hpp>
#include "support/routing_golden.hpp"

#include <doctest/doctest.h>

using namespace moegrad;

namespace {

/// Logits are the features.
DynMoleRouter<double> dyn_mole_on_logits(Index E) {
    DynMoleRouter<double> router;
    router.gate = test::unit_gate(E);
    router.penalties.scope = BalanceOptions::Scope::micro;
    return router;
}

test::RouterBatch<double> dyn_mole_rows() {
    return test::batch_of(
        Tensor<double>::from({4, 4}, {1, .5, 0, -.5, 0, 0, 0, 0, 2, 1, 0, -1, 4, 1, 0, -1}));
}
test::RouterBatch<double> dyn_mole_wide_row() {
    return test::batch_of(Tensor<double>::from({1, 8}, {1.2, 1.15, 1.1, 1.05, -1.5, -1.6, -1.7, -1.8}));
}

struct DynMoleToken {
    std::vector<std::int32_t> experts;
    double sum = 0;
};
DynMoleToken dyn_mole_token(const test::Outcome<double>& outcome, Index t) {
    DynMoleToken token;
    for (Index k = 0; k < outcome.expert.extent(1); ++k) {
        if (outcome.expert.matrix()(t, k) >= 0) token.experts.push_back(outcome.expert.matrix()(t, k));
        token.sum += outcome.weight.matrix()(t, k);
    }
    return token;
}

using DynMoleExperts = std::vector<std::int32_t>;

}  // namespace

TEST_CASE("dyn_mole golden: h, kept experts and sums of weights, four columns") {
    const auto got = test::decided(dyn_mole_on_logits(4), dyn_mole_rows());
    const double h[] = {.895446, .999704, .677228, .209377}, sums[] = {.731059, 1, .880797, .976691};
    const DynMoleExperts kept[] = {{0, 1}, {0, 1, 2, 3}, {0, 1}, {0, 1}};
    const double p[] = {.455054, .276004, .25, .25, .643914, .236883, .930370, .046320};
    for (Index t = 0; t < 4; ++t) {
        const auto token = dyn_mole_token(got, t);
        CHECK(std::abs(got.traces.at(0).data()[t] - h[t]) < 1e-6);
        CHECK(token.experts == kept[t]);
        CHECK(std::abs(token.sum - sums[t]) < 1e-6);
        for (Index k : {0, 1}) CHECK(std::abs(got.weight.matrix()(t, k) - p[2 * t + k]) < 1e-6);
    }
}

TEST_CASE("dyn_mole golden: eight columns, where the expert that crosses top_p is dropped") {
    const auto got = test::decided(dyn_mole_on_logits(8), dyn_mole_wide_row());
    CHECK(std::abs(got.traces.at(0).data()[0] - .782070) < 1e-6);
    CHECK(dyn_mole_token(got, 0).experts == DynMoleExperts{0, 1, 2});
    CHECK(std::abs(dyn_mole_token(got, 0).sum - .723128) < 1e-6);
    auto crossing = dyn_mole_on_logits(8);
    crossing.prefix.crossing = true;
    const auto with = dyn_mole_token(test::decided(std::move(crossing), dyn_mole_wide_row()), 0);
    CHECK(with.experts == DynMoleExperts{0, 1, 2, 3});
    CHECK(std::abs(with.sum - .941051) < 1e-6);
}

TEST_CASE("dyn_mole: a token on the threshold stays sparse") {
    auto on = dyn_mole_on_logits(4), below = dyn_mole_on_logits(4);
    const double h = test::decided(dyn_mole_on_logits(4), dyn_mole_rows()).traces.at(0).data()[2];
    on.threshold = h;
    below.threshold = std::nextafter(h, 0);
    CHECK(dyn_mole_token(test::decided(std::move(on), dyn_mole_rows()), 2).experts.size() == 2);
    CHECK(dyn_mole_token(test::decided(std::move(below), dyn_mole_rows()), 2).experts.size() == 4);
}

TEST_CASE("dyn_mole: the other reading's switches: raw entropy, renormalised weights") {
    auto raw = dyn_mole_on_logits(4);
    raw.uncertainty.normalize = false;  // 0.9 against a maximum of 1.294494
    const auto got = test::decided(std::move(raw), dyn_mole_rows());
    CHECK(std::abs(got.traces.at(0).data()[1] - .999704 * 1.294494) < 2e-6);
    CHECK(dyn_mole_token(got, 0).experts.size() == 4);  // 1.159 > 0.9
    CHECK(dyn_mole_token(got, 2).experts.size() == 2);  // 0.877
    auto scaled = dyn_mole_on_logits(4);
    scaled.renormalize = true;
    const auto want = test::decided(dyn_mole_on_logits(4), dyn_mole_rows());
    const auto one = test::decided(std::move(scaled), dyn_mole_rows());
    CHECK(test::same_values(one.expert, want.expert));
    for (Index t = 0; t < 4; ++t) CHECK(std::abs(dyn_mole_token(one, t).sum - 1) < 1e-15);
}

TEST_CASE("dyn_mole golden: soft balance and entropy with their gradients, by PyTorch in double") {
    AnyRouter<double> router = dyn_mole_on_logits(4);
    const auto batch = dyn_mole_rows();
    const auto got = test::decide(router, batch);
    CHECK(std::abs(test::penalty_value(got, "balance").data()[0] - 1.5195165914621576) < 1e-13);
    // autograd through F and P: E sum_e F_e P_e with F_e = mean of the masked p. Switch's f would leave F out.
    const std::vector<double> balance{
        0.224149165124746,  -0.0669279829060799, -0.0978637919345957, -0.0593573902840702,
        0.166346330241504,  -0.0174200920940767, -0.0703466805973582, -0.0785795575500688,
        0.194800922237723,  -0.102461177560116,  -0.067505762495069,  -0.0248339821825381,
        0.0550373848358581, -0.0313083999320591, -0.0173472779761043, -0.00638170692769491};
    const std::vector<double> entropy{
        -0.155590585470727, 0.0113506008067901, 0.0678792204229378, 0.0763607642409988, 0, 0, 0, 0,
        -0.244240868847224, 0.0934497733304177, 0.0953913450070414, 0.0553997505097658,  //
        -0.157669791464582, 0.0934269023569345, 0.0445012537318613, 0.0197416353757874};
    const auto by_balance = test::penalty_gradient(router, batch, "balance");
    const auto by_entropy = test::penalty_gradient(router, batch, "entropy");
    for (std::size_t i = 0; i < 16; ++i) {
        CHECK(std::abs(by_balance.values()[i] - balance[i]) < 1e-13);
        CHECK(std::abs(by_entropy.values()[i] - entropy[i]) < 1e-12);
    }
    const std::vector<PenaltyCoefficient> want{{"balance", 1e-3}, {"entropy", 1e-2}};
    CHECK(router.coefficients() == want);
}

TEST_CASE(
    "dyn_mole: a threshold above the maximum leaves the top-p part, below it the dense softmax, to the bit") {
    const auto batch = test::random_batch<double>(6, {50}, 1);
    auto never = dyn_mole_on_logits(6), always = dyn_mole_on_logits(6);
    never.threshold = 1.01;
    always.threshold = -1;
    TopPRouter<double> part;
    part.gate = test::unit_gate(6);
    part.prefix = never.prefix;
    part.weights = SlotWeights::raw;
    AnyRouter<double> a = std::move(never), b = std::move(part), c = std::move(always);
    const auto got = test::decide(a, batch), want = test::decide(b, batch), dense = test::decide(c, batch);
    CHECK(test::same_values(got.expert, want.expert));
    CHECK(test::same_values(got.weight, want.weight));
    const auto g = test::random_batch<double>(6, {50}, 4).x;
    CHECK(test::same_values(test::task_gradient(a, batch, g), test::task_gradient(b, batch, g)));
    Tape tape(test::routing_context());
    CHECK(test::same_values(dense.weight, softmax(tape, Var<double>(batch.x)).value()));
    CHECK(dense.stats.load() == 6);
}

TEST_CASE("dyn_mole: ties go to the lowest index; an untrained router sends every token everywhere") {
    const auto three = test::batch_of(Tensor<double>::from({2, 4}, {0, 0, 0, -60, -60, 0, 0, 0}));
    const auto got = test::decided(dyn_mole_on_logits(4), three);
    CHECK(std::abs(got.traces.at(0).data()[0] - .803) < 5e-4);
    CHECK(dyn_mole_token(got, 0).experts == DynMoleExperts{0, 1});
    CHECK(dyn_mole_token(got, 1).experts == DynMoleExperts{1, 2});
    auto untrained = test::random_batch<double>(8, {20}, 1);
    for (double& x : untrained.x.values()) x *= 0.01;
    CHECK(test::decided(dyn_mole_on_logits(8), untrained).stats.load() == 8);
    const auto sure = test::batch_of(Tensor<double>::from({1, 4}, {200, 0, 0, 0}));
    const auto one_hot = test::decided(dyn_mole_on_logits(4), sure);
    CHECK(one_hot.traces.at(0).data()[0] < 0);
    CHECK(one_hot.traces.at(0).data()[0] > -1e-3);
}

TEST_CASE(
    "dyn_mole: a replay keeps the mask of the forward, though the scores have moved over the threshold") {
    auto router = dyn_mole_on_logits(4);
    const auto batch = dyn_mole_rows();
    Selections selections;
    const auto run = [&](const Tensor<double>& x) {
        Tape tape(test::routing_context(), Mode::inference);
        tape.set_selections(&selections);
        const auto token = Tensor<std::int32_t>::zeros({4});
        const RouteInput<double> input{.x = Var<double>(x), .token = token, .segments = batch.segments};
        return test::copy_of(router.route(tape, input).expert);
    };
    const auto first = run(batch.x);
    selections.rewind();
    CHECK(test::same_values(run(test::random_batch<double>(4, {4}, 9).x), first));
}

TEST_CASE("dyn_mole: options are read; router.aux replaces the soft balance") {
    const auto make = [](const std::string& options, BalanceLoss balance) {
        auto build = test::build_on_logits(4, options);
        build.penalties.balance = balance;
        return DynMoleRouter<double>::make(std::move(build));
    };
    const auto usual = make("", BalanceLoss::by_method);
    CHECK(usual.soft_balance);
    CHECK(usual.threshold == 0.9);
    CHECK(usual.prefix.keep == 2);
    CHECK_FALSE(usual.prefix.crossing);
    CHECK_FALSE(usual.renormalize);
    CHECK(usual.uncertainty.normalize);
    CHECK_FALSE(make("", BalanceLoss::none).soft_balance);
    CHECK_FALSE(make("", BalanceLoss::switch_share).soft_balance);
    const auto given = make(
        "p=0.5, keep=1, crossing=true, threshold=0.5, q=1.4, eps=0, normalize=false, "
        "renormalize=true, soft_balance=true",
        BalanceLoss::switch_share);
    CHECK(given.penalties.balance == BalanceLoss::none);
    CHECK(given.uncertainty.q == 1.4);
    CHECK(given.renormalize);
    AnyRouter<double> bad = make("q=3", BalanceLoss::none);
    CHECK_THROWS_WITH_AS(test::decide(bad, dyn_mole_rows()), doctest::Contains("q in (0, 2]"), Error);
}
