#include <moegrad/core/math_complex.hpp>
#include <moegrad/cpu/prior_kl.hpp>
#include <moegrad/ops/prior_kl.hpp>

#include "support/op_check.hpp"

using namespace moegrad;

MOEGRAD_TEST_COMPLEX_SEAT(prior_kl);

namespace {

/// Every third column labelled.
template <class Real>
Tensor<Real> prior_labels(Index T, Index E) {
    auto label = Tensor<Real>::zeros({T, E});
    for (Index i = 0; i < T * E; ++i) label.data()[i] = Real(i % 3 == 1 ? 1 : 0);
    return label;
}

const auto prior_op = []<test::NeverRounded Real>(Tape& tape, const test::Inputs<Real>& in) {
    const Index T = in[0].extent(0);
    auto valid = Tensor<std::uint8_t>::zeros({T});
    for (Index t = 0; t < T; ++t) valid.data()[t] = t % 3 != 1;
    const auto label = placed(prior_labels<Real>(T, in[0].extent(1)), tape.device());
    return std::vector{prior_kl(tape, in[0], label, placed(valid, tape.device())),
                       prior_kl(tape, in[0], label, {})};
};

}  // namespace

TEST_CASE("prior_kl: gradients and float against double") {
    for (Index E : {1, 5, 67}) {
        test::check_op({&prior_kl_slot},
                       [E](Index T) {
                           return std::vector{Shape{T, E}};
                       },
                       prior_op, {.cuda_rows = {65, 300}});
    }
}

TEST_CASE("prior_kl: complex step") {
    test::check_complex_step(prior_op, {test::random_tensor({3, 9}, 1)});
}

TEST_CASE("prior_kl golden: q of 2 and of 1 label out of 4, and the gradient of the formula") {
    // methods.md, section 20: q = 0.3655 / 0.1345 and 0.4754 / 0.1749. With p at a corner (logit 40) the value is
    // ln(1 / q) of that corner.
    const auto label = Tensor<double>::from({4, 4}, {1, 1, 0, 0, 1, 1, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0});
    Tape tape(test::context());
    auto z = tape.input(Tensor<double>::from({4, 4}, {40, 0, 0, 0, 0, 0, 40, 0, 40, 0, 0, 0, 0, 0, 0, 40}));
    const auto value = prior_kl(tape, z, label, {}).value();
    const double q[] = {0.3655, 0.1345, 0.4754, 0.1749};
    for (Index t = 0; t < 4; ++t) CHECK(std::exp(-value.data()[t]) == doctest::Approx(q[t]).epsilon(5e-4));

    // The formula in plain arithmetic.
    Tape second(test::context());
    auto logits = second.input(Tensor<double>::from({1, 4}, {0.3, -1.2, 0.8, 0.1}));
    const auto kl = prior_kl(second, logits, Tensor<double>::from({1, 4}, {0, 1, 1, 0}), {});
    kl.gradient()->target().tensor.data()[0] = 1;
    second.backward();
    double p[4], r[4], sum = 0, mean = 0, other = 0;
    for (int e = 0; e < 4; ++e) sum += p[e] = std::exp(logits.value().data()[e]);
    const double label_of[] = {0, 1, 1, 0};
    for (const double one : label_of) other += std::exp(one);
    for (int e = 0; e < 4; ++e) {
        p[e] /= sum;
        r[e] = std::log(p[e] / (std::exp(label_of[e]) / other));
        mean += p[e] * r[e];
    }
    CHECK(kl.value().data()[0] == doctest::Approx(mean).epsilon(1e-12));
    for (int e = 0; e < 4; ++e) {
        CHECK(logits.gradient()->tensor().data()[e] == doctest::Approx(p[e] * (r[e] - mean)).epsilon(1e-12));
    }
}

TEST_CASE("prior_kl: padding gives 0 and is not read, a sure router stays finite, NaN stays NaN") {
    test::on_each_device([&](Context& context) {
        Tape tape(context);
        const auto z = tape.input(
            test::tensor_on(context, Tensor<float>::from({4, 2}, {NAN, NAN, 1000, -1000, 0, 0, NAN, 0})));
        const auto label = test::tensor_on(context, Tensor<float>::from({4, 2}, {0, 0, 0, 1, 1, 1, 1, 0}));
        const auto value =
            prior_kl(tape, z, label, test::tensor_on(context, Tensor<std::uint8_t>::from({4}, {0, 1, 1, 1})));
        copy_values(Tensor<float>::from({4}, {1, 1, 1, 1}), value.gradient()->target().tensor);
        tape.backward();
        const auto got = host(value.value()), dz = host(z.gradient()->tensor());
        CHECK(got.data()[0] == 0);
        CHECK(std::isfinite(got.data()[1]));
        CHECK(std::abs(got.data()[2]) < 1e-6f);
        CHECK(std::isnan(got.data()[3]));
        CHECK(dz.data()[0] == 0);
        CHECK(std::isfinite(dz.data()[2]));
    });
    Tape tape(test::context());
    CHECK_THROWS_WITH_AS(
        prior_kl(tape, Var<float>(Tensor<float>::zeros({3, 2})), Tensor<float>::zeros({2, 2}), {}),
        doctest::Contains("label [2, 2]"), Error);
}
