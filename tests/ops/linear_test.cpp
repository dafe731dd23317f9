#include <moegrad/core/math_complex.hpp>
#include <moegrad/cpu/linear.hpp>
#include <moegrad/ops/linear.hpp>

#include "support/bits.hpp"

using namespace moegrad;

MOEGRAD_TEST_COMPLEX_SEAT(linear);

namespace {
const auto op = []<class Real>(Tape& tape, const test::Inputs<Real>& in) {
    return std::vector{linear<Real>(tape, in[0], in[1])};
};
}  // namespace

TEST_CASE("linear: gradients and float against double") {
    test::check_op(
        {&linear_slot},
        [](Index T) {
            return std::vector{Shape{T, 5}, Shape{3, 5}};
        },
        op);
    test::check_op(
        {&linear_slot},
        [](Index T) {
            return std::vector{Shape{T, 1}, Shape{1, 1}};
        },
        op);
    test::check_op({&linear_slot},
                   [](Index T) {
                       return std::vector{Shape{T, 33}, Shape{17, 33}};
                   },
                   op, {.cuda_rows = {64, 300}});
    // One contraction long enough that an error grows with it; every extent a multiple of 16 bytes.
    test::check_op({&linear_slot},
                   [](Index T) {
                       return std::vector{Shape{T, 512}, Shape{24, 512}};
                   },
                   op, {.rows = {}, .cuda_rows = {8, 129}});
}

TEST_CASE("linear: complex step") {
    test::check_complex_step(op, {test::random_tensor({3, 9}, 1), test::random_tensor({4, 9}, 2)});
}

TEST_CASE("linear: whole numbers by hand") {
    Tape tape(test::context());
    auto x = tape.input(Tensor<float>::from({2, 3}, {1, 2, 3, -4, 0, 5}));
    auto w = tape.input(Tensor<float>::from({2, 3}, {1, 1, 0, 2, -1, 3}));
    auto y = linear(tape, x, w);
    CHECK(test::same_bits(y.value(), Tensor<float>::from({2, 2}, {3, 9, -4, 7})));
    auto dy = y.gradient()->target();
    for (int i = 0; i < 4; ++i) dy.tensor.data()[i] = static_cast<float>(i + 1);
    tape.backward();
    CHECK(test::same_bits(x.gradient()->tensor(), Tensor<float>::from({2, 3}, {5, -1, 6, 11, -1, 12})));
    CHECK(test::same_bits(w.gradient()->tensor(), Tensor<float>::from({2, 3}, {-11, 2, 18, -14, 4, 26})));
}

TEST_CASE("linear: bits do not depend on threads or on the cut into micro-batches") {
    test::check_bits<float>({test::random_tensor<float>({37, 65}, 1)},
                            {test::random_tensor<float>({19, 65}, 2)},
                            [](Tape& tape, const auto& rows, const auto& weights, Index, Index) {
                                return linear(tape, rows[0], weights[0]);
                            });
}

TEST_CASE("linear: a frozen weight gets no gradient, a used one accumulates") {
    Tape tape(test::context());
    auto x = tape.input(test::random_tensor<float>({3, 4}, 1));
    Var<float> frozen(test::random_tensor<float>({2, 4}, 2));
    auto y = linear(tape, x, frozen), again = linear(tape, x, frozen);
    for (const auto& out : {y, again}) {
        auto dy = out.gradient()->target();
        for (float& value : dy.tensor.values()) value = 1;
    }
    tape.backward();
    CHECK_FALSE(frozen.needs_gradient());
    for (Index d = 0; d < 4; ++d) {
        const float* w = frozen.value().data();
        CHECK(x.gradient()->tensor().data()[d] == doctest::Approx(2 * (w[d] + w[4 + d])));
    }
}

TEST_CASE("linear: a matrix inside a wider one, on each device") {
    test::on_each_device([](Context& context) {
        const auto wide = test::random_tensor<float>({4, 9}, 3);
        auto dense = Tensor<float>::zeros({4, 5});
        for (Index r = 0; r < 4; ++r)
            std::copy_n(wide.columns(2, 7).view<2>().row(r), 5, dense.view<2>().row(r));
        const auto there = test::tensor_on(context, wide);
        Tape tape(context);
        const Var<float> w(test::tensor_on(context, test::random_tensor<float>({3, 5}, 4)));
        const auto got = host(linear(tape, Var<float>(there.columns(2, 7)), w).value());
        const auto want = host(linear(tape, Var<float>(test::tensor_on(context, dense)), w).value());
        CHECK(test::relative_error(got, want) < 1e-6);  // on a GPU the algorithm may depend on the pitch
        if (context.device() == Device::cpu) CHECK(test::same_bits(got, want));
    });
}

TEST_CASE("linear: a product without an element, and an empty contraction") {
    test::on_each_device([](Context& context) {
        const auto y = test::tensor_on(context, test::random_tensor<float>({2, 3}, 1));
        const auto x = Tensor<float>::zeros({2, 0}, context.device()),
                   w = Tensor<float>::zeros({3, 0}, context.device());
        const auto& kernels = linear_slot.get<float>(context.device());
        const auto before = host(y);
        kernels.backward_input(context.stream(), Tensor<float>::zeros({0, 3}, context.device()).view<2>(),
                               x.view<2>(), y.view<2>(), Write::accumulate);
        CHECK(test::same_bits(host(y), before));
        kernels.forward(context.stream(), x.view<2>(), w.view<2>(), y.view<2>());
        const auto zeros = host(y);
        for (float value : zeros.values()) CHECK(value == 0);
        kernels.forward(context.stream(), x.rows(0, 0).view<2>(), w.view<2>(), y.rows(0, 0).view<2>());
    });
}

TEST_CASE("linear: shapes that do not fit are an error that names both") {
    Tape tape(test::context());
    Var<float> x(Tensor<float>::zeros({2, 4})), w(Tensor<float>::zeros({3, 5}));
    CHECK_THROWS_WITH_AS(linear(tape, x, w), doctest::Contains("x [2, 4], w [3, 5]"), Error);
}
