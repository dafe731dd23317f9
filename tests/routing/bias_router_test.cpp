// Bias balancing: DeepSeek-V3's router against a torch reference, the update of the bias by hand, and the acceptance list
// of the method (perturbations, weights, recentring, the control of the load by one bias of all nulls).

#include "support/routing_golden.hpp"

#include <moegrad/methods/router_registry.hpp>
#include <moegrad/routing/bias_router.hpp>
#include <moegrad/testing/router_scope.hpp>

#include <doctest/doctest.h>

using namespace moegrad;

namespace {

/// A router whose logits are its input: E true columns, then the nulls.
BiasRouter<double> bias_on_logits(Index E, Index K, const std::string& options, Index M = 0) {
    auto router = BiasRouter<double>::make({.path = "layer.router",
                                            .experts = E,
                                            .features = E + M,
                                            .top_k = K,
                                            .gate = test::gate_of(test::unit_rows(0, E, E + M)),
                                            .options = RouterOptions(options)});
    if (M > 0) router.gate2 = test::gate_of(test::unit_rows(E, E + M, E + M));
    return router;
}

void set_bias(const BiasRouter<double>& router, const std::vector<double>& b) {
    std::copy(b.begin(), b.end(), router.bias.b->value().values().begin());
}

/// Totals as a step of `tokens` tokens would have them, K slots each, by column.
RoutingTotals bias_totals(std::int64_t tokens, const std::vector<std::int64_t>& slots, Index K) {
    const RoutingWords at{static_cast<Index>(slots.size()), K};
    std::vector<std::int64_t> words(static_cast<std::size_t>(at.count()));
    words[static_cast<std::size_t>(at.tokens())] = tokens;
    std::copy(slots.begin(), slots.end(), words.begin() + at.slots());
    RoutingTotals totals;
    totals.add(words, at);
    return totals;
}

/// The numbers of the torch reference: DeepSeek-V3's gate as its inference code has it, in double.
struct DeepSeekGolden {
    Tensor<double> z =
        Tensor<double>::from({3, 8}, {1.2, -0.7, 0.3,  2.1,  -1.5, 0.4, 0.9,  -0.2, -2.2, -1.9, -0.1, 0.2,
                                      0.6, 1.4,  -0.8, -1.1, 0.5,  0.8, -0.3, 1.1,  1.7,  -2.4, 0.1,  0.7});
    std::vector<double> b{-0.9, -1.3, -0.75, -1.2, -0.8, -0.95, -0.7, -1.05};

    BiasRouter<double> router(const std::string& options = "groups=4, top_groups=2, scale=2.5") const {
        auto made = bias_on_logits(8, 3, options);
        set_bias(made, b);
        return made;
    }
};

template <class Values>
bool near(const Tensor<double>& got, const Values& want) {
    double worst = got.size() == static_cast<Index>(std::size(want)) ? 0 : INFINITY;
    for (std::size_t i = 0; i < std::size(want); ++i)
        worst = std::max(worst, std::abs(got.values()[i] - want[i]));
    return worst <= 1e-12;
}

/// Any size: every expert a group, half of the groups or as many as the slots kept; a bias that matters.
struct GroupedBiasEntry {
    static constexpr WeightSum sum = WeightSum::one;
    static std::string name() { return "bias in groups"; }
    static std::string method() { return "bias"; }
    static Index most_slots(const RouterSize& size) { return size.experts; }

    template <class Real>
    static AnyRouter<Real> make(const RouterSize& size, std::uint64_t seed,
                                const PenaltySettings& penalties) {
        RouterBuild<Real> build{
            .path = "layer.router",
            .experts = size.experts,
            .features = size.features,
            .top_k = size.slots,
            .seed = seed,
            .gate = moegrad::detail::random_gate<Real>("layer.gate", size.experts, size, GateTraining::full,
                                                       seed, 0),
            .penalties = penalties,
            .options = RouterOptions(format("groups={}, top_groups={}", size.experts,
                                            std::max(size.slots, (size.experts + 1) / 2)))};
        auto router = BiasRouter<Real>::make(std::move(build));
        fill_normal(router.bias.b->value(), 0.2, seed, 9);
        return router;
    }
};

}  // namespace

