// gw_moe: items (e) and (j) of the acceptance list of methods.md 17, and 24.13: padding, and the cap on broadcast tokens.

#include "support/routing_golden.hpp"

#include <moegrad/routing/gw_router.hpp>

#include <doctest/doctest.h>

using namespace moegrad;

namespace {

/// Top-2 of four experts, in training.
test::Outcome<double> gw_with_slots(Index slots, const test::RouterBatch<double>& batch) {
    AnyRouter<double> router =
        GwRouter<double>{.gate = test::unit_gate(4), .k = 2, .uncertain = {.threshold = 1, .slots = slots}};
    return test::decide_and_learn(router, batch);
}

bool gw_has_all(const test::Outcome<double>& outcome, Index t) {
    for (Index slot = 0; slot < 4; ++slot) {
        if (outcome.expert.matrix()(t, slot) < 0) return false;
    }
    return true;
}

std::vector<Index> gw_sent_tokens(const test::Outcome<double>& outcome) {
    std::vector<Index> sent;
    for (Index t = 0; t < outcome.expert.extent(0); ++t) {
        if (gw_has_all(outcome, t)) sent.push_back(t);
    }
    return sent;
}

/// Random tokens that a threshold of 1 sends, all of them: their four logits are nearly equal.
test::RouterBatch<double> gw_uncertain_batch(const std::vector<Index>& lengths) {
    auto batch = test::random_batch<double>(4, lengths, 6);
    for (double& value : batch.x.values()) value *= 0.01;
    return batch;
}

}  // namespace

TEST_CASE("gw_moe: (e) padding is never broadcast, sent to anyone, or given a slot of the sequence") {
    auto batch = gw_uncertain_batch({6, 1, 5});
    batch.segments.valid.data()[0] = batch.segments.valid.data()[2] = batch.segments.valid.data()[8] = 0;
    const std::vector<std::pair<Index, std::vector<Index>>> sent_by_slots{
        {1, {1, 6, 7}}, {2, {1, 3, 6, 7, 9}}, {-1, {1, 3, 4, 5, 6, 7, 9, 10, 11}}};
    for (const auto& [slots, sent] : sent_by_slots) {
        CAPTURE(slots);
        const auto got = gw_with_slots(slots, batch);
        for (Index t : {0, 2, 8}) {
            for (Index slot = 0; slot < 4; ++slot) CHECK(got.expert.matrix()(t, slot) == kUnused);
            CHECK(got.traces.at(0).data()[t] == 0);
        }
        CHECK(gw_sent_tokens(got) == sent);
    }
}

TEST_CASE("gw_moe: (j) the slot cap counts per sequence, in its order; -1 is unlimited") {
    const auto batch = gw_uncertain_batch({6, 1, 5});
    const std::vector<std::pair<Index, std::vector<Index>>> sent_by_slots{
        {0, {}}, {1, {0, 6, 7}}, {3, {0, 1, 2, 6, 7, 8, 9}}, {-1, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}}};
    for (const auto& [slots, sent] : sent_by_slots) {
        CAPTURE(slots);
        const auto got = gw_with_slots(slots, batch);
        CHECK(gw_sent_tokens(got) == sent);
        for (Index t = 0; t < 12; ++t) {
            CHECK(got.traces.at(0).data()[t] == (gw_has_all(got, t) ? 1 : 0));
            CHECK(got.expert.matrix()(t, 1) >= 0);  // who has no slot keeps its top-k, not the code's top-1
        }
    }
}
