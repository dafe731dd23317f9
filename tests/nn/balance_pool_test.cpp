// Balance losses over several routers at once, and those of one router by their names, against torch.

#include "support/routing_golden.hpp"

#include <moegrad/nn/balance_pool.hpp>

#include <doctest/doctest.h>

using namespace moegrad;

namespace {

/// Routers whose logits are their input, E true columns and M nulls, run one after another in one pass.
struct PooledPass {
    struct Result {
        std::vector<double> penalties;  // by router, those there are
        std::vector<Tensor<double>> dz;
    };

    Index E, M, K;
    BalanceLoss balance;
    Segments segments;

    Result run(const std::vector<Tensor<double>>& logits, const std::vector<int>& layers,
               bool recomputed = false) const {
        Tape tape(test::routing_context());
        const auto token = Tensor<std::int32_t>::zeros({segments.tokens()});
        const std::vector<std::string> names{"balance"};
        Forward<double> forward{tape, token, segments, {}, &names};
        std::vector<Var<double>> x;
        for (std::size_t i = 0; i < logits.size(); ++i) {
            auto router = test::null_router_on_logits(E, M, K);
            router.penalties = {.balance = balance};
            x.emplace_back(logits[i],
                           std::make_shared<Gradient<double>>(Tensor<double>::zeros(logits[i].shape())));
            const RouteInput<double> input{.x = x.back(), .token = token, .segments = segments};
            forward.routings.push_back({format("router {}", i), layers[i], router.route(tape, input)});
        }
        pool_balance(forward, recomputed);
        Result result;
        for (const auto& record : forward.routings) {
            for (const auto& penalty : record.routing.penalties) {
                CHECK(penalty.name == "balance");
                CHECK(penalty.unit == PenaltyUnit::batch);
                result.penalties.push_back(penalty.value.value().data()[0]);
                test::detail::seed_constant(penalty.value, 1.0);
            }
        }
        forward.routings.clear();
        tape.backward();
        for (const auto& one : x) result.dz.push_back(one.gradient()->tensor());
        return result;
    }
};

Tensor<double> published_logits() {
    return Tensor<double>::from({3, 4}, {2, 1, 0, -1, 1, -1, 0, -2, -1, -2, 1, 0});
}
Tensor<double> other_logits() {
    return Tensor<double>::from({3, 4}, {0, 1, -1, 2, 3, 0, 0.5, -1, 2, 1.5, 0.2, 0});
}

double pooled_difference(const Tensor<double>& got, const std::vector<double>& want) {
    return test::largest_difference(got, Tensor<double>::from(got.shape(), want));
}

/// One router on the published rows, as the routing suites run it.
test::Outcome<double> one_router(BalanceLoss balance, BalanceOptions::Scope scope, Tensor<double>& dz) {
    auto nulls = test::null_router_on_logits(2, 2, 2);
    nulls.penalties = {.balance = balance, .scope = scope};
    AnyRouter<double> router = std::move(nulls);
    dz = test::penalty_gradient(router, test::batch_of(published_logits()), "balance");
    return test::decide(router, test::batch_of(published_logits()));
}

}  // namespace

TEST_CASE("balance golden: hf_concat pools the tokens of all layers") {
    const auto logits = test::golden("balance.logits");
    PooledPass pass{4, 2, 2, BalanceLoss::hf_concat, Segments::of_lengths({logits.extent(1)})};
    const auto valid = test::golden_choice("balance.valid");
    for (Index t = 0; t < valid.size(); ++t)
        pass.segments.valid.data()[t] = static_cast<std::uint8_t>(valid.data()[t]);
    const auto got = pass.run({test::copy_of(logits.slice(0)), test::copy_of(logits.slice(1))}, {0, 1});
    REQUIRE(got.penalties.size() == 1);
    CHECK(std::abs(got.penalties[0] - test::golden("balance.hf_concat").data()[0]) <= 1e-12);
    for (Index l : {0, 1}) {
        CHECK(test::largest_difference(got.dz[static_cast<std::size_t>(l)],
                                       test::golden("balance.dhf_concat").slice(l)) <= 1e-12);
    }
}

