#include <moegrad/core/math_complex.hpp>
#include <moegrad/cpu/rms_norm.hpp>
#include <moegrad/ops/rms_norm.hpp>

#include "support/op_check.hpp"

using namespace moegrad;

MOEGRAD_TEST_COMPLEX_SEAT(rms_norm);

namespace {
const auto op = []<class Real>(Tape& tape, const test::Inputs<Real>& in) {
    return std::vector{rms_norm<Real>(tape, in[0], in[1], 1e-5)};
};
}

TEST_CASE("rms_norm: gradients and float against double") {
    test::check_op(
        {&rms_norm_slot},
        [](Index T) {
            return std::vector{Shape{T, 5}, Shape{5}};
        },
        op);
    // One column: with a small eps, y = sign(x) w and dx is a difference of equal numbers; a large eps conditions it.
    test::check_op(
        {&rms_norm_slot},
        [](Index T) {
            return std::vector{Shape{T, 1}, Shape{1}};
        },
        []<class Real>(Tape& tape, const test::Inputs<Real>& in) {
            return std::vector{rms_norm<Real>(tape, in[0], in[1], 0.5)};
        });
    test::check_op(
        {&rms_norm_slot},
        [](Index T) {
            return std::vector{Shape{T, 67}, Shape{67}};
        },
        op);
}

TEST_CASE("rms_norm: rows of every length on a GPU") {
    // Threads of a block, kept groups and what is read twice change with D; parts of dw with the number of rows.
    const std::pair<Index, std::vector<Index>> sizes[] = {
        {8, {0, 1, 7, 65, 700}}, {264, {3, 129}}, {3001, {2}}, {4104, {3}}, {8200, {2}}, {16392, {2}}};
    for (const auto& [D, rows] : sizes) {
        CAPTURE(D);
        test::OpCheckOptions options;
        options.rows = {};
        options.cuda_rows = rows;
        options.float_bound = 2e-6;
        test::check_op(
            {&rms_norm_slot},
            [D = D](Index T) {
                return std::vector{Shape{T, D}, Shape{D}};
            },
            op, options);
    }
}

TEST_CASE("rms_norm: a gradient that accumulates") {
    const auto twice = []<class Real>(Tape& tape, const test::Inputs<Real>& in) {
        return std::vector{rms_norm<Real>(tape, in[0], in[1], 1e-5), rms_norm<Real>(tape, in[0], in[1], 0.5)};
    };
    const auto rounded = [](Tape& tape, const test::Inputs<double>& in) {
        return std::vector{rms_norm(tape, test::rounded(tape, in[0]), in[1], 1e-5),
                           rms_norm(tape, test::rounded(tape, in[0]), in[1], 0.5)};
    };
    for (Index D : {5, 16}) {
        test::check_op(
            {&rms_norm_slot},
            [D](Index T) {
                return std::vector{Shape{T, D}, Shape{D}};
            },
            twice, {}, rounded);
    }
}

TEST_CASE("rms_norm: complex step") {
    test::check_complex_step(op, {test::random_tensor({3, 9}, 1), test::random_tensor({9}, 2)});
}

TEST_CASE("rms_norm: a zero row stays zero and finite") {
    test::on_each_device([](Context& context) {
        Tape tape(context);
        auto x = tape.input(test::tensor_on(context, Tensor<float>::zeros({1, 4})));
        const Var<float> w(test::tensor_on(context, Tensor<float>::from({4}, {1, 1, 1, 1})));
        const auto y = host(rms_norm(tape, x, w, 1e-6).value());
        for (float value : y.values()) CHECK(value == 0);
    });
}

TEST_CASE("rms_norm: shapes that do not fit are an error that names both") {
    Tape tape(test::context());
    Var<float> x(Tensor<float>::zeros({2, 4})), w(Tensor<float>::zeros({5}));
    CHECK_THROWS_WITH_AS(rms_norm(tape, x, w, 1e-6), doctest::Contains("x [2, 4], w [5]"), Error);
}
