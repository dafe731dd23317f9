#include <moegrad/core/math_complex.hpp>
#include <moegrad/cpu/z_loss.hpp>
#include <moegrad/ops/z_loss.hpp>

#include "support/op_check.hpp"

using namespace moegrad;

MOEGRAD_TEST_COMPLEX_SEAT(z_loss);

namespace {
const auto op = []<test::NeverRounded Real>(Tape& tape, const test::Inputs<Real>& in) {
    const Index T = in[0].extent(0);
    auto valid = Tensor<std::uint8_t>::zeros({T});
    for (Index t = 0; t < T; ++t) valid.data()[t] = t % 3 != 1;
    return std::vector{z_loss(tape, in[0], placed(valid, tape.device())), z_loss(tape, in[0], {})};
};
}  // namespace

TEST_CASE("z_loss: gradients and float against double") {
    for (Index E : {1, 5, 67}) {
        test::check_op({&z_loss_slot},
                       [E](Index T) {
                           return std::vector{Shape{T, E}};
                       },
                       op, {.cuda_rows = {65, 300}});
    }
}

TEST_CASE("z_loss: complex step") {
    test::check_complex_step(op, {test::random_tensor({3, 9}, 1)});
}

TEST_CASE("z_loss: golden mean of the router z-loss") {
    Tape tape(test::context());
    const Var<double> z(Tensor<double>::from({3, 4}, {2, 1, 0, -1, 1, -1, 0, -2, -1, -2, 1, 0}));
    const auto value = z_loss(tape, z, {}).value();
    CHECK(std::abs((value.data()[0] + value.data()[1] + value.data()[2]) / 3 - 3.367606) < 5e-7);
    CHECK(value.data()[0] == doctest::Approx(5.954525764964177).epsilon(1e-14));
}

TEST_CASE("z_loss: padding gives 0 and is not read, large logits stay finite") {
    const auto logits = Tensor<float>::from({3, 2}, {NAN, NAN, 1000, 1000, -1000, -INFINITY});
    const auto valid = Tensor<std::uint8_t>::from({3}, {0, 1, 1});
    test::on_each_device([&](Context& context) {
        Tape tape(context);
        const auto z = tape.input(test::tensor_on(context, logits));
        const auto value = z_loss(tape, z, test::tensor_on(context, valid));
        copy_values(Tensor<float>::from({3}, {1, 1, 1}), value.gradient()->target().tensor);
        tape.backward();
        const auto per_token = host(value.value());
        CHECK(per_token.data()[0] == 0);
        CHECK(per_token.data()[1] == doctest::Approx(1000.6931471805599 * 1000.6931471805599));
        CHECK(per_token.data()[2] == doctest::Approx(1e6));
        const auto gradient = host(z.gradient()->tensor());
        const auto dz = gradient.view<2>();
        CHECK(dz(0, 0) == 0);
        CHECK(dz(1, 1) == doctest::Approx(1000.6931471805599).epsilon(1e-4));
        CHECK(dz(2, 0) == doctest::Approx(-2000));
        CHECK(dz(2, 1) == 0);
    });
}

TEST_CASE("z_loss: shapes that do not fit are an error that names both") {
    Tape tape(test::context());
    Var<float> z(Tensor<float>::zeros({2, 4}));
    CHECK_THROWS_WITH_AS(z_loss(tape, z, Tensor<std::uint8_t>::zeros({3})),
                         doctest::Contains("z [2, 4], valid [3]"), Error);
}