TEST_CASE("balance golden: adamoe_exp1 pools the routers of a layer, counts over T k (methods.md 2)") {
    PooledPass pass{2, 2, 2, BalanceLoss::adamoe_exp1, Segments::of_lengths({3})};
    const auto alone = pass.run({published_logits()}, {0});
    CHECK(std::abs(alone.penalties.at(0) - 1.113210) < 1e-6);
    // Half of the published gradient of Eq 6.
    CHECK(pooled_difference(alone.dz[0], {.0424245, -.0370335, -.003941, -.001450, .0317115, -.0150735,
                                          -.0146545, -.0019835, .0091495, -.0037585, -.003941, -.001450}) <
          1e-6);
    // Two routers of one layer, from torch; two layers have a value each.
    const auto pooled = pass.run({published_logits(), other_logits()}, {0, 0});
    REQUIRE(pooled.penalties.size() == 1);
    CHECK(std::abs(pooled.penalties[0] - 1.097831082454041) <= 1e-12);
    CHECK(pooled_difference(pooled.dz[0],
                            {0.01487038424756, -0.007689647913554, -0.005249538897855, -0.001931197436151,
                             0.017548682997124, -0.002466395057379, -0.013284435146549, -0.001797852793197,
                             0.006551578728233, 0.000629157605773, -0.005249538897855, -0.001931197436151}) <=
          1e-12);
    CHECK(pooled_difference(pooled.dz[1],
                            {0.006055765765414, 0.00330112147698, -0.000443758547695, -0.0089131286947,
                             0.008415149127439, -0.001985814265793, -0.005256460081783, -0.001172874779862,
                             0.01615191369421, -0.007871557644074, -0.004552821266217, -0.003727534783919}) <=
          1e-12);
    const auto apart = pass.run({published_logits(), other_logits()}, {0, 1});
    REQUIRE(apart.penalties.size() == 2);
    CHECK(apart.penalties[0] == alone.penalties[0]);
}

TEST_CASE("balance: routers of another kind or size have a pool of their own") {
    const auto kept = [](const std::vector<std::pair<std::string, Index>>& routers) {
        Tape tape(test::routing_context(), Mode::inference);
        const auto token = Tensor<std::int32_t>::zeros({3});
        const Segments segments = Segments::of_lengths({3});
        Forward<double> forward{tape, token, segments};
        for (const auto& [name, E] : routers) {
            auto router = test::null_router_on_logits(E, 0, 2);
            router.penalties = {.balance = BalanceLoss::hf_concat};
            const Var<double> x(Tensor<double>::zeros({3, E}));
            const RouteInput<double> input{.x = x, .token = token, .segments = segments};
            forward.routings.push_back({name, 0, router.route(tape, input)});
        }
        pool_balance(forward);
        std::vector<std::size_t> count;
        for (const auto& record : forward.routings) count.push_back(record.routing.penalties.size());
        return count;
    };
    using Counts = std::vector<std::size_t>;
    const std::string layer = "model.layers.";
    CHECK(kept({{layer + "0.mlp.perft", 4},
                {layer + "0.mlp", 4},
                {layer + "1.mlp.perft", 4},
                {layer + "1.mlp", 4}}) == Counts{0, 0, 1, 1});
    CHECK(kept({{layer + "0.self_attn.q_proj", 4}, {layer + "0.mlp.down_proj", 4}}) == Counts{0, 1});
    // MoLA with 2-4-6-8 experts: the pool is one per size.
    CHECK(kept({{layer + "0.mlp.up_proj", 2},
                {layer + "0.mlp.down_proj", 2},
                {layer + "1.mlp.up_proj", 4},
                {layer + "1.mlp.down_proj", 4}}) == Counts{0, 1, 0, 1});
}

TEST_CASE("balance golden: hf_concat of one layer is Eq 3; hf_v5_double_softmax is not") {
    PooledPass pass{2, 2, 2, BalanceLoss::hf_concat, Segments::of_lengths({3})};
    CHECK(std::abs(pass.run({published_logits()}, {0}).penalties.at(0) - 2.374629) < 1e-6);
    pass.balance = BalanceLoss::hf_v5_double_softmax;  // from torch
    const auto got = pass.run({published_logits()}, {0});
    CHECK(std::abs(got.penalties.at(0) - 2.102312696163304) <= 1e-12);
    CHECK(pooled_difference(got.dz[0], {0.023874185921132, -0.021914038706215, 0.000648331794033,
                                        -0.00260847900895, 0.012338500820807, -0.008695803413696,
                                        -0.000537935362994, -0.003104762044117, 0.000648331794033,
                                        -0.00260847900895, 0.023874185921132, -0.021914038706215}) <= 1e-12);
}

