#include <moegrad/core/math_complex.hpp>
#include <moegrad/cpu/balance_loss.hpp>
#include <moegrad/cpu/soft_balance_loss.hpp>
#include <moegrad/ops/soft_balance_loss.hpp>

#include "support/op_check.hpp"

using namespace moegrad;

MOEGRAD_TEST_COMPLEX_SEAT(balance_loss);
MOEGRAD_TEST_COMPLEX_SEAT(soft_balance_loss);

namespace {

using Scope = BalanceOptions::Scope;

/// Three segments, one of them empty, one all padding where there are tokens enough; padding in the others too.
Segments padded_segments(Index T) {
    const Index first = T / 2, second = T > 4 ? 2 : 0;
    Segments segments = Segments::of_lengths({first, 0, second, T - first - second});
    for (Index t = 0; t < T; ++t) {
        segments.valid.data()[t] = t % 5 != 2 && segments.segment.data()[t] != 2;
    }
    return segments;
}

/// Twice, so that the second gradient accumulates; once with p for w.
auto op(Scope scope) {
    return [=]<test::NeverRounded Real>(Tape& tape, const test::Inputs<Real>& in) {
        const auto segments = placed(padded_segments(in[0].extent(0)), tape.device());
        return std::vector{soft_balance_loss(tape, in[0], in[1], segments, scope),
                           soft_balance_loss(tape, in[0], in[0], segments, scope)};
    };
}

}  // namespace

TEST_CASE("soft_balance_loss: gradients and float against double") {
    for (Scope scope : {Scope::sequence, Scope::micro}) {
        for (Index C : {1, 5, 67}) {
            test::check_op(
                {&soft_balance_loss_slot},
                [C](Index T) {
                    return std::vector{Shape{T, C}, Shape{T, C}};
                },
                op(scope),
                {.rows = {0, 1, 7, 15}, .scale = {0.1, 0.1}, .shift = {0.3, 0.2}, .cuda_rows = {129, 700}});
        }
        test::check_complex_step(op(scope), {test::random_tensor({9, 5}, 1), test::random_tensor({9, 5}, 2)});
    }
}

TEST_CASE("soft_balance_loss: DynMoLE's mask on its golden rows, with PyTorch in double") {
    const std::vector<double> z{1, .5, 0, -.5, 0, 0, 0, 0, 2, 1, 0, -1, 4, 1, 0, -1};
    auto p = Tensor<double>::zeros({4, 4}), w = Tensor<double>::zeros({4, 4});
    for (std::size_t t = 0; t < 4; ++t) {
        double sum = 0;
        for (std::size_t c = 0; c < 4; ++c) sum += std::exp(z[4 * t + c]);
        for (std::size_t c = 0; c < 4; ++c) {
            p.values()[4 * t + c] = std::exp(z[4 * t + c]) / sum;
            w.values()[4 * t + c] = c < 2 || t == 1 ? p.values()[4 * t + c] : 0;
        }
    }
    Tape tape(test::context());
    const auto mass = tape.input(p), load = tape.input(w);
    const auto loss = soft_balance_loss(tape, mass, load, Segments::of_lengths({4}), Scope::micro);
    CHECK(std::abs(loss.value().values()[0] - 1.5195165914621576) < 1e-13);
    loss.gradient()->target().tensor.values()[0] = 1;
    tape.backward();
    const std::vector<double> F{0.5698347398654829, 0.20230189519432226, 0.0625, 0.0625};
    const std::vector<double> P{0.5698347398654829, 0.20230189519432226, 0.1303974363755187,
                                0.09746592856467615};
    for (std::size_t i = 0; i < 16; ++i) {  // C / n is 1
        CHECK(std::abs(mass.gradient()->tensor().values()[i] - F[i % 4]) < 1e-14);
        CHECK(std::abs(load.gradient()->tensor().values()[i] - P[i % 4]) < 1e-14);
    }
}

TEST_CASE("soft_balance_loss: uniform gives 1, one column that holds everything C") {
    const Index T = 6, C = 5;
    auto uniform = Tensor<double>::zeros({T, C}), one = Tensor<double>::zeros({T, C});
    for (Index t = 0; t < T; ++t) {
        for (Index c = 0; c < C; ++c) uniform.matrix()(t, c) = 1.0 / C;
        one.matrix()(t, 3) = 1;
    }
    Tape tape(test::context());
    const auto segments = Segments::of_lengths({T});
    const auto value = [&](const Tensor<double>& p) {
        return soft_balance_loss(tape, Var<double>(p), Var<double>(p), segments, Scope::sequence)
            .value()
            .values()[0];
    };
    CHECK(value(uniform) == doctest::Approx(1));
    CHECK(value(one) == doctest::Approx(C));
}

TEST_CASE("soft_balance_loss: padding and other segments change no bit") {
    const Index T = 6, C = 4;
    const auto p = test::random_tensor<float>({T, C}, 1, 0.1, 0.25);
    test::on_each_device([&](Context& context) {
        const Device device = context.device();
        Tape tape(context);
        const Var<float> there(placed(p, device));
        const auto want =
            host(soft_balance_loss(tape, there, there, placed(Segments::of_lengths({2, 4}), device),
                                   Scope::sequence)
                     .value());
        auto segments = Segments::of_lengths({3, 4, 6});
        const std::vector<Index> from{0, -1, 1, -1, -1, -1, -1, 2, 3, -1, -1, 4, 5};
        auto wide = Tensor<float>::zeros({13, C});
        for (Index t = 0; t < 13; ++t) {
            const Index source = from[static_cast<std::size_t>(t)];
            segments.valid.data()[t] = source >= 0;
            for (Index c = 0; c < C; ++c) wide.matrix()(t, c) = source < 0 ? 9 : p.matrix()(source, c);
        }
        const Var<float> padded(placed(wide, device));
        const auto got =
            host(soft_balance_loss(tape, padded, padded, placed(segments, device), Scope::sequence).value());
        CHECK(got.data()[0] == want.data()[0]);
        CHECK(got.data()[1] == 0);
        CHECK(got.data()[2] == want.data()[1]);
        CHECK(want.data()[1] > 0.1f);
    });
}

TEST_CASE("soft_balance_loss: shapes that do not fit are errors") {
    Tape tape(test::context());
    const Var<float> p(Tensor<float>::zeros({2, 3}));
    const auto segments = Segments::of_lengths({2});
    CHECK_THROWS_AS(
        soft_balance_loss(tape, p, Var<float>(Tensor<float>::zeros({2, 2})), segments, Scope::micro), Error);
    CHECK_THROWS_AS(soft_balance_loss(tape, p, p, Segments::of_lengths({3}), Scope::micro), Error);
}
