#include <moegrad/core/math_complex.hpp>
#include <moegrad/cpu/renormalize.hpp>
#include <moegrad/ops/renormalize.hpp>

#include "support/op_check.hpp"

using namespace moegrad;

MOEGRAD_TEST_COMPLEX_SEAT(renormalize);

namespace {

/// Every pattern of used slots comes up, the empty one too.
Tensor<std::int32_t> some_slots(Index T, Index K) {
    auto index = Tensor<std::int32_t>::zeros({T, K});
    for (Index t = 0; t < T; ++t) {
        for (Index k = 0; k < K; ++k) index.matrix().row(t)[k] = (t >> (k % 3)) % 2 == 0 ? 4 : -2;
    }
    return index;
}

/// Twice, so that the second gradient accumulates.
auto op(Index groups) {
    return [=]<test::NeverRounded Real>(Tape& tape, const test::Inputs<Real>& in) {
        const auto index = placed(some_slots(in[0].extent(0), in[0].extent(1)), tape.device());
        return std::vector{renormalize(tape, in[0], index, groups), renormalize(tape, in[0], index, groups)};
    };
}

}  // namespace

TEST_CASE("renormalize: gradients and float against double") {
    // Weights near 2: no sum close to 0.
    const test::OpCheckOptions options{
        .rows = {0, 1, 9}, .scale = {0.3}, .shift = {2}, .cuda_rows = {64, 301}};
    for (const auto& [K, groups] : {std::pair<Index, Index>{3, 1}, {1, 1}, {5, 2}, {16, 1}, {40, 1}}) {
        test::check_op(
            {&renormalize_slot},
            [K = K, groups = groups](Index T) {
                return std::vector{Shape{T, groups * K}};
            },
            op(groups), options);
    }
    test::check_complex_step(op(1), {test::random_tensor({8, 3}, 1, 0.3, 2)});
}

TEST_CASE("renormalize: one true expert has weight exactly 1 and no gradient, none has zeros") {
    for (float weight : {0.3f, 1e-30f, 7e-42f, 0.999999f}) {
        const auto weights = Tensor<float>::from({2, 3}, {0.7f, weight, 0.1f, 0.5f, 0.2f, 0.1f});
        const auto index = Tensor<std::int32_t>::from({2, 3}, {-2, 3, -2, -2, -1, -3});
        const auto du = Tensor<float>::from({2, 3}, {1.7f, 0.3f, 5, 4, 1, 2});
        test::on_each_device([&](Context& context) {
            Tape tape(context);
            const auto w = tape.input(test::tensor_on(context, weights));
            const auto u = renormalize(tape, w, test::tensor_on(context, index));
            const std::vector<float> want{0, 1, 0, 0, 0, 0};
            CHECK(std::equal(want.begin(), want.end(), host(u.value()).values().begin()));
            copy_values(du, u.gradient()->target().tensor);
            tape.backward();
            const auto dw = host(w.gradient()->tensor());
            for (float gradient : dw.values()) CHECK(gradient == 0);
        });
    }
}

TEST_CASE("renormalize: weights that sum to 0 give zeros, not NaN") {
    test::on_each_device([](Context& context) {
        Tape tape(context);
        const auto w = tape.input(test::tensor_on(context, Tensor<float>::zeros({1, 2})));
        const auto u = renormalize(tape, w, test::tensor_on(context, Tensor<std::int32_t>::zeros({1, 2})));
        copy_values(Tensor<float>::from({1, 2}, {1, 2}), u.gradient()->target().tensor);
        tape.backward();
        const auto value = host(u.value()), dw = host(w.gradient()->tensor());
        for (std::size_t i : {0u, 1u}) {
            CHECK(value.values()[i] == 0);
            CHECK(dw.values()[i] == 0);
        }
    });
}

TEST_CASE("renormalize: AdaMoE's weights over the true experts only (golden)") {
    // p of the logits [2,1,0,-1], [1,-1,0,-2], [-1,-2,1,0]; choices {0,1}, {0,2}, {2,3}; true experts 0 and
    // 1.
    const auto softmax = [](std::vector<double> z, std::size_t a, std::size_t b) {
        double sum = 0;
        for (double& v : z) sum += v = std::exp(v);
        return std::pair{z[a] / sum, z[b] / sum};
    };
    const auto t0 = softmax({2, 1, 0, -1}, 0, 1), t1 = softmax({1, -1, 0, -2}, 0, 2),
               t2 = softmax({-1, -2, 1, 0}, 2, 3);
    Tape tape(test::context());
    const Var<double> w(
        Tensor<double>::from({3, 2}, {t0.first, t0.second, t1.first, t1.second, t2.first, t2.second}));
    const auto u = renormalize(tape, w, Tensor<std::int32_t>::from({3, 2}, {0, 1, 0, -2, -2, -2}));
    const std::vector<double> want{.731059, .268941, 1, 0, 0, 0};
    for (std::size_t i = 0; i < want.size(); ++i) CHECK(std::abs(u.value().values()[i] - want[i]) < 1e-6);
}

TEST_CASE("renormalize: shapes that do not fit are an error that names both") {
    Tape tape(test::context());
    const Var<float> w(Tensor<float>::zeros({2, 4}));
    CHECK_THROWS_WITH_AS(renormalize(tape, w, Tensor<std::int32_t>::zeros({2, 3})),
                         doctest::Contains("w [2, 4], index [2, 3]"), Error);
    CHECK_THROWS_AS(renormalize(tape, w, Tensor<std::int32_t>::zeros({2, 4}), 3), Error);
}