TEST_CASE("bias golden: DeepSeek-V3's router in groups, choices, weights and gradients") {
    const DeepSeekGolden golden;
    AnyRouter<double> router = golden.router();
    const auto outcome = test::decide(router, test::batch_of(golden.z));
    // With dropped groups at 0 instead of -inf the reference chooses 6 4 1, 1 7 6 and 1 5 4.
    const std::vector<std::int32_t> chosen{6, 2, 3, 5, 4, 2, 6, 2, 7};
    CHECK(std::equal(chosen.begin(), chosen.end(), outcome.expert.values().begin()));
    CHECK(near(outcome.weight, std::vector{0.816696998642022, 0.659885797289749, 1.023417204068229,
                                           1.042956154281149, 0.839447448064087, 0.617596397654765,
                                           0.810791468866927, 0.657242010942442, 1.031966520190632}));
    const auto dz =
        test::task_gradient(router, test::batch_of(golden.z),
                            Tensor<double>::from({3, 3}, {1.0, -2.0, 0.5, 0.3, 0.7, -1.1, -0.4, 1.5, 0.2}));
    CHECK(near(dz, std::vector{0.0,
                               0.0,
                               -0.562608516527005,
                               0.055440181747627,
                               0.0,
                               0.0,
                               0.235251393222298,
                               0.0,
                               0.0,
                               0.0,
                               -0.385327971372386,
                               0.0,
                               0.181905063470012,
                               0.043644057609608,
                               0.0,
                               0.0,
                               0.0,
                               0.0,
                               0.435246153354491,
                               0.0,
                               0.0,
                               0.0,
                               -0.287769432266598,
                               -0.05039583836652}));
    AnyRouter<double> plain = bias_on_logits(8, 3, "");
    CHECK(near(test::decide(plain, test::batch_of(golden.z)).weight,
               std::vector{0.375848653636814, 0.324220422641518, 0.299930923721668, 0.401558918732674,
                           0.32320400833135, 0.275237072935975, 0.369912539691497, 0.328230892983148,
                           0.301856567325355}));
}

TEST_CASE("bias golden: DeepSeek's sequence loss over sigmoid scores") {
    const DeepSeekGolden golden;
    auto made = golden.router();
    made.penalties = {.balance = BalanceLoss::seq, .scope = BalanceOptions::Scope::micro};
    AnyRouter<double> router = std::move(made);
    auto batch = test::batch_of(golden.z);
    batch.segments = Segments::of_lengths({2, 1});
    const auto outcome = test::decide(router, batch);
    CHECK(outcome.penalties.at(0).unit == PenaltyUnit::sequence);
    CHECK(near(outcome.penalties.at(0).value, std::vector{1.188050014304578, 0.936329876629165}));
    auto dz = test::penalty_gradient(router, batch, "balance");
    for (double& value : dz.values()) value /= 2;  // the mean over sequences
    CHECK(near(dz, std::vector{-0.010306061742114, -0.012844620398886, 0.02199014185614,  0.001556135263007,
                               0.002387908414303,  0.003846693289843,  0.003290161490486, -0.01433952107379,
                               -0.009162633580415, -0.011548167531665, 0.025516201091565, 3.549034063e-05,
                               3.2804391786e-05,   2.2753147409e-05,   3.0671594675e-05,  -0.019117987301965,
                               -0.023864966681258, -0.021722838896586, 0.045876753630817, -0.019027682118643,
                               -0.013263202400206, -0.007743805383341, 0.046799648898136, 0.04160818584772}));
}

