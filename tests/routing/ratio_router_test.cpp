// ratio, a control: experts after the first only where their probability comes near that of the first.

#include <moegrad/routing/ratio_router.hpp>
#include <moegrad/testing/router_scope.hpp>
#include "support/routing_golden.hpp"

#include <doctest/doctest.h>

using namespace moegrad;

namespace {

RatioRouter<double> ratio_on_logits(Index E, Index k, double threshold) {
    RatioRouter<double> router;
    router.gate = test::unit_gate(E);
    router.k = k;
    router.threshold = threshold;
    router.check();
    return router;
}

}  // namespace

TEST_CASE("ratio: 0 is top-K and above 1 top-1, to the bit; between them p_k / p_1 decides") {
    const auto batch = test::random_batch<double>(6, {60}, 2);
    const auto p = test::softmax_of(batch.x);
    for (Index K : {1, 2, 4}) {
        const auto top = [&](Index k) {
            return test::decided(TopKRouter<double>{.gate = test::unit_gate(6), .k = k}, batch);
        };
        const auto all = test::decided(ratio_on_logits(6, K, 0), batch), want = top(K), one = top(1);
        CHECK(test::same_values(all.expert, want.expert));
        CHECK(test::same_values(all.weight, want.weight));
        const auto alone = test::decided(ratio_on_logits(6, K, 1.5), batch);
        double load = static_cast<double>(K);
        for (double threshold : {0.0, 0.3, 0.6, 1.5}) {
            const auto got = test::decided(ratio_on_logits(6, K, threshold), batch);
            CHECK(got.stats.load() <= load);
            load = got.stats.load();
            for (Index t = 0; t < 60; ++t) {
                for (Index k = 1; k < K; ++k) {
                    const double best = p.matrix()(t, want.expert.matrix()(t, 0));
                    const double own = p.matrix()(t, want.expert.matrix()(t, k));
                    CHECK((got.expert.matrix()(t, k) >= 0) == (own / best >= threshold));
                }
            }
        }
        for (Index t = 0; t < 60; ++t) {
            CHECK(alone.expert.matrix()(t, 0) == one.expert.matrix()(t, 0));
            CHECK(alone.weight.matrix()(t, 0) == 1);
        }
    }
    CHECK_THROWS_AS(ratio_on_logits(4, 2, -0.1), Error);
    CHECK_THROWS_AS(ratio_on_logits(4, 5, 0.5), Error);
}
