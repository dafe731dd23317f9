#include <moegrad/core/math_complex.hpp>
#include <moegrad/cpu/softmax.hpp>
#include <moegrad/ops/softmax.hpp>

#include "support/op_check.hpp"

using namespace moegrad;

MOEGRAD_TEST_COMPLEX_SEAT(softmax);

namespace {

template <Index groups>
constexpr auto op = []<test::NeverRounded Real>(Tape& tape, const test::Inputs<Real>& in) {
    return std::vector{softmax(tape, in[0], groups), softmax(tape, in[0], groups)};
};

}  // namespace

TEST_CASE("softmax: gradients and float against double") {
    const auto check = [](Index columns, const auto& f, std::vector<Index> rows) {
        test::check_op({&softmax_slot},
                       [=](Index T) {
                           return std::vector{Shape{T, columns}};
                       },
                       f, {.cuda_rows = std::move(rows)});
    };
    check(1, op<1>, {300});
    check(8, op<1>, {301});
    check(67, op<1>, {33});
    check(300, op<1>, {5});
    check(15, op<3>, {129});
    check(4, op<4>, {64});
}

TEST_CASE("softmax: complex step") {
    test::check_complex_step(op<1>, {test::random_tensor({3, 9}, 1)});
    test::check_complex_step(op<2>, {test::random_tensor({3, 10}, 2)});
}

TEST_CASE("softmax: mean probabilities of the AdaMoE vectors") {
    // reference: P of logits t0, t1, t2 (null-averaged Switch loss, E = 2, M = 2).
    Tape tape(test::context());
    const auto z = Var<double>(Tensor<double>::from({3, 4}, {2, 1, 0, -1, 1, -1, 0, -2, -1, -2, 1, 0}));
    const auto p = softmax(tape, z).value().view<2>();
    const double want[] = {.458324, .118695, .322647, .100333};
    for (Index e = 0; e < 4; ++e) CHECK(std::abs((p(0, e) + p(1, e) + p(2, e)) / 3 - want[e]) < 1e-6);
}

TEST_CASE("softmax: large logits, switched off logits, NaN and infinity") {
    const float inf = INFINITY;
    const auto logits = Tensor<float>::from({5, 3}, {1000, 999, -1000,  //
                                                     -inf, 0, 0,        //
                                                     -inf, -inf, -inf,  //
                                                     0, NAN, 0,         //
                                                     inf, 0, 0});
    auto upstream = Tensor<float>::zeros({5, 3});
    for (std::size_t i = 0; i < 15; ++i) upstream.values()[i] = float(i);
    test::on_each_device([&](Context& context) {
        Tape tape(context);
        const auto x = tape.input(test::tensor_on(context, logits));
        const auto y = softmax(tape, x);
        copy_values(upstream, y.gradient()->target().tensor);
        tape.backward();
        const auto value = host(y.value()), gradient = host(x.gradient()->tensor());
        const auto p = value.view<2>(), dx = gradient.view<2>();
        CHECK(p(0, 0) == doctest::Approx(0.7310585786300049));
        CHECK(p(0, 2) == 0);
        CHECK(p(1, 0) == 0);
        CHECK(p(1, 1) == 0.5f);
        CHECK(dx(1, 0) == 0);
        CHECK(dx(1, 2) == doctest::Approx(0.25));
        for (Index e = 0; e < 3; ++e) {
            CHECK(p(2, e) == 0);
            CHECK(dx(2, e) == 0);
            CHECK(std::isnan(p(3, e)));
            CHECK(std::isnan(p(4, e)));
        }
    });
}

TEST_CASE("softmax: shapes that do not fit are an error that names both") {
    Tape tape(test::context());
    Var<float> x(Tensor<float>::zeros({2, 5}));
    CHECK_THROWS_WITH_AS(softmax(tape, x, 2), doctest::Contains("x [2, 5], 2 groups"), Error);
    CHECK_THROWS_AS(softmax(tape, x, 0), Error);
}
