#include <moegrad/core/math_complex.hpp>
#include <moegrad/cpu/segment_surprisal.hpp>
#include <moegrad/ops/segment_surprisal.hpp>

#include "support/op_check.hpp"

using namespace moegrad;

MOEGRAD_TEST_COMPLEX_SEAT(segment_surprisal);

namespace {

/// S segments of two rows; every third has padding alone.
Segments pairs_of_rows(Index S) {
    auto segments = Segments::of_lengths(std::vector<Index>(static_cast<std::size_t>(S), 2));
    for (Index t = 0; t < 2 * S; ++t) segments.valid.data()[t] = t / 2 % 3 != 2 && t % 2 == 1;
    return segments;
}
const auto surprisals = []<test::NeverRounded Real>(Tape& tape, const test::Inputs<Real>& in) {
    const auto segments = placed(pairs_of_rows(in[0].extent(0)), tape.device());
    return std::vector{segment_surprisal(tape, in[0], segments, 0.25),
                       segment_surprisal(tape, in[0], segments)};
};

}  // namespace

TEST_CASE("segment_surprisal: gradients and float against double") {
    for (Index E : {1, 5, 67}) {
        test::check_op({&segment_surprisal_slot},
                       [E](Index S) {
                           return std::vector{Shape{S, E}};
                       },
                       surprisals, {.scale = {0.05}, .shift = {0.4}, .cuda_rows = {65, 300}});
    }
    test::check_complex_step(surprisals, {test::random_tensor({7, 3}, 1, 0.05, 0.4)});
}

TEST_CASE("segment_surprisal: known values, and padding does not count") {
    test::on_each_device([](Context& context) {
        Tape tape(context);
        const auto p =
            tape.input(test::tensor_on(context, Tensor<float>::from({3, 2}, {.5f, .5f, .25f, .75f, 0, 1})));
        const auto value =
            host(segment_surprisal(tape, p, placed(pairs_of_rows(3), context.device())).value());
        CHECK(value.data()[0] == doctest::Approx(2 * std::log(2.0)));
        CHECK(value.data()[1] == doctest::Approx(-std::log(0.1875)));
        CHECK(value.data()[2] == 0);
    });
    Tape tape(test::context());
    const Var<float> p(Tensor<float>::zeros({2, 4}));
    CHECK_THROWS_WITH_AS(segment_surprisal(tape, p, pairs_of_rows(3)),
                         doctest::Contains("p [2, 4], 3 segments"), Error);
}
