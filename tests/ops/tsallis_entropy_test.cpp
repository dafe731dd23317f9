#include <moegrad/core/math_complex.hpp>
#include <moegrad/cpu/tsallis_entropy.hpp>
#include <moegrad/ops/tsallis_entropy.hpp>

#include "support/op_check.hpp"

using namespace moegrad;

MOEGRAD_TEST_COMPLEX_SEAT(tsallis_entropy);

namespace {

/// Twice, so that the second gradient accumulates; every fifth token is padding.
auto op(const TsallisOptions& options, bool padded = true) {
    return [=]<test::NeverRounded Real>(Tape& tape, const test::Inputs<Real>& in) {
        Tensor<std::uint8_t> valid;
        if (padded) {
            valid = Tensor<std::uint8_t>::zeros({in[0].extent(0)});
            for (Index t = 0; t < valid.size(); ++t) valid.data()[t] = t % 5 != 2;
            valid = placed(valid, tape.device());
        }
        return std::vector{tsallis_entropy(tape, in[0], valid, options),
                           tsallis_entropy(tape, in[0], {}, options)};
    };
}

/// softmax of [1, .5, 0, -.5], [0, 0, 0, 0], [2, 1, 0, -1], [4, 1, 0, -1].
Tensor<double> golden_rows() {
    auto p = Tensor<double>::from({4, 4}, {1, .5, 0, -.5, 0, 0, 0, 0, 2, 1, 0, -1, 4, 1, 0, -1});
    for (Index t = 0; t < 4; ++t) {
        double sum = 0;
        for (Index e = 0; e < 4; ++e) sum += std::exp(p.matrix()(t, e));
        for (Index e = 0; e < 4; ++e) p.matrix()(t, e) = std::exp(p.matrix()(t, e)) / sum;
    }
    return p;
}

struct Known {
    TsallisOptions options;
    double h[4];
    double dp[4];  // of row 2, dh = 1
};

/// With PyTorch 2 in double: H_q and its gradient by autograd.
constexpr Known kKnown[] = {{{1.1, 1e-5, true},
                             {0.895445609467647, 0.999704098354014, 0.677228457791398, 0.209376511961938},
                             {-8.13159984569756, -7.3577954425281, -6.65765691947346, -6.02421585410434}},
                            {{1.1, 1e-5, false},
                             {1.15914929744546, 1.29411132402483, 0.876668423809311, 0.271036715324952},
                             {-10.5263101952687, -9.52462475417608, -8.61829937993501, -7.79831348896365}},
                            {{1.4, 1e-5, true},
                             {0.893602081052566, 0.999924436158593, 0.671749901816535, 0.184096741335144},
                             {-2.75809025453417, -1.84882292001181, -1.23933902078751, -0.830819300150272}},
                            {{0.5, 1e-5, true},
                             {0.927782403458241, 1.00003999960001, 0.763461467749569, 0.389623043478621},
                             {0.623092624536029, 1.02729235737185, 1.69365733794602, 2.79209365576573}},
                            {{1.0, 1e-5, true},
                             {0.898129542218103, 1.00001114552211, 0.683530565886416, 0.224138402254444},
                             {-0.403828975315097, 0.317499296564352, 1.03879449657986, 1.75999981452809}},
                            {{2.0, 1e-5, false},
                             {0.678393153786631, 0.7499799996, 0.520619069673425, 0.131915544605391},
                             {-1.28784851977594, -0.47378563617982, -0.174308637484065, -0.06413720656017}}};

}  // namespace

TEST_CASE("tsallis_entropy: gradients and float against double, every q") {
    for (double q : {0.5, 1.0, 1.1, 2.0}) {
        for (bool normalize : {false, true}) {
            for (Index E : {1, 5, 67}) {
                test::check_op({&tsallis_entropy_slot},
                               [E](Index T) {
                                   return std::vector{Shape{T, E}};
                               },
                               op({q, 1e-5, normalize}, E != 5),
                               {.scale = {0.03}, .shift = {0.4}, .cuda_rows = {65, 300}});
            }
        }
        test::check_complex_step(op({q, 1e-5, true}), {test::random_tensor({3, 9}, 1, 0.03, 0.2)});
    }
}