TEST_CASE("balance golden: cv2 of the importance, and seq, by name") {
    Tensor<double> dz;
    for (auto scope : {BalanceOptions::Scope::sequence, BalanceOptions::Scope::micro}) {
        const auto importance = one_router(BalanceLoss::cv2, scope, dz);  // from torch
        CHECK(std::abs(importance.penalties.at(0).value.data()[0] - 0.471027510018047) <= 1e-12);
        CHECK(pooled_difference(dz, {0.237538458051427, -0.198667044372139, -0.009891750176494,
                                     -0.028979663502794, 0.167619215823562, -0.082548061713402,
                                     -0.052610416514338, -0.032460737595822, 0.056718754237386,
                                     -0.017847340558098, 0.108468901899355, -0.147340315578643}) <= 1e-12);
        const auto seq = one_router(BalanceLoss::seq, scope, dz);  // counts over T k: half of Eq 3
        CHECK(std::abs(seq.penalties.at(0).value.data()[0] - 2.374629 / 2) < 1e-6);
        CHECK(seq.penalties.at(0).unit == PenaltyUnit::sequence);
    }
}

TEST_CASE("balance: a uniform router gives K or 1 by name, cv2 0") {
    // Equal logits: P is uniform, whatever f is.
    const auto flat = Tensor<double>::zeros({5, 6});
    const std::pair<BalanceLoss, double> values[] = {
        {BalanceLoss::switch_share, 1},         {BalanceLoss::seq, 1},         {BalanceLoss::adamoe_eq3, 3},
        {BalanceLoss::adamoe_eq6, 3},           {BalanceLoss::adamoe_exp1, 1}, {BalanceLoss::hf_concat, 3},
        {BalanceLoss::hf_v5_double_softmax, 3}, {BalanceLoss::cv2, 0}};
    for (const auto& [balance, value] : values) {
        CAPTURE(kBalanceLossNames[static_cast<int>(balance)]);
        CHECK(balance_loss_named(kBalanceLossNames[static_cast<int>(balance)]) == balance);
        if (is_pooled(balance)) {
            const PooledPass pass{4, 2, 3, balance, Segments::of_lengths({5})};
            CHECK(pass.run({flat, flat}, {0, 0}).penalties.at(0) == doctest::Approx(value).epsilon(1e-13));
            continue;
        }
        auto nulls = test::null_router_on_logits(4, 2, 3);
        nulls.penalties = {.balance = balance};
        AnyRouter<double> router = std::move(nulls);
        const double got = test::decide(router, test::batch_of(flat)).penalties.at(0).value.data()[0];
        CHECK(std::abs(got - value) <= 1e-12);
    }
}

TEST_CASE("balance: padding enters no pooled loss, recomputed layers are refused, global_batch says why") {
    PooledPass pass{2, 2, 2, BalanceLoss::hf_concat, Segments::of_lengths({3})};
    const auto want = pass.run({published_logits(), other_logits()}, {0, 1});
    PooledPass padded{2, 2, 2, BalanceLoss::hf_concat, Segments::of_lengths({4})};
    padded.segments.valid.data()[1] = 0;
    const auto widened = [](const Tensor<double>& z) {
        auto wide = Tensor<double>::zeros({4, 4});
        copy_values(z.rows(0, 1), wide.rows(0, 1));
        copy_values(z.rows(1, 3), wide.rows(2, 4));
        for (Index c = 0; c < 4; ++c) wide.matrix()(1, c) = 9.0 * static_cast<double>(c);
        return wide;
    };
    const auto got = padded.run({widened(published_logits()), widened(other_logits())}, {0, 1});
    CHECK(got.penalties == want.penalties);
    for (Index c = 0; c < 4; ++c) CHECK(got.dz[0].matrix()(1, c) == 0);
    CHECK_THROWS_WITH_AS(pass.run({published_logits()}, {0}, true),
                         doctest::Contains("train.checkpointing = false"), Error);
    CHECK_THROWS_WITH_AS(balance_loss_named("global_batch"), doctest::Contains("whole step"), Error);
    CHECK_THROWS_WITH_AS(balance_loss_named("swich"), doctest::Contains("did you mean `switch`"), Error);
}
