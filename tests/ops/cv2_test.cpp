#include <moegrad/ops/cv2.hpp>

#include "support/op_check.hpp"

using namespace moegrad;

namespace {

using Cv2Scope = BalanceOptions::Scope;

/// Two segments, an empty one between them, every fourth token padding.
Segments cv2_segments(Index T) {
    const std::vector<Index> lengths{T / 3, 0, T - T / 3};
    auto segments = Segments::of_lengths(lengths);
    for (Index t = 0; t < T; ++t) segments.valid.data()[t] = t % 4 != 1;
    return segments;
}

const auto cv2_op = []<test::NeverRounded Real>(Tape& tape, const test::Inputs<Real>& in) {
    const auto segments = placed(cv2_segments(in[0].extent(0)), tape.device());
    return std::vector{cv2(tape, in[0], segments, Cv2Scope::sequence),
                       cv2(tape, in[0], segments, Cv2Scope::micro)};
};

}  // namespace

TEST_CASE("cv2: gradients and float against double") {
    for (Index E : {1, 2, 5, 67}) {
        test::check_op({&cv2_slot},
                       [E](Index T) {
                           return std::vector{Shape{T, E}};
                       },
                       cv2_op, {.scale = {0.2}, .shift = {1}, .cuda_rows = {65, 1000}});
    }
}

TEST_CASE("cv2 golden: values and gradients of PyTorch's var / mean^2") {
    // torch, float64: c = v.sum(0); L = c.var() / (c.mean() ** 2 + 1e-10), unbiased; L.backward()
    test::on_each_device([](Context& context) {
        Tape tape(context);
        const auto v =
            tape.input(test::tensor_on(context, Tensor<float>::from({3, 4}, {0.5f, 0.25f, 0.25f, 0,  //
                                                                             0, 0.75f, 0.25f, 0,     //
                                                                             1, 0, 0, 0})));
        const auto L = cv2(tape, v, placed(Segments::of_lengths({3}), context.device()), Cv2Scope::micro);
        copy_values(Tensor<float>::from({1}, {1}), L.gradient()->target().tensor);
        tape.backward();
        const float want[] = {0.39506173f, -0.19753086f, -0.79012346f, -1.38271605f};
        CHECK(host(L.value()).data()[0] == doctest::Approx(0.740740741).epsilon(1e-6));
        const auto dv = host(v.gradient()->tensor());
        for (Index t = 0; t < 3; ++t)
            for (Index e = 0; e < 4; ++e) CHECK(dv.matrix()(t, e) == doctest::Approx(want[e]).epsilon(1e-6));
    });
}

TEST_CASE("cv2: 0 where all columns hold the same or there is one, E where one holds everything") {
    const auto value = [](const Tensor<double>& v, Index valid) {
        Tape tape(test::context());
        auto segments = Segments::of_lengths({v.extent(0)});
        for (Index t = valid; t < v.extent(0); ++t) segments.valid.data()[t] = 0;
        return cv2(tape, Var<double>(v), segments, Cv2Scope::sequence).value().data()[0];
    };
    CHECK(value(Tensor<double>::from({2, 3}, {1, 2, 3, 3, 2, 1}), 2) == 0);
    CHECK(value(Tensor<double>::from({2, 1}, {1, 5}), 2) == 0);
    CHECK(value(Tensor<double>::from({2, 3}, {0, 2, 0, 0, 4, 0}), 2) == doctest::Approx(3));
    CHECK(value(Tensor<double>::from({2, 3}, {1, 2, 3, 3, 2, 1}), 0) == 0);
    Tape tape(test::context());
    CHECK_THROWS_WITH_AS(
        cv2(tape, Var<float>(Tensor<float>::zeros({3, 2})), Segments::of_lengths({2}), Cv2Scope::micro),
        doctest::Contains("segments of 2"), Error);
}
