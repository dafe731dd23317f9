#include <moegrad/autograd/cast.hpp>

#include <doctest/doctest.h>

using namespace moegrad;

TEST_CASE("cast: equal types give back the same variable") {
    Context context({.threads = 1});
    Tape tape(context);
    const auto x = tape.input(Tensor<float>::from({2}, {1, 2}));
    const auto y = cast<Wide<float>>(tape, x);
    CHECK(y.value().data() == x.value().data());
    CHECK(y.gradient() == x.gradient());
    CHECK(tape.size() == 0);
    CHECK_THROWS_WITH_AS(cast<double>(tape, x), doctest::Contains("float32 to float64"), Error);
}