TEST_CASE("bias golden 1c: dz = c u (g - sum u g) (1 - s) over the chosen, 0 elsewhere") {
    auto made = bias_on_logits(3, 2, "scale=2.5");
    set_bias(made, {0.4, 0, -0.1});
    AnyRouter<double> router = std::move(made);
    const std::vector<double> z{0.5, -1, 2}, g{0.7, -1.3};
    const auto dz = test::task_gradient(router, test::batch_of(Tensor<double>::from({1, 3}, {0.5, -1, 2})),
                                        Tensor<double>::from({1, 2}, {g[0], g[1]}));
    // s0 + 0.4 = 1.022 comes before s2 - 0.1 = 0.781: slot 0 is expert 0.
    const double s0 = 1 / (1 + std::exp(-0.5)), s2 = 1 / (1 + std::exp(-2.0));
    const double u0 = s0 / (s0 + s2), u2 = s2 / (s0 + s2), mean = u0 * g[0] + u2 * g[1];
    CHECK(
        near(dz, std::vector{2.5 * u0 * (g[0] - mean) * (1 - s0), 0.0, 2.5 * u2 * (g[1] - mean) * (1 - s2)}));
}

TEST_CASE("bias: perturbing b below the gap of the choice changes nothing, and weights do not see b") {
    const DeepSeekGolden golden;
    const auto batch = test::batch_of(golden.z);
    AnyRouter<double> router = golden.router("");
    const auto want = test::decide(router, batch);
    auto moved = golden.router("");
    for (std::size_t e = 0; e < 8; ++e) moved.bias.b->value().values()[e] += e % 2 == 0 ? 1e-3 : -1e-3;
    auto shifted = golden.router("");
    for (double& b : shifted.bias.b->value().values()) b += 7;
    for (auto* other : {&moved, &shifted}) {
        AnyRouter<double> again = std::move(*other);
        const auto got = test::decide(again, batch);
        CHECK(test::same_values(got.expert, want.expert));
        CHECK(test::same_values(got.weight, want.weight));
    }
    auto zero = golden.router("");
    set_bias(zero, std::vector<double>(8));
    AnyRouter<double> other = std::move(zero);
    CHECK_FALSE(test::same_values(test::decide(other, batch).expert, want.expert));
}

TEST_CASE("bias: one update by hand; sum b is constant with recentring; sign(0) = 0; rate 0 stays") {
    auto router = bias_on_logits(4, 2, "rate=0.01");
    // Mean 2.5: under, at no expert exactly, over, under, over.
    router.after_step(bias_totals(5, {1, 4, 0, 5}, 2));
    CHECK(near(router.bias.b->value(), std::vector{0.01, -0.01, 0.01, -0.01}));
    router.after_step(bias_totals(6, {3, 3, 3, 3}, 2));
    CHECK(near(router.bias.b->value(), std::vector{0.01, -0.01, 0.01, -0.01}));
    router.after_step(bias_totals(6, {9, 1, 1, 1}, 2));  // changes -.01 .01 .01 .01, mean .005
    CHECK(near(router.bias.b->value(), std::vector{-0.005, -0.005, 0.015, -0.005}));
    double sum = 0;
    for (double b : router.bias.b->value().values()) sum += b;
    CHECK(std::abs(sum) <= 1e-15);
    auto drifting = bias_on_logits(4, 2, "rate=0.01, recentre=false");
    drifting.after_step(bias_totals(6, {9, 1, 1, 1}, 2));
    CHECK(near(drifting.bias.b->value(), std::vector{-0.01, 0.01, 0.01, 0.01}));
    auto frozen = bias_on_logits(4, 2, "rate=0");
    frozen.after_step(bias_totals(6, {9, 1, 1, 1}, 2));
    frozen.after_step(bias_totals(0, {0, 0, 0, 0}, 2));
    CHECK(near(frozen.bias.b->value(), std::vector<double>(4)));
}

TEST_CASE("bias: nulls share one bias; their target is (K - load) T, that of a true expert load T / E") {
    auto router = bias_on_logits(2, 2, "nulls=2, load=0.5, rate=0.1, recentre=false", 2);
    // 10 tokens: 2.5 slots of each true expert, 15 of the nulls together.
    router.after_step(bias_totals(10, {3, 2, 0, 15}, 2));
    CHECK(near(router.bias.b->value(), std::vector{-0.1, 0.1, 0.0, 0.0}));
    router.after_step(bias_totals(10, {4, 4, 11, 1}, 2));
    CHECK(near(router.bias.b->value(), std::vector{-0.2, 0.0, 0.1, 0.1}));
}

