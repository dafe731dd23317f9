// gw_moe: the acceptance list of methods.md 17, by its letters. Expected numbers are PyTorch's autograd over the equations
// (methods.md has no golden vectors). Shared experts (f) and a routed scaling factor (i) have no place here: no base that
// is read has either. What multiplies Routing.weight multiplies these weights too, and (f) below is the half that applies.
// (e) and (j): gw_slots_test.cpp.

#include "support/routing_layers.hpp"

#include <moegrad/autograd/checkpoint.hpp>
#include <moegrad/routing/dense_router.hpp>
#include <moegrad/routing/gw_router.hpp>
#include <moegrad/testing/router_scope.hpp>

#include <doctest/doctest.h>

using namespace moegrad;

namespace {

constexpr double kGwInfinity = std::numeric_limits<double>::infinity();

/// Four tokens whose logits are their features; 1 and 2 are uncertain at 0.77 ln 4.
Tensor<double> gw_logits() {
    return Tensor<double>::from({4, 4}, {2, 1, 0, -1, .1, 0, -.1, .05, -.3, .4, .2, .1, 5, 0, 1, 0});
}
GwRouter<double> gw_on_logits(Index E, Index k, const UncertainOptions& uncertain) {
    return {.gate = test::unit_gate(E), .k = k, .uncertain = uncertain};
}

template <class Router>
test::Outcome<double> gw_trained(Router router, const test::RouterBatch<double>& batch) {
    AnyRouter<double> any = std::move(router);
    return test::decide_and_learn(any, batch);
}

std::vector<std::int32_t> gw_experts(const test::Outcome<double>& outcome, Index t) {
    const auto* row = outcome.expert.matrix().row(t);
    return {row, row + outcome.expert.extent(1)};
}
bool gw_sent(const test::Outcome<double>& outcome, Index t) {
    const auto row = gw_experts(outcome, t);
    return std::none_of(row.begin(), row.end(), [](std::int32_t e) { return e < 0; });
}

void gw_check_values(const Tensor<double>& got, const std::vector<double>& want) {
    for (std::size_t i = 0; i < want.size(); ++i) CHECK(std::abs(got.values()[i] - want[i]) < 1e-14);
}

}  // namespace

TEST_CASE("gw_moe: experts, weights and gradients of PyTorch's autograd") {
    const auto batch = test::batch_of(gw_logits());
    const auto dw = Tensor<double>::from({4, 4}, {.5, -1, .25, 2, 1, -.5, .75, -2,  //
                                                  -.25, 1.5, -1, .5, 2, 1, -1.5, .75});
    auto router = gw_on_logits(4, 2, {.threshold = 0.77 * std::log(4.0)});
    for (bool raw : {false, true}) {
        router.weights = raw ? TopKWeights::raw : TopKWeights::renormalized;
        router.match_mass = raw;
        const auto got = gw_trained(router, batch);
        CHECK(gw_experts(got, 0) == std::vector<std::int32_t>{0, 1, -1, -1});
        CHECK(gw_experts(got, 1) == std::vector<std::int32_t>{0, 1, 2, 3});
        CHECK(gw_experts(got, 2) == std::vector<std::int32_t>{0, 1, 2, 3});
        CHECK(gw_experts(got, 3) == std::vector<std::int32_t>{0, 2, -1, -1});
        CHECK(got.traces.at(0).data()[0] == 0);
        CHECK(got.traces.at(0).data()[1] == 1);
        CHECK(got.stats.load() == 3);
        AnyRouter<double> any = router;
        const auto dz = test::task_gradient(any, batch, dw);
        if (!raw) {
            gw_check_values(
                got.weight,
                {0.7310585786300049, 0.2689414213699951, 0, 0, 0.27212383103585264, 0.2462278246605346,
                 0.22279614911444912, 0.25885219518916364, 0.16248805147047568, 0.3272107535802725,
                 0.26789750669399043, 0.24240368825526154, 0.9820137900379085, 0.017986209962091555, 0, 0});
            gw_check_values(dz, {0.2949178998622228, -0.2949178998622228, 0, 0, 0.3269832769213846,
                                 -0.07347503296031914, 0.2120122272791392, -0.4655204712402046,
                                 -0.08993688543453944, 0.3915081722202111, -0.3492039860569385,
                                 0.047632699271266794, 0.017662706213291118, 0, -0.017662706213291114, 0});
        } else {
            gw_check_values(got.weight, {0.6439142598879724, 0.23688281808991016, 0, 0, 0.1444912304445448,
                                         0.13074107188428075, 0.11829941391502637, 0.1374443099811644,
                                         0.09669798162594968, 0.19472582230618654, 0.15942801914047336,
                                         0.1442564372016535, 0.9691880269670815, 0.01775129791721383, 0, 0});
            gw_check_values(
                dz,
                {0.26717656739099027, -0.2570354608289635, -0.007413742948970681, -0.0027273636130560547,
                 0.17362028102175087, -0.039013481028022344, 0.11257340995179231, -0.2471802099455208,
                 -0.05352218342543447, 0.23298974725312635, -0.20781417662318266, 0.02834661279549074,
                 0.04252084529698503, -0.012774171913737425, -0.016972501469510518, -0.012774171913737425});
        }
    }
}

