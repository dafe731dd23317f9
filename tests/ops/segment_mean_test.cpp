#include <moegrad/core/math_complex.hpp>
#include <moegrad/cpu/segment_mean.hpp>
#include <moegrad/ops/segment_mean.hpp>

#include "support/bits.hpp"

using namespace moegrad;

MOEGRAD_TEST_COMPLEX_SEAT(segment_mean);

namespace {

/// Three segments of T rows, the last of padding alone from 7 rows on; every fourth row is padding.
Segments padded_segments(Index T) {
    auto segments = Segments::of_lengths({T / 2, T - T / 2 - T / 4, T / 4});
    for (Index t = 0; t < T; ++t) segments.valid.data()[t] = t % 4 != 1 && (T < 7 || t < T - T / 4);
    return segments;
}

/// Twice, so that the second gradient accumulates.
const auto means = []<test::NeverRounded Real>(Tape& tape, const test::Inputs<Real>& in) {
    const auto segments = placed(padded_segments(in[0].extent(0)), tape.device());
    return std::vector{segment_mean(tape, in[0], segments), segment_mean(tape, in[0], segments)};
};

}  // namespace

TEST_CASE("segment_mean: gradients and float against double") {
    for (Index D : {1, 5, 67}) {
        test::check_op({&segment_mean_slot},
                       [D](Index T) {
                           return std::vector{Shape{T, D}};
                       },
                       means, {.cuda_rows = {65, 300}});
    }
    test::check_complex_step(means, {test::random_tensor({7, 3}, 1)});
}

TEST_CASE("segment_mean: known values; padding is not read, a segment of padding is 0") {
    test::on_each_device([](Context& context) {
        auto segments = Segments::of_lengths({3, 1, 2});
        segments.valid.data()[1] = 0;
        segments.valid.data()[3] = 0;
        Tape tape(context);
        const auto x =
            tape.input(test::tensor_on(context, Tensor<float>::from({6, 1}, {1, NAN, 4, NAN, 5, 7})));
        const auto y = segment_mean(tape, x, placed(segments, context.device()));
        const auto values = host(y.value());
        CHECK(values.data()[0] == 2.5f);
        CHECK(values.data()[1] == 0);
        CHECK(values.data()[2] == 6);
        copy_values(Tensor<float>::from({3, 1}, {1, 1, 3}), y.gradient()->target().tensor);
        tape.backward();
        const auto dx = host(x.gradient()->tensor());
        for (const auto& [t, want] :
             {std::pair{0, 0.5f}, {1, 0.f}, {2, 0.5f}, {3, 0.f}, {4, 1.5f}, {5, 1.5f}})
            CHECK(dx.data()[t] == want);
    });
}

TEST_CASE("segment_mean: shapes that do not fit are an error that names both") {
    Tape tape(test::context());
    const Var<float> x(Tensor<float>::zeros({2, 4}));
    CHECK_THROWS_WITH_AS(segment_mean(tape, x, Segments::of_lengths({3})),
                         doctest::Contains("x [2, 4], 3 rows"), Error);
}