TEST_CASE("bias: one bias of all nulls steers the load from a biased start, without a null loss") {
    // E = M = 8, K = 3, every true logit + 3: load 3 at the start.
    const Index T = 256, E = 8, M = 8;
    auto made = bias_on_logits(E, 3, "nulls=8, load=1.5, rate=0.005", M);
    AnyRouter<double> router = std::move(made);
    double last = 0, start = 0, worst = 0;
    for (std::uint64_t step = 0; step < 400; ++step) {
        auto batch = test::random_batch<double>(E + M, {T}, step);
        for (Index t = 0; t < T; ++t) {
            for (Index e = 0; e < E; ++e) batch.x.matrix()(t, e) += 3 - 0.2 * static_cast<double>(e);
        }
        const auto stats = test::decide(router, batch).stats;
        router.after_step(stats);
        if (step == 0) start = stats.load();
        if (step < 350) continue;
        last += stats.load() / 50;
        for (std::size_t e = 0; e < 8; ++e) {
            worst = std::max(worst, static_cast<double>(stats.slots()[e]) / (1.5 * T / 8));
        }
    }
    CHECK(start > 2.7);
    CHECK(last == doctest::Approx(1.5).epsilon(0.02));
    CHECK(worst < 1.6);  // experts are balanced too: the favoured one had all tokens at first
}

TEST_CASE("bias: state and set_state bring b back; on a GPU after_step moves what lies there") {
    auto router = bias_on_logits(4, 2, "");
    router.after_step(bias_totals(6, {9, 1, 1, 1}, 2));
    auto other = bias_on_logits(4, 2, "");
    other.set_state(router.state());
    CHECK(test::same_values(other.bias.b->value(), router.bias.b->value()));
    CHECK_THROWS_WITH_AS(other.set_state(std::vector<double>(3)), doctest::Contains("4 values"), Error);
    if (!has_cuda()) return;
    const void* place = nullptr;
    for (auto* parameter : other.parameters()) parameter->move_to(Device::cuda);
    place = other.bias.b->value().data();
    router.after_step(bias_totals(6, {0, 4, 4, 4}, 2));
    other.after_step(bias_totals(6, {0, 4, 4, 4}, 2));
    CHECK(other.bias.b->value().data() == place);  // where a recorded step reads it
    CHECK(test::same_values(host(other.bias.b->value()), router.bias.b->value()));
    CHECK(other.state() == router.state());
}

TEST_CASE("bias: raw scores, softmax scores and identity nulls weigh as they say") {
    const auto batch = test::batch_of(Tensor<double>::from({1, 4}, {0.3, -0.2, 1.1, 0.6}));
    const auto sigma = [](double z) { return 1 / (1 + std::exp(-z)); };
    AnyRouter<double> raw = bias_on_logits(4, 2, "normalise=false, scale=0.5");
    CHECK(near(test::decide(raw, batch).weight, std::vector{0.5 * sigma(1.1), 0.5 * sigma(0.6)}));
    AnyRouter<double> softened = bias_on_logits(4, 2, "score=softmax");
    CHECK(near(test::decide(softened, batch).weight, std::vector{sigma(0.5), sigma(-0.5)}));
    AnyRouter<double> identity = bias_on_logits(2, 2, "nulls=2, null_map=identity", 2);
    const auto outcome = test::decide(identity, batch);  // both slots are null
    CHECK(outcome.passthrough.values()[0] == doctest::Approx(1).epsilon(1e-15));
}

TEST_CASE("bias: the conformance suite in groups, with a bias that is not zero") {
    const auto report = test::check_router(test::router_case<GroupedBiasEntry>(), 100);
    INFO(report.text());
    CHECK(report.passed());
}

TEST_CASE("bias: options that do not fit are errors") {
    for (const char* options :
         {"score=tanh", "groups=9", "groups=4, top_groups=5", "groups=8, top_groups=1", "nulls=1, load=3",
          "nulls=1, null_map=identity, null_weights=true", "scale=0", "rate=-1", "groups=2, group_best=3"}) {
        CAPTURE(options);
        CHECK_THROWS_AS(bias_on_logits(8, 2, options), Error);
    }
}
