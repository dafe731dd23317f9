#include <moegrad/core/math_complex.hpp>
#include <moegrad/cpu/swiglu.hpp>
#include <moegrad/ops/swiglu.hpp>

#include "support/op_check.hpp"

using namespace moegrad;

MOEGRAD_TEST_COMPLEX_SEAT(swiglu);

namespace {

// The second call makes every gradient accumulate.
const auto op = []<class Real>(Tape& tape, const std::vector<Var<Real>>& in) {
    return std::vector{swiglu(tape, in[0], in[1]), swiglu(tape, in[1], in[0])};
};
const auto fused = []<class Real>(Tape& tape, const std::vector<Var<Real>>& in) {
    return std::vector{swiglu_fused(tape, in[0]), swiglu_fused(tape, in[0])};
};

}  // namespace

TEST_CASE("swiglu: gradients and float against double") {
    for (Index F : {1, 5, 67}) {
        test::check_op(
            {&swiglu_slot},
            [F](Index N) {
                return std::vector{Shape{N, F}, Shape{N, F}};
            },
            op);
        test::check_op(
            {&swiglu_slot},
            [F](Index N) {
                return std::vector{Shape{N, 2 * F}};
            },
            fused);
    }
}

TEST_CASE("swiglu: complex step") {
    test::check_complex_step(op, {test::random_tensor({3, 9}, 1), test::random_tensor({3, 9}, 2)});
    test::check_complex_step(fused, {test::random_tensor({3, 8}, 3)});
}

TEST_CASE("swiglu: known values") {
    // silu computed with Python's math.
    Tape tape(test::context());
    const auto gate = Var<double>(Tensor<double>::from({1, 5}, {-3, -1, 0, .5, 2}));
    const auto up = Var<double>(Tensor<double>::from({1, 5}, {1, 2, 1, 1, -1}));
    const double want[] = {-0.14227761953270035, -0.53788284273999, 0, 0.3112296656009273,
                           -1.7615941559557646};
    const auto y = swiglu(tape, gate, up);
    for (Index f = 0; f < 5; ++f) CHECK(y.value().data()[f] == doctest::Approx(want[f]).epsilon(1e-14));
}

TEST_CASE("swiglu: large gates stay finite in both directions") {
    Tape tape(test::context());
    auto gate = tape.input(Tensor<float>::from({1, 4}, {-1e4f, 1e4f, -3e38f, 3e38f}));
    auto up = tape.input(Tensor<float>::from({1, 4}, {1, 1, 1, 1}));
    auto y = swiglu(tape, gate, up);
    auto dy = y.gradient()->target();
    for (float& value : dy.tensor.values()) value = 1;
    tape.backward();
    const float want[] = {0, 1e4f, 0, 3e38f}, slope[] = {0, 1, 0, 1};
    for (std::size_t f = 0; f < 4; ++f) {
        CHECK(y.value().values()[f] == want[f]);
        CHECK(gate.gradient()->tensor().values()[f] == slope[f]);
        CHECK(up.gradient()->tensor().values()[f] == want[f]);
    }
}

TEST_CASE("swiglu: the fused form is the plain one on its two halves, to the bit") {
    const Index N = 6, F = 11;
    const auto both = test::random_tensor<float>({N, 2 * F}, 5);
    Tape tape(test::context());
    auto gate_up = tape.input(both);
    auto gate = tape.input(both.columns(0, F)), up = tape.input(both.columns(F, 2 * F));
    const std::vector<Var<float>> outputs{swiglu_fused(tape, gate_up), swiglu(tape, gate, up)};
    for (const auto& y : outputs) {
        auto dy = y.gradient()->target();
        for (std::size_t i = 0; i < dy.tensor.values().size(); ++i) dy.tensor.values()[i] = float(i % 7) - 3;
    }
    tape.backward();
    const auto d_both = gate_up.gradient()->tensor().view<2>();
    for (Index n = 0; n < N; ++n) {
        for (Index f = 0; f < F; ++f) {
            CHECK(outputs[0].value().view<2>()(n, f) == outputs[1].value().view<2>()(n, f));
            CHECK(d_both(n, f) == gate.gradient()->tensor().view<2>()(n, f));
            CHECK(d_both(n, F + f) == up.gradient()->tensor().view<2>()(n, f));
        }
    }
}

TEST_CASE("swiglu: rows beyond the device count are neither read nor written") {
    const Index N = 5, F = 3;
    for (std::int32_t count : {0, 2, 5, 9}) {
        Tape tape(test::context());
        auto input = test::random_tensor<float>({N, 2 * F}, 6);
        const Index exist = std::min<Index>(N, count);
        for (Index i = exist * 2 * F; i < N * 2 * F; ++i) input.data()[i] = NAN;
        auto gradient = std::make_shared<Gradient<float>>(Tensor<float>::zeros({N, 2 * F}));
        for (float& value : gradient->tensor().values()) value = 77;
        Var<float> gate_up(input, gradient);
        auto y = swiglu_fused(tape, gate_up, Tensor<std::int32_t>::from({1}, {count}));
        auto dy = y.gradient()->target();
        for (float& value : dy.tensor.values()) value = 1;
        tape.backward();
        for (Index i = 0; i < N * F; ++i) CHECK(std::isnan(y.value().data()[i]) == (i >= exist * F));
        for (Index i = 0; i < N * 2 * F; ++i)
            CHECK((gradient->tensor().data()[i] == 77) == (i >= exist * 2 * F));
    }
}

TEST_CASE("swiglu: shapes that do not fit are an error that names both") {
    Tape tape(test::context());
    Var<float> a(Tensor<float>::zeros({2, 4})), b(Tensor<float>::zeros({2, 5}));
    CHECK_THROWS_WITH_AS(swiglu(tape, a, b), doctest::Contains("gate [2, 4], up [2, 5]"), Error);
    CHECK_THROWS_WITH_AS(swiglu_fused(tape, b), doctest::Contains("[2, 5]"), Error);
    CHECK_THROWS_AS(swiglu_fused(tape, a, Tensor<std::int32_t>::zeros({2})), Error);
}
