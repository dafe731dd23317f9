#include <moegrad/core/math_complex.hpp>
#include <moegrad/cpu/grouped_linear.hpp>
#include <moegrad/cpu/stack_weights.hpp>
#include <moegrad/ops/stack_weights.hpp>

#include "support/grouped_reference.hpp"

using namespace moegrad;

MOEGRAD_TEST_COMPLEX_SEAT(grouped_linear);
MOEGRAD_TEST_COMPLEX_SEAT(stack_weights);

namespace {

struct Sizes {
    Index R, S, C, Q;  // a [R, C], b [S, C] below it, c [S, Q] beside it
};

/// x [T, C], z [T, C + Q], a, b, c: what reads the stacked weights is a product with each; every weight is used twice.
auto shapes_of(const Sizes& n) {
    return [n](Index T) {
        return std::vector<Shape>{{T, n.C}, {T, n.C + n.Q}, {n.R, n.C}, {n.S, n.C}, {n.S, n.Q}};
    };
}

const auto op = []<class Real>(Tape& tape, const test::Inputs<Real>& in) {
    const Var<Real> x = in[0], z = in[1];
    const Weight<Real> a = in[2], b = in[3], c = in[4];
    const auto plan = one_group(tape, x.extent(0));
    const auto times = [&](const Var<Real>& rows, const Weight<Real>& w) {
        return grouped_linear<Real>(tape, rows, w, plan, RowSource::rows);
    };
    return std::vector{times(x, stack_weights<Real>(tape, a, b, Stacking::below)),
                       times(z, stack_weights<Real>(tape, a, c, Stacking::diagonal)),
                       times(x, stack_weights<Real>(tape, a, {}, Stacking::diagonal))};
};

std::vector<float> values_of(const Weight<float>& w) {
    const auto there = host(w.value());
    return {there.data(), there.data() + there.size()};
}

}  // namespace

TEST_CASE("stack_weights: gradients, and each device against double") {
    for (const Sizes& n : {Sizes{1, 1, 1, 1}, Sizes{2, 3, 5, 7}, Sizes{11, 13, 3, 2}, Sizes{8, 8, 24, 16}}) {
        CAPTURE(n.R);
        test::check_op({&stack_weights_slot}, shapes_of(n), op, {.cuda_rows = {31}});
    }
}

TEST_CASE("stack_weights: complex step") {
    std::vector<Tensor<double>> inputs;
    for (const Shape& shape : shapes_of({2, 3, 5, 7})(4))
        inputs.push_back(test::random_tensor(shape, inputs.size()));
    test::check_complex_step(op, inputs);
}

TEST_CASE("stack_weights: where the values and the gradients go") {
    test::on_each_device([](Context& context) {
        const auto weight = [&](const Shape& shape, std::initializer_list<float> values) {
            const auto w = placed(Tensor<float>::from(shape, values), context.device());
            return Weight<float>(
                w, std::make_shared<Gradient<float>>(test::poisoned<float>(shape, context.device())));
        };
        Tape tape(context);
        const auto a = weight({1, 2}, {1, 2}), b = weight({2, 2}, {3, 4, 5, 6}), c = weight({2, 1}, {7, 8});
        CHECK(values_of(stack_weights(tape, a, b, Stacking::below)) == std::vector<float>{1, 2, 3, 4, 5, 6});
        CHECK(values_of(stack_weights(tape, c, {}, Stacking::diagonal)) == std::vector<float>{7, 8});
        const auto y = stack_weights(tape, a, c, Stacking::diagonal);
        CHECK(y.shape() == Shape{1, 3, 3});
        CHECK(values_of(y) == std::vector<float>{1, 2, 0, 0, 0, 7, 0, 0, 8});
        const auto dy = Tensor<float>::from({1, 3, 3}, {1, 2, 3, 4, 5, 6, 7, 8, 9});
        for (const std::vector<float>& want : {std::vector<float>{1, 2, 6, 9}, {2, 4, 12, 18}}) {
            // The second time the gradients are there already.
            const auto again = stack_weights(tape, a, c, Stacking::diagonal);
            copy_values(dy, again.gradient()->target().tensor);
            tape.backward();
            const auto da = host(a.gradient()->tensor()), dc = host(c.gradient()->tensor());
            CHECK(std::vector<float>{da.data()[0], da.data()[1], dc.data()[0], dc.data()[1]} == want);
        }
        CHECK_FALSE(b.gradient()->written());
        const Weight<float> frozen(a.value());
        CHECK_FALSE(stack_weights(tape, frozen, {}, Stacking::below).needs_gradient());
    });
}

TEST_CASE("stack_weights: widths that do not fit are an error that names both") {
    Tape tape(test::context());
    const Weight<float> a(Tensor<float>::zeros({2, 4})), b(Tensor<float>::zeros({2, 3}));
    CHECK_NOTHROW(stack_weights(tape, a, b, Stacking::diagonal));
    CHECK_THROWS_WITH_AS(stack_weights(tape, a, b, Stacking::below), doctest::Contains("a [2, 4], b [2, 3]"),
                         Error);
}