TEST_CASE("gw_moe: (a) above ln E and outside training it is top-k, to the bit") {
    for (std::uint64_t seed = 0; seed < 50; ++seed) {
        const Index E = 2 + static_cast<Index>(seed % 9), k = 1 + static_cast<Index>(seed) % E;
        const auto batch = test::random_batch<double>(E, {5, 8}, seed);
        for (TopKWeights weights : {TopKWeights::renormalized, TopKWeights::raw}) {
            const TopKRouter<double> plain{.gate = test::unit_gate(E), .k = k, .weights = weights};
            auto router = gw_on_logits(E, k, {.threshold = std::log(static_cast<double>(E)) + 1e-9});
            router.weights = weights;
            const auto training = gw_trained(plain, batch), got = gw_trained(router, batch);
            router.uncertain.threshold = -kGwInfinity;
            AnyRouter<double> any = router, top = plain;
            const auto inference = test::decide(any, batch);
            for (Index t = 0; t < batch.tokens(); ++t) {
                for (Index slot = 0; slot < E; ++slot) {
                    const std::int32_t want = slot < k ? training.expert.matrix()(t, slot) : kUnused;
                    const double weight = slot < k ? training.weight.matrix()(t, slot) : 0;
                    CHECK(got.expert.matrix()(t, slot) == want);
                    CHECK(got.weight.matrix()(t, slot) == weight);
                    CHECK(inference.expert.matrix()(t, slot) == want);
                    CHECK(inference.weight.matrix()(t, slot) == weight);
                }
            }
            // The same dL/dw gives the same bits of dL/dz.
            router.uncertain.threshold = kGwInfinity;
            any = router;
            auto narrow = Tensor<double>::zeros({batch.tokens(), k});
            auto wide = Tensor<double>::zeros({batch.tokens(), E});
            for (Index t = 0; t < batch.tokens(); ++t)
                for (Index slot = 0; slot < k; ++slot)
                    narrow.matrix()(t, slot) = wide.matrix()(t, slot) = std::sin(3.0 * (t + slot) + 1);
            const auto dz = test::task_gradient(any, batch, wide);
            CHECK(test::same_values(dz, test::task_gradient(top, batch, narrow)));
        }
    }
}

TEST_CASE(
    "gw_moe: (b) a threshold of -infinity is the dense mixture; 0 is not, for a sure token is below it") {
    const auto batch = test::random_batch<double>(5, {9}, 1);
    const auto got = gw_trained(gw_on_logits(5, 2, {.threshold = -kGwInfinity}), batch);
    AnyRouter<double> dense = DenseRouter<double>{.gate = test::unit_gate(5)};
    const auto want = test::decide(dense, batch);
    for (Index t = 0; t < 9; ++t) {
        REQUIRE(gw_sent(got, t));
        for (Index slot = 0; slot < 5; ++slot) {
            const std::int32_t e = want.expert.matrix()(t, slot);
            CHECK(got.weight.matrix()(t, e) == want.weight.matrix()(t, slot));
        }
    }
    const auto sure = test::batch_of(Tensor<double>::from({1, 3}, {900, 0, 0}));
    CHECK_FALSE(gw_sent(gw_trained(gw_on_logits(3, 1, {.threshold = 0}), sure), 0));
    CHECK(gw_sent(gw_trained(gw_on_logits(3, 1, {.threshold = -kGwInfinity}), sure), 0));
}

TEST_CASE("gw_moe: (c) with k = E an uncertain token is routed like any other") {
    const auto batch = test::random_batch<double>(4, {7}, 2);
    const auto dense = gw_trained(gw_on_logits(4, 4, {.threshold = -kGwInfinity}), batch);
    auto router = gw_on_logits(4, 4, {.threshold = kGwInfinity});
    router.weights = TopKWeights::raw;
    const auto plain = gw_trained(router, batch);
    for (Index t = 0; t < 7; ++t) {
        for (Index slot = 0; slot < 4; ++slot)
            CHECK(plain.weight.matrix()(t, slot) == dense.weight.matrix()(t, plain.expert.matrix()(t, slot)));
    }
}

