// Every balance definition the configuration names, and the z-loss, on a router over 4 true and 2 null columns with
// padding and two sequences, against values and gradients of an independent autograd.

#include "support/routing_golden.hpp"

#include <doctest/doctest.h>

using namespace moegrad;
using test::golden;

namespace {

struct Definition {
    const char* golden_name;
    BalanceLoss balance;
    BalanceOptions::Scope scope;
};

/// Layer `l` of the golden case: logits as input, valid and segments as stored.
test::RouterBatch<double> layer_batch(Index l) {
    auto batch = test::batch_of(test::copy_of(golden("balance.logits").slice(l)));
    const auto begin = test::golden_choice("balance.begin"), valid = test::golden_choice("balance.valid");
    std::vector<Index> lengths;
    for (Index s = 0; s + 1 < begin.size(); ++s) lengths.push_back(begin.data()[s + 1] - begin.data()[s]);
    batch.segments = Segments::of_lengths(lengths);
    for (Index t = 0; t < valid.size(); ++t) {
        batch.segments.valid.data()[t] = static_cast<std::uint8_t>(valid.data()[t]);
    }
    return batch;
}

}  // namespace

TEST_CASE("balance golden: every definition that the configuration names, values and gradients") {
    const Definition definitions[] = {
        {"switch_per_layer", BalanceLoss::switch_share, BalanceOptions::Scope::micro},
        {"seq", BalanceLoss::switch_share, BalanceOptions::Scope::sequence},
        {"adamoe_eq3", BalanceLoss::adamoe_eq3, BalanceOptions::Scope::micro},
        {"adamoe_eq6", BalanceLoss::adamoe_eq6, BalanceOptions::Scope::micro},
    };
    for (const auto& definition : definitions) {
        CAPTURE(definition.golden_name);
        const auto want = golden(std::string("balance.") + definition.golden_name);
        const auto gradient = golden(std::string("balance.d") + definition.golden_name);
        for (Index l : {0, 1}) {
            auto nulls = test::null_router_on_logits(4, 2, 2);
            nulls.penalties = {.balance = definition.balance, .scope = definition.scope};
            AnyRouter<double> router = std::move(nulls);
            const auto batch = layer_batch(l);
            const auto penalty = test::decide(router, batch).penalties.at(0);
            CHECK(penalty.name == "balance");
            double mean = 0;
            const auto groups = static_cast<double>(penalty.value.size());
            for (double value : penalty.value.values()) mean += value / groups;
            CHECK(std::abs(mean - want.data()[l]) <= 1e-12);
            auto dz = test::penalty_gradient(router, batch, "balance");
            for (double& value : dz.values()) value /= groups;
            CHECK(test::largest_difference(dz, gradient.slice(l)) <= 1e-12);
        }
    }
}

TEST_CASE("balance golden: z-loss over the valid tokens") {
    for (Index l : {0, 1}) {
        auto nulls = test::null_router_on_logits(4, 2, 2);
        nulls.penalties = {.z = true};
        AnyRouter<double> router = std::move(nulls);
        const auto batch = layer_batch(l);
        const auto outcome = test::decide(router, batch);
        const auto tokens = static_cast<double>(outcome.stats.tokens());
        double mean = 0;
        for (double value : outcome.penalties.at(0).value.values()) mean += value / tokens;
        CHECK(std::abs(mean - golden("balance.z_loss").data()[l]) <= 1e-12);
        auto dz = test::penalty_gradient(router, batch, "z");
        for (double& value : dz.values()) value /= tokens;
        CHECK(test::largest_difference(dz, golden("balance.dz_loss").slice(l)) <= 1e-12);
    }
}

TEST_CASE("balance: names of the configuration") {
    CHECK(balance_loss_named("none") == BalanceLoss::none);
    CHECK(balance_loss_named("switch") == BalanceLoss::switch_share);
    CHECK(balance_loss_named("adamoe_eq3") == BalanceLoss::adamoe_eq3);
    CHECK(balance_loss_named("adamoe_eq6") == BalanceLoss::adamoe_eq6);
    CHECK_THROWS_WITH_AS(balance_loss_named("Switch"), doctest::Contains("adamoe_eq6"), Error);
}

TEST_CASE("balance: hf_concat is the sum form over the pooled tokens of all layers") {
    // Both layers as one batch of 16 tokens and one segment: E sum f P with statistics over all of them.
    const auto logits = golden("balance.logits");
    auto pooled = test::batch_of(logits.reshape({16, 6}));
    const auto valid = test::golden_choice("balance.valid");
    for (Index t = 0; t < 16; ++t)
        pooled.segments.valid.data()[t] = static_cast<std::uint8_t>(valid.data()[t % 8]);
    auto nulls = test::null_router_on_logits(4, 2, 2);
    nulls.penalties = {.balance = BalanceLoss::adamoe_eq3, .scope = BalanceOptions::Scope::micro};
    AnyRouter<double> router = std::move(nulls);
    CHECK(test::largest_difference(test::decide(router, pooled).penalties.at(0).value,
                                   golden("balance.hf_concat")) <= 1e-12);
    CHECK(test::largest_difference(test::penalty_gradient(router, pooled, "balance"),
                                   golden("balance.dhf_concat").reshape({16, 6})) <= 1e-12);
}