TEST_CASE("tsallis_entropy: known values and gradients (DynMoLE's golden rows among them)") {
    for (const Known& known : kKnown) {
        CAPTURE(known.options.q);
        Tape tape(test::context());
        const auto p = tape.input(golden_rows());
        const auto h = tsallis_entropy(tape, p, {}, known.options);
        for (double& value : h.gradient()->target().tensor.values()) value = 1;
        tape.backward();
        for (std::size_t t = 0; t < 4; ++t) {
            CHECK(std::abs(h.value().values()[t] - known.h[t]) < 1e-13);
            CHECK(std::abs(p.gradient()->tensor().values()[8 + t] - known.dp[t]) < 1e-12);
        }
    }
}

TEST_CASE("tsallis_entropy: H_max is that of methods.md 4; q near 1 tends to Shannon") {
    CHECK(std::abs(1 / TsallisOptions{}.scale(8) - 1.877476) < 1e-6);
    CHECK(std::abs(1 / TsallisOptions{}.scale(4) - 1.294494) < 1e-6);
    Tape tape(test::context());
    const Var<double> p(golden_rows());
    const auto near = tsallis_entropy(tape, p, {}, {1 + 1e-7, 0, false});
    const auto shannon = tsallis_entropy(tape, p, {}, {1, 0, false});
    for (std::size_t t = 0; t < 4; ++t) {
        CHECK(near.value().values()[t] == doctest::Approx(shannon.value().values()[t]).epsilon(1e-6));
    }
}

TEST_CASE("tsallis_entropy: a column of 0 without eps, one column, padding, NaN") {
    test::on_each_device([](Context& context) {
        Tape tape(context);
        const auto valid = placed(Tensor<std::uint8_t>::from({4}, {1, 1, 0, 1}), context.device());
        const auto p = tape.input(
            test::tensor_on(context, Tensor<float>::from({4, 2}, {0, 1, .5f, .5f, NAN, 1, NAN, 1})));
        const auto h = tsallis_entropy(tape, p, valid, {0.5, 0, false});
        copy_values(Tensor<float>::from({4}, {1, 1, 1, 1}), h.gradient()->target().tensor);
        const auto values = host(h.value());
        CHECK(values.data()[0] == 0);
        CHECK(values.data()[1] == doctest::Approx(2 * (std::sqrt(2.0) - 1)));
        CHECK(values.data()[2] == 0);
        CHECK(std::isnan(values.data()[3]));
        tape.backward();
        const auto dp = host(p.gradient()->tensor());
        CHECK(dp.data()[0] == 0);
        CHECK(dp.data()[1] == doctest::Approx(1));
        CHECK(dp.data()[4] == 0);
        CHECK(dp.data()[5] == 0);
        const auto alone =
            host(tsallis_entropy(tape, Var<float>(test::tensor_on(context, Tensor<float>::from({1, 1}, {1}))),
                                 {}, TsallisOptions{})
                     .value());
        CHECK(alone.data()[0] == 0);
    });
}

TEST_CASE("tsallis_entropy: shapes and indices that do not fit are errors") {
    Tape tape(test::context());
    const Var<float> p(Tensor<float>::zeros({3, 2}));
    CHECK_THROWS_AS(tsallis_entropy(tape, Var<float>(Tensor<float>::zeros({3})), {}, {}), Error);
    CHECK_THROWS_AS(tsallis_entropy(tape, p, Tensor<std::uint8_t>::zeros({2}), {}), Error);
    for (double q : {0.0, -1.0, 2.1, static_cast<double>(NAN)}) {
        CHECK_THROWS_WITH_AS(tsallis_entropy(tape, p, {}, {q, 1e-5, true}), doctest::Contains("q in (0, 2]"),
                             Error);
    }
}
