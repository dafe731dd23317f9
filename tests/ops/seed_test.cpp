#include <moegrad/ops/seed.hpp>

#include "support/op_check.hpp"

using namespace moegrad;

namespace {

/// Seeds a loss of n values with coefficient 3 = 0.25 and returns its gradient.
template <class Real>
std::vector<Real> seeded(Context& context, Index n, double coefficient = 0.25) {
    context.scalars() = {};
    context.scalars().coefficient[3] = coefficient;
    Tape tape(context);
    const auto loss = tape.input(test::tensor_on(context, Tensor<Real>::zeros({n})));
    seed(tape, loss, 3);
    const auto gradient = host(loss.gradient()->tensor());
    return {gradient.values().begin(), gradient.values().end()};
}

}  // namespace

TEST_CASE("seed: every value of a loss gets the coefficient of the step scalars") {
    for (Index n : {Index{0}, Index{1}, Index{7}, Index{1000}}) {
        CHECK(seeded<double>(test::context(), n) == std::vector<double>(static_cast<std::size_t>(n), 0.25));
        test::on_each_device([n](Context& context) {
            CHECK(seeded<float>(context, n) == std::vector<float>(static_cast<std::size_t>(n), 0.25f));
            CHECK(seeded<float>(context, n, 0.1) == std::vector<float>(static_cast<std::size_t>(n), 0.1f));
        });
    }
    test::add_reference_record(seed_slot, Number::float64);
    test::on_each_device(
        [](Context& context) { test::add_reference_record(seed_slot, Number::float32, context.device()); });
}

TEST_CASE("seed: twice, or with a coefficient that does not exist, is an error") {
    Tape tape(test::context());
    const auto loss = tape.input(Tensor<double>::zeros({2}));
    CHECK_THROWS_AS(seed(tape, loss, kCoefficients), Error);
    CHECK_THROWS_AS(seed(tape, loss, -1), Error);
    seed(tape, loss, 0);
    CHECK_THROWS_WITH_AS(seed(tape, loss, 0), doctest::Contains("a second write"), Error);
}

TEST_CASE("seed: a loss without a gradient is left alone") {
    Tape tape(test::context(), Mode::inference);
    const Var<float> loss(Tensor<float>::zeros({2}));
    CHECK_NOTHROW(seed(tape, loss, 0));
}
