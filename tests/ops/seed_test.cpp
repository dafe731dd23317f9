#include <moegrad/ops/seed.hpp>

#include "support/op_check.hpp"

using namespace moegrad;

namespace {

/// Seeds a loss of n values with coefficient 3 = 0.25 and returns its gradient.
template <class Real>
std::vector<Real> seeded(Index n) {
    Context& context = test::context();
    context.scalars() = {};
    context.scalars().coefficient[3] = 0.25;
    Tape tape(context);
    const auto loss = tape.input(Tensor<Real>::zeros({n}));
    seed(tape, loss, 3);
    const auto values = loss.gradient()->tensor().values();
    return {values.begin(), values.end()};
}

}  // namespace

TEST_CASE("seed: every value of a loss gets the coefficient of the step scalars") {
    for (Index n : {Index{0}, Index{1}, Index{7}}) {
        CHECK(seeded<double>(n) == std::vector<double>(static_cast<std::size_t>(n), 0.25));
        CHECK(seeded<float>(n) == std::vector<float>(static_cast<std::size_t>(n), 0.25f));
    }
    test::add_reference_record(seed_slot, Number::float64);
    test::add_reference_record(seed_slot, Number::float32);
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