TEST_CASE("gw_moe: (d) a checkpointed segment broadcasts the tokens that it broadcast at first") {
    const auto batch = test::random_batch<double>(4, {6, 5}, 3);
    const auto gradients = [&](bool replayed) {
        auto layer = test::random_layer<double>(4, 4, 3, 5);
        test::train_experts(layer.experts);
        layer.router = gw_on_logits(4, 2, {.threshold = 1.1, .slots = 3});
        Tape tape(test::routing_context());
        const Var<double> x(batch.x,
                            std::make_shared<Gradient<double>>(Tensor<double>::zeros(batch.x.shape())));
        const auto token = Tensor<std::int32_t>::zeros({batch.tokens()});
        const auto run = [&](Tape& inner, const Var<double>& in) {
            Forward<double> forward{inner, token, batch.segments};
            return layer(forward, in);
        };
        const auto y = replayed ? checkpoint(tape, x, run) : run(tape, x);
        test::detail::seed_rows(y, batch.row);
        tape.backward();
        return std::vector{test::copy_of(x.gradient()->tensor()),
                           test::copy_of(layer.experts.down.gradients()[0]->tensor())};
    };
    CHECK(test::same_list(gradients(true), gradients(false)));

    Selections held;  // the mask is what was recorded, not what the scores say now
    auto router = gw_on_logits(4, 2, {.threshold = 1.1});
    const auto token = Tensor<std::int32_t>::zeros({batch.tokens()});
    const auto route = [&](Mode mode, const Tensor<double>& x) {
        Tape tape(test::routing_context(), mode);
        tape.set_selections(&held);
        const auto routing = router.route(
            tape, {.x = Var<double>(x), .token = token, .segments = batch.segments, .mode = mode});
        return test::detail::outcome_of(routing);
    };
    const auto first = route(Mode::inference, batch.x);
    held.rewind();
    const auto again = route(Mode::training, test::random_batch<double>(4, {6, 5}, 4).x);
    CHECK(first.stats.load() > 2);
    CHECK(test::same_values(first.expert, again.expert));
    CHECK(test::same_values(first.traces.at(0), again.traces.at(0)));
}

TEST_CASE(
    "gw_moe: (f) a layer is the sum over what was routed and nothing else: every expert of a sent token "
    "runs") {
    auto layer = test::random_layer<double>(4, 4, 3, 7);
    layer.router = gw_on_logits(4, 1, {.threshold = 1.1});
    const auto batch = test::random_batch<double>(4, {8}, 7);
    const auto got = test::run_layer(layer, batch);
    CHECK(got.routing.stats.load() > 1.5);
    CHECK(test::largest_difference(got.y, test::plain_loop(layer.experts, batch.x, got.routing)) < 1e-13);
}

TEST_CASE("gw_moe: (g) the entropy of normalised sigmoids, where experts are scored one by one") {
    // PyTorch: 1.304465, 1.385576, 1.378823, 1.343130
    const auto batch = test::batch_of(gw_logits());
    auto router = gw_on_logits(4, 2, {.threshold = 1.37});
    router.score = GwScore::sigmoid;
    const auto high = gw_trained(router, batch);
    router.uncertain.threshold = 1.3431;
    const auto low = gw_trained(router, batch);
    for (Index t = 0; t < 4; ++t) {
        CHECK(gw_sent(high, t) == (t == 1 || t == 2));
        CHECK(gw_sent(low, t) == (t > 0));
    }
}

TEST_CASE("gw_moe: (h) raw weights jump at the threshold, and do not with match_mass") {
    const auto batch = test::random_batch<double>(8, {20}, 8);
    auto router = gw_on_logits(8, 2, {.threshold = kGwInfinity});
    router.weights = TopKWeights::raw;
    const auto sum = [&](Index t) {
        const auto got = gw_trained(router, batch);
        double all = 0;
        for (Index slot = 0; slot < 8; ++slot) all += got.weight.matrix()(t, slot);
        return all;
    };
    for (Index t : {0, 7, 19}) {
        router.uncertain.threshold = kGwInfinity;
        const double before = sum(t);
        router.uncertain.threshold = -kGwInfinity;
        CHECK(sum(t) == doctest::Approx(1).epsilon(1e-14));
        router.match_mass = true;
        CHECK(sum(t) == doctest::Approx(before).epsilon(1e-14));
        router.match_mass = false;
    }
}

TEST_CASE("gw_moe: a quantile sends that share of a micro-batch") {
    const auto batch = test::random_batch<double>(6, {60, 40}, 9);
    for (double quantile : {0.5, 0.9, 0.95}) {
        const auto got = gw_trained(gw_on_logits(6, 2, {.quantile = quantile}), batch);
        Index sent = 0;
        for (Index t = 0; t < 100; ++t) sent += gw_sent(got, t);
        CHECK(sent == static_cast<Index>(std::lround(100 * (1 - quantile))));
    }
}

TEST_CASE("gw_moe: options") {
    const auto made = [](const std::string& options) {
        return GwRouter<double>::make(test::build_on_logits(8, options));
    };
    CHECK(made("").uncertain.threshold == doctest::Approx(0.77 * std::log(8.0)));
    CHECK(made("").uncertain.slots == -1);
    CHECK(made("tau=0.87").uncertain.threshold == doctest::Approx(0.87 * std::log(8.0)));
    CHECK(made("threshold=1.6, slots=8").uncertain.threshold == 1.6);
    CHECK(made("threshold=1.6").scope() == RouterScope::token);
    CHECK(made("slots=8").scope() == RouterScope::sequence);
    CHECK(made("quantile=0.9, slots=8").scope() == RouterScope::batch);
    for (const char* wrong : {"threshold=1, tau=0.8", "quantile=1.5", "quantile=-1", "slots=1.5", "slots=-2",
                              "weights=some", "score=tanh"}) {
        CAPTURE(wrong);
        CHECK_THROWS_AS(made(wrong), Error);
    }
}
