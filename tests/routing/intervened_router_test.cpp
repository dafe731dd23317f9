// Blocked and stimulated experts against the formulas, written out in plain loops on a hand-made router.

#include "support/routing_golden.hpp"

#include <moegrad/routing/intervened_router.hpp>
#include <moegrad/routing/top_k_router.hpp>
#include <moegrad/testing/router_conformance.hpp>
#include <moegrad/testing/router_scope.hpp>

#include <doctest/doctest.h>

using namespace moegrad;

namespace {

/// An intervention of the suite's sizes: the last expert blocked, the first stimulated, where there are so many.
template <bool Raw>
struct IntervenedEntry {
    static constexpr WeightSum sum = Raw ? WeightSum::at_most_one : WeightSum::one;
    static constexpr bool relabels = false;  // the lists hold numbers of experts
    static std::string method() { return "intervene"; }
    static std::string name() { return Raw ? "intervene lists raw" : "intervene lists"; }
    static Index most_slots(const RouterSize& size) { return size.experts; }
    template <class Real>
    static AnyRouter<Real> make(const RouterSize& size, std::uint64_t seed,
                                const PenaltySettings& penalties = {}) {
        IntervenedRouter<Real> router;
        router.gate =
            detail::random_gate<Real>("layer.gate", size.experts, size, GateTraining::full, seed, 0);
        router.k = size.slots;
        router.raw = Raw;
        router.penalties = penalties;
        if (size.experts > 1) router.blocked = {size.experts - 1};
        if (size.experts > 2) router.stimulated = {0};
        router.check();
        return router;
    }
};

struct InterveneReference {
    std::vector<Index> expert;
    std::vector<double> weight;
};

/// The formulas, token by token.
InterveneReference intervened_by_hand(std::vector<double> z, const ExpertList& block,
                                      const ExpertList& stimulate, std::size_t k, bool raw) {
    for (const Index e : block) z[static_cast<std::size_t>(e)] = -INFINITY;
    double sum = 0, largest = 0;
    for (double& value : z) sum += value = std::exp(value);
    for (double& value : z) largest = std::max(largest, value /= sum);
    for (const Index e : stimulate) z[static_cast<std::size_t>(e)] = largest;
    sum = 0;
    for (const double value : z) sum += value;
    for (double& value : z) value /= sum;
    InterveneReference out;
    for (std::size_t i = 0; i < k; ++i) {
        std::size_t best = 0;
        for (std::size_t e = 1; e < z.size(); ++e) best = z[e] > z[best] ? e : best;
        out.expert.push_back(static_cast<Index>(best));
        out.weight.push_back(z[best]);
        z[best] = -1;
    }
    double all = 0;
    for (const double w : out.weight) all += w;
    for (double& w : out.weight) w = raw ? w : w / all;
    return out;
}

}  // namespace

TEST_CASE("intervene: block and stimulate are the formulas on a hand-made router") {
    constexpr Index E = 6, D = 6, T = 40;
    for (const bool raw : {false, true}) {
        for (const ExpertList& block : {ExpertList{}, ExpertList{0, 4}, ExpertList{5}}) {
            for (const ExpertList& stimulate : {ExpertList{}, ExpertList{2}, ExpertList{1, 3}}) {
                IntervenedRouter<double> mine;
                mine.gate = Gate<double>(std::make_shared<Parameter<double>>("gate", Shape{E, D}));
                for (Index e = 0; e < E; ++e) mine.gate.weight->value().matrix()(e, e) = 1;  // z = x
                mine.k = 3;
                mine.raw = raw;
                mine.blocked = block;
                mine.stimulated = stimulate;
                AnyRouter<double> router = std::move(mine);
                const auto batch = test::random_batch<double>(D, {T}, 4);
                const auto got = test::decide(router, batch);
                for (Index t = 0; t < T; ++t) {
                    std::vector<double> z;
                    for (Index e = 0; e < E; ++e) z.push_back(batch.x.matrix()(t, e));
                    const auto want = intervened_by_hand(z, block, stimulate, 3, raw);
                    for (Index s = 0; s < 3; ++s) {
                        CHECK(got.expert.matrix()(t, s) == want.expert[static_cast<std::size_t>(s)]);
                        CHECK(got.weight.matrix()(t, s) ==
                              doctest::Approx(want.weight[static_cast<std::size_t>(s)]).epsilon(1e-12));
                    }
                }
            }
        }
    }
}

TEST_CASE("intervene: without a list the plain router to the bit, with few open experts fewer slots") {
    const RouterSize size{.features = 5, .experts = 4, .slots = 2};
    const auto gate = detail::random_gate<float>("gate", 4, size, GateTraining::full, 7, 0);
    const auto batch = test::random_batch<float>(5, {30, 9}, 4);
    IntervenedRouter<float> mine;
    mine.gate = gate;
    AnyRouter<float> router = mine, plain = TopKRouter<float>{.gate = gate, .k = 2};
    const auto got = test::decide(router, batch), want = test::decide(plain, batch);
    CHECK(std::ranges::equal(got.expert.values(), want.expert.values()));
    CHECK(test::same_values(got.weight, want.weight));
    mine.blocked = {0, 1, 3};
    AnyRouter<float> one = mine;
    CHECK(one.slots() == 1);
    const auto only = test::decide(one, batch);
    for (const std::int32_t e : only.expert.values()) CHECK(e == 2);
}

TEST_CASE("intervene: options name a list for every layer, and what cannot be is refused") {
    const auto make = [](const char* options, int layer) {
        const RouterSize size{.features = 5, .experts = 4, .slots = 2};
        return IntervenedRouter<float>::make(
            {.path = "router",
             .layer = layer,
             .experts = 4,
             .features = 5,
             .top_k = 2,
             .gate = detail::random_gate<float>("gate", 4, size, GateTraining::full, 7, 0),
             .options = RouterOptions(options)});
    };
    CHECK(make("block=0-3/1,stimulate=/2", 1).blocked == ExpertList{1});
    CHECK(make("block=0-3/1,stimulate=/2", 1).stimulated == ExpertList{2});
    CHECK(make("block=0-3/1,stimulate=/2", 0).stimulated.empty());
    CHECK_THROWS_WITH_AS(make("block=0/1", 2), doctest::Contains("a list for every layer"), Error);
    CHECK_THROWS_AS(make("block=0-1-2-3", 0), Error);
    CHECK_THROWS_AS(make("block=1,stimulate=1-2", 0), Error);
    CHECK_THROWS_AS(make("block=4", 0), Error);
}

TEST_CASE("intervene: lists keep the router contract") {
    for (const auto& entry :
         {test::router_case<IntervenedEntry<false>>(), test::router_case<IntervenedEntry<true>>()}) {
        const auto report = test::check_router(entry);
        CHECK_MESSAGE(report.passed(), report.text());
    }
}
