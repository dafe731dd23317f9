// Swapped experts of uncertain tokens against the formulas in plain loops, and the router contract.

#include "support/routing_golden.hpp"

#include <moegrad/routing/swapped_router.hpp>
#include <moegrad/testing/router_conformance.hpp>
#include <moegrad/testing/router_scope.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

using namespace moegrad;

namespace {

template <bool Raw>
struct SwappedEntry {
    static constexpr WeightSum sum = Raw ? WeightSum::at_most_one : WeightSum::one;
    static std::string method() { return "swap"; }
    static std::string name() { return Raw ? "swapped raw" : "swapped"; }
    static Index most_slots(const RouterSize& size) { return std::max<Index>(1, size.experts / 2); }
    template <class Real>
    static AnyRouter<Real> make(const RouterSize& size, std::uint64_t seed,
                                const PenaltySettings& penalties = {}) {
        SwappedRouter<Real> router;
        router.gate =
            detail::random_gate<Real>("layer.gate", size.experts, size, GateTraining::full, seed, 0);
        router.k = size.slots;
        router.tau = 0.8;
        router.weights = Raw ? TopKWeights::raw : TopKWeights::renormalized;
        router.penalties = penalties;
        return router;
    }
};

/// Whose logits are its input.
SwappedRouter<double> swapped_on_logits(Index E, Index K, double tau) {
    SwappedRouter<double> router;
    router.gate = test::unit_gate(E);
    router.k = K;
    router.tau = tau;
    router.check();
    return router;
}

struct SwappedReference {
    bool swapped = false;
    std::vector<Index> expert;
    std::vector<double> p;  // of these experts
};

SwappedReference swapped_by_hand(const std::vector<double>& z, std::size_t K, double tau) {
    const std::size_t E = z.size();
    std::vector<double> p(E);
    std::vector<std::size_t> rank(E);
    std::iota(rank.begin(), rank.end(), std::size_t{0});
    std::sort(rank.begin(), rank.end(), [&](std::size_t a, std::size_t b) { return z[a] > z[b]; });
    double sum = 0, h = 0;
    for (std::size_t e = 0; e < E; ++e) sum += p[e] = std::exp(z[e]);
    for (double& value : p) {
        value /= sum;
        h -= value * std::log(value + 1e-5);
    }
    SwappedReference out;
    out.swapped = h >= tau * std::log(static_cast<double>(E));
    for (std::size_t i = 0; i < K; ++i) {
        const std::size_t e = rank[out.swapped ? K + i : i];
        out.expert.push_back(static_cast<Index>(e));
        out.p.push_back(p[e]);
    }
    return out;
}

}  // namespace

TEST_CASE("swap: uncertain tokens get the experts that follow in rank, the others their best") {
    constexpr Index E = 6, K = 2, T = 60;
    AnyRouter<double> router = swapped_on_logits(E, K, 0.8);
    const auto batch = test::random_batch<double>(E, {T}, 4);
    const auto got = test::decide(router, batch);
    Index swapped = 0;
    for (Index t = 0; t < T; ++t) {
        std::vector<double> z;
        for (Index e = 0; e < E; ++e) z.push_back(batch.x.matrix()(t, e));
        const auto want = swapped_by_hand(z, K, 0.8);
        swapped += want.swapped ? 1 : 0;
        for (Index s = 0; s < K; ++s) {
            const auto i = static_cast<std::size_t>(s);
            CHECK(got.expert.matrix()(t, s) == want.expert[i]);
            CHECK(got.weight.matrix()(t, s) ==
                  doctest::Approx(want.p[i] / (want.p[0] + want.p[1])).epsilon(1e-12));
        }
    }
    CHECK(swapped > 5);
    CHECK(swapped < T - 5);
}

TEST_CASE("swap: above the largest entropy the plain router to the bit, from 0 on every token is swapped") {
    const auto batch = test::random_batch<double>(5, {30, 9}, 4);
    AnyRouter<double> none = swapped_on_logits(5, 2, 1.01), all = swapped_on_logits(5, 2, 0);
    AnyRouter<double> plain = TopKRouter<double>{.gate = test::unit_gate(5), .k = 2};
    const auto want = test::decide(plain, batch), same = test::decide(none, batch),
               other = test::decide(all, batch);
    CHECK(std::ranges::equal(same.expert.values(), want.expert.values()));
    CHECK(test::same_values(same.weight, want.weight));
    for (Index t = 0; t < batch.tokens(); ++t) {
        for (Index s = 0; s < 2; ++s) {
            const auto e = other.expert.matrix()(t, s);
            CHECK((e != want.expert.matrix()(t, 0) && e != want.expert.matrix()(t, 1)));
        }
    }
    CHECK_THROWS_WITH_AS(swapped_on_logits(5, 3, 0.5), doctest::Contains("6 experts or more"), Error);
}

TEST_CASE("swap: the router contract") {
    for (const auto& entry :
         {test::router_case<SwappedEntry<false>>(), test::router_case<SwappedEntry<true>>()}) {
        const auto report = test::check_router(entry);
        CHECK_MESSAGE(report.passed(), report.text());
    }
}
