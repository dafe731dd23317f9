// sparsemixer: against top-k where nothing is near, and the default in the conformance suite, whose central differences
// see the third that Heun's rule puts on the value and not on the gradient.

#include <moegrad/testing/router_scope.hpp>
#include "support/routing_golden.hpp"

#include <doctest/doctest.h>

using namespace moegrad;

namespace {

/// Logits are the features themselves.
SparsemixerRouter<double> sparsemixer_router(Index E, Index k, const std::string& options) {
    return SparsemixerRouter<double>::make(test::build_on_logits(E, options, k));
}

}  // namespace

TEST_CASE("sparsemixer: as published, it keeps all of the contract but the differences of its value") {
    for (const auto& router : {test::router_case<Named<SparsemixerRouter, "sparsemixer">>(),
                               test::router_case<Named<SparsemixerRouter, "sparsemixer", "jitter=0.3">>()}) {
        const auto report = test::check_router(router, 100);
        INFO(report.text());
        for (const auto& failure : report.failures) CHECK(failure.check == "gradient");
        CHECK(report.names("gradient"));
    }
}

TEST_CASE("sparsemixer: where no logit is near another it is top-k with weights 1, and nothing is learned") {
    const auto batch =
        test::batch_of(Tensor<double>::from({3, 4}, {1, 5, 3, 2, -1, -9, -4, -2, 0.5, 0.1, 3, 8}));
    AnyRouter<double> mixer = sparsemixer_router(4, 2, "");
    AnyRouter<double> top = TopKRouter<double>{.gate = test::unit_gate(4), .k = 2};
    CHECK(test::same_values(test::decide(mixer, batch).expert, test::decide(top, batch).expert));
    const auto learned = test::decide_and_learn(mixer, batch);
    for (double w : learned.weight.values()) CHECK(w == 1);
    for (double g : learned.dx.values()) CHECK(g == 0);
}

TEST_CASE("sparsemixer: outside training the best is taken in full, in training near ties are drawn") {
    auto equal = Tensor<double>::zeros({400, 3});
    for (Index t = 0; t < 400; ++t) {
        for (Index e = 0; e < 3; ++e) equal.matrix()(t, e) = 1 + 0.005 * static_cast<double>(e);
    }
    const auto batch = test::batch_of(equal);
    AnyRouter<double> mixer = sparsemixer_router(3, 1, "");
    const auto plain = test::decide(mixer, batch), drawn = test::decide_and_learn(mixer, batch);
    Index best = 0, whole = 0;
    for (Index t = 0; t < 400; ++t) {
        CHECK(plain.expert.data()[t] == 2);
        CHECK(plain.weight.data()[t] > 1.0 / 3);
        best += drawn.expert.data()[t] == 2;
        whole += drawn.weight.data()[t] > 0.3;
    }
    CHECK(std::abs(static_cast<double>(best) - 400.0 / 3) < 40);
    CHECK(whole > best + 30);  // a quarter of the others
    CHECK(whole < best + 110);
    AnyRouter<double> still = sparsemixer_router(3, 1, "sample=false");
    CHECK(test::same_values(test::decide_and_learn(still, batch).weight, plain.weight));
    CHECK_THROWS_AS(sparsemixer_router(3, 1, "jitter=1"), Error);
}
