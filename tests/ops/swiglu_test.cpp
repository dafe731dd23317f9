#include <moegrad/core/math_complex.hpp>
#include <moegrad/cpu/swiglu.hpp>
#include <moegrad/ops/swiglu.hpp>

#include "support/bits.hpp"

using namespace moegrad;

MOEGRAD_TEST_COMPLEX_SEAT(swiglu);

namespace {

// The second call makes every gradient accumulate.
const auto op = []<class Real>(Tape& tape, const test::Inputs<Real>& in) {
    return std::vector{swiglu<Real>(tape, in[0], in[1]), swiglu<Real>(tape, in[1], in[0])};
};
const auto fused = []<class Real>(Tape& tape, const test::Inputs<Real>& in) {
    return std::vector{swiglu_fused<Real>(tape, in[0]), swiglu_fused<Real>(tape, in[0])};
};

/// bf16: the gradient of each use is rounded before they are added.
const auto rounded_op = [](Tape& tape, const test::Inputs<double>& in) {
    const auto use = [&](std::size_t n) { return test::rounded(tape, in[n]); };
    return std::vector{swiglu(tape, use(0), use(1)), swiglu(tape, use(1), use(0))};
};
const auto rounded_fused = [](Tape& tape, const test::Inputs<double>& in) {
    return std::vector{swiglu_fused(tape, test::rounded(tape, in[0])),
                       swiglu_fused(tape, test::rounded(tape, in[0]))};
};

}  // namespace

TEST_CASE("swiglu: gradients and float against double") {
    for (Index F : {1, 5, 24, 67}) {
        test::OpCheckOptions options;
        options.float_bound = 2e-6;
        options.cuda_rows = {301};
        test::check_op(
            {&swiglu_slot},
            [F](Index N) {
                return std::vector{Shape{N, F}, Shape{N, F}};
            },
            op, options, rounded_op);
        test::check_op(
            {&swiglu_slot},
            [F](Index N) {
                return std::vector{Shape{N, 2 * F}};
            },
            fused, options, rounded_fused);
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
    test::on_each_device([](Context& context) {
        Tape tape(context);
        const auto ones = test::tensor_on(context, Tensor<float>::from({1, 4}, {1, 1, 1, 1}));
        auto gate =
            tape.input(test::tensor_on(context, Tensor<float>::from({1, 4}, {-1e4f, 1e4f, -3e38f, 3e38f})));
        auto up = tape.input(ones);
        auto y = swiglu(tape, gate, up);
        copy_values(ones, y.gradient()->target().tensor);
        tape.backward();
        const auto value = host(y.value()), d_gate = host(gate.gradient()->tensor()),
                   d_up = host(up.gradient()->tensor());
        const float want[] = {0, 1e4f, 0, 3e38f}, slope[] = {0, 1, 0, 1};
        for (Index f = 0; f < 4; ++f) {
            CHECK(value.data()[f] == want[f]);
            CHECK(d_gate.data()[f] == slope[f]);
            CHECK(d_up.data()[f] == want[f]);
        }
    });
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
    const Index N = 5;
    test::on_each_device([&](Context& context) {
        for (std::int32_t count : {0, 2, 5, 9}) {
            for (Index F : {3, 8}) {
                Tape tape(context);
                auto input = test::random_tensor<float>({N, 2 * F}, 6);
                const Index exist = std::min<Index>(N, count);
                for (Index i = exist * 2 * F; i < N * 2 * F; ++i) input.data()[i] = NAN;
                auto sevens = Tensor<float>::zeros({N, 2 * F}), ones = Tensor<float>::zeros({N, F});
                std::fill_n(sevens.data(), sevens.size(), 77.0f);
                std::fill_n(ones.data(), ones.size(), 1.0f);
                auto gradient = std::make_shared<Gradient<float>>(test::tensor_on(context, sevens));
                Var<float> gate_up(test::tensor_on(context, input), gradient);
                auto y = swiglu_fused(tape, gate_up,
                                      test::tensor_on(context, Tensor<std::int32_t>::from({1}, {count})));
                copy_values(ones, y.gradient()->target().tensor);
                tape.backward();
                const auto value = host(y.value()), d_gate_up = host(gradient->tensor());
                for (Index i = 0; i < N * F; ++i) CHECK(std::isnan(value.data()[i]) == (i >= exist * F));
                for (Index i = 0; i < N * 2 * F; ++i)
                    CHECK((d_gate_up.data()[i] == 77) == (i >= exist * 2 * F));
            }
        }
    });
}

TEST_CASE("swiglu: a gradient that nobody needs is not made") {
    test::on_each_device([](Context& context) {
        for (Index F : {5, 8}) {
            const auto x = test::tensor_on(context, test::random_tensor<float>({3, F}, 8));
            const auto u = test::tensor_on(context, test::random_tensor<float>({3, F}, 9));
            Tape tape(context);
            const auto gate = tape.input(x), up = tape.input(u);
            const Var<float> outputs[] = {swiglu(tape, gate, Var<float>(u)), swiglu(tape, Var<float>(x), up)};
            const auto both_gate = tape.input(x), both_up = tape.input(u);
            const auto both = swiglu(tape, both_gate, both_up);
            for (const auto& y : {outputs[0], outputs[1], both})
                copy_values(x, y.gradient()->target().tensor);
            tape.backward();
            CHECK(test::same_bits(host(gate.gradient()->tensor()), host(both_gate.gradient()->tensor())));
            CHECK(test::same_bits(host(up.gradient()->tensor()), host(both_up.gradient()->tensor())));
        }
    });
}

TEST_CASE("swiglu: shapes that do not fit are an error that names both") {
    Tape tape(test::context());
    Var<float> a(Tensor<float>::zeros({2, 4})), b(Tensor<float>::zeros({2, 5}));
    CHECK_THROWS_WITH_AS(swiglu(tape, a, b), doctest::Contains("gate [2, 4], up [2, 5]"), Error);
    CHECK_THROWS_WITH_AS(swiglu_fused(tape, b), doctest::Contains("[2, 5]"), Error);
    CHECK_THROWS_AS(swiglu_fused(tape, a, Tensor<std::int32_t>::zeros({2})), Error);
}
