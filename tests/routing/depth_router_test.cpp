// The penalty of the router of Mixture-of-Depths. What it chooses is tested with the layer (tests/methods).

#include <moegrad/routing/depth_router.hpp>
#include <moegrad/testing/router_scope.hpp>
#include "support/routing_golden.hpp"

#include <doctest/doctest.h>

using namespace moegrad;

namespace {

struct DepthEntry {
    static constexpr WeightSum sum = WeightSum::at_most_one;  // not asked: see the test
    static std::string name() { return "mod"; }
    static Index most_slots(const RouterSize&) { return 1; }
    template <class Real>
    static AnyRouter<Real> make(const RouterSize& size, std::uint64_t seed, const PenaltySettings&) {
        return DepthRouter<Real>{detail::random_gate<Real>("gate", 1, size, GateTraining::full, seed, 0),
                                 0.4};
    }
};

}  // namespace

// Not `contract`, nor `edges` that asks it: a weight is a logit, which may be negative and sums to nothing; nor
// `relabelling`: there is one expert.
TEST_CASE("mod: keeps what the conformance suite asks of a sequence, threads, padding and gradients") {
    const auto router = test::router_case<DepthEntry>();
    test::Report report;
    test::check_gradient(router, report);
    test::check_threads(router, report);
    Random random(37);
    for (std::uint64_t seed = 500; seed < 600; ++seed) {
        test::check_split(router, random, seed, report);
        test::check_padding(router, random, seed, report);
    }
    INFO(report.text());
    CHECK(report.passed());
}

TEST_CASE("mod golden: the penalty is the cross entropy of sigmoid(r) against membership") {
    // torch.nn.functional.binary_cross_entropy_with_logits of the logits
    // 0.5, -1, 3, -30, 40, 0 and the members 0, 0, 1, 0, 1, 0.
    const std::vector<double> r{0.5, -1, 3, -30, 40, 0};
    const std::vector<double> want{0.9740769841801067,    0.3132616875182228,    0.04858735157374206,
                                   9.237055564881302e-14, 4.248354255291589e-18, 0.6931471805599453};
    const std::vector<double> gradient{
        0.6224593312018546, 0.2689414213699951, -0.047425873177566635, 9.357622968839299e-14, 0, 0.5};
    DepthRouter<double> router{test::gate_of(Tensor<double>::from({1, 1}, {1})), 1.0 / 3};
    auto batch = test::batch_of(Tensor<double>::from({6, 1}, {0.5, -1, 3, -30, 40, 0}));
    AnyRouter<double> any(std::move(router));
    CHECK(any.coefficients() == std::vector<PenaltyCoefficient>{{"mod", 0.01}});
    for (const bool padded : {false, true}) {
        if (padded) batch.segments.valid.data()[0] = 0;  // counts for nothing
        const auto outcome = test::decide_and_learn(any, batch);
        const auto dr = test::penalty_gradient(any, batch, "mod");
        const auto& value = test::penalty_value(outcome, "mod");
        REQUIRE(value.shape() == Shape{6});
        for (std::size_t t = 0; t < 6; ++t) {
            const bool counts = !padded || t > 0;
            CHECK(std::abs(value.values()[t] - (counts ? want[t] : 0)) <= 1e-14);
            CHECK(std::abs(dr.values()[t] - (counts ? gradient[t] : 0)) <= 1e-14);
        }
    }
}
