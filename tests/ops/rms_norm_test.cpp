#include <moegrad/core/math_complex.hpp>
#include <moegrad/cpu/add.hpp>
#include <moegrad/cpu/rms_norm.hpp>
#include <moegrad/ops/rms_norm.hpp>

#include "support/bits.hpp"

using namespace moegrad;

MOEGRAD_TEST_COMPLEX_SEAT(add);
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

namespace {

/// h = a + b, which the norm makes where it is deferred; h is read again after it.
template <class Real>
std::vector<Var<Real>> norm_of_sum(Tape& tape, const Var<Real>& a, const Var<Real>& b, const Weight<Real>& w,
                                   bool deferred) {
    const auto h = deferred ? add_on_read(tape, a, b) : add(tape, a, b);
    const auto y = rms_norm(tape, h, w, 1e-5);
    return {y, h};
}

std::vector<Shape> sum_shapes(Index T, Index D) {
    return {Shape{T, D}, Shape{T, D}, Shape{D}};
}

/// Outputs and gradients of both ways.
template <class Real>
void check_sum_bits(Context& context, Index T, Index D) {
    CAPTURE(T);
    CAPTURE(D);
    const auto random = [&](const Shape& shape, std::uint64_t seed) {
        return test::tensor_on(context, test::convert_through_float<Real>(test::random_tensor(shape, seed)));
    };
    const Weight<Real> w(random({D}, 3));
    std::vector<Tensor<Real>> results[2];
    for (bool deferred : {false, true}) {
        Tape tape(context);
        const auto a = tape.input(random({T, D}, 1)), b = tape.input(random({T, D}, 2));
        auto& all = results[deferred];
        for (const auto& y : norm_of_sum<Real>(tape, a, b, w, deferred)) {
            all.push_back(host(y.value()));
            copy_values(y.value(), y.gradient()->target().tensor);
        }
        CHECK(tape.size() == 2);
        tape.backward();
        for (const auto& x : {a, b}) all.push_back(host(x.gradient()->tensor()));
    }
    for (std::size_t i = 0; i < results[0].size(); ++i) {
        CAPTURE(i);
        CHECK(test::same_bits(results[0][i], results[1][i]));
    }
}

}  // namespace

TEST_CASE("rms_norm: of a sum that nobody has read") {
    const auto of_sum = []<class Real>(Tape& tape, const test::Inputs<Real>& in) {
        return norm_of_sum<Real>(tape, in[0], in[1], in[2], true);
    };
    const auto rounded = [](Tape& tape, const test::Inputs<double>& in) {
        const auto h = test::rounded(tape, add(tape, in[0], in[1]));
        return std::vector{rms_norm(tape, h, in[2], 1e-5), h};
    };
    for (const Index D : {5, 16, 264}) {
        test::OpCheckOptions options;
        options.rows = D < 100 ? std::vector<Index>{0, 1, 7} : std::vector<Index>{};
        options.cuda_rows = {3, 65};
        test::check_op(
            {&rms_norm_slot, &add_slot}, [D](Index T) { return sum_shapes(T, D); }, of_sum, options, rounded);
    }
    test::check_complex_step(of_sum, {test::random_tensor({3, 9}, 1), test::random_tensor({3, 9}, 2),
                                      test::random_tensor({9}, 3)});
}

TEST_CASE("rms_norm: a sum that it makes has the bits of add, and so has all that follows") {
    test::on_each_device([](Context& context) {
        // Kept groups and what is read twice; columns that no 16 bytes fit.
        for (const Index D : {1, 5, 16, 264, 3001, 8200}) {
            check_sum_bits<float>(context, 3, D);
            if (context.device() == Device::cuda) check_sum_bits<bf16>(context, 3, D);
        }
        check_sum_bits<float>(context, 0, 8);
    });
}
