#include <moegrad/autograd/lora_parameters.hpp>
#include <moegrad/autograd/parameter.hpp>
#include <moegrad/models/stored_tensor.hpp>
#include <moegrad/ops/linear.hpp>

#include "support/bits.hpp"

using namespace moegrad;
using test::random_tensor;

TEST_CASE("parameter: frozen has a value and nothing else") {
    Parameter<float> w("w", {2, 3});
    CHECK(w.name() == "w");
    CHECK(w.size() == 6);
    CHECK_FALSE(w.trainable());
    CHECK_FALSE(w.use().needs_gradient());
    CHECK(w.gradients().empty());
    CHECK_FALSE(Parameter<float>().defined());
    w.set_trainable(true);
    CHECK(w.use().needs_gradient());
    w.set_trainable(false);
    CHECK(w.gradients().empty());
    CHECK_FALSE(w.use().needs_gradient());
}

TEST_CASE("parameter: one gradient buffer per use, lasting, shared by all tapes") {
    Parameter<float> w("w", {1, 2});
    w.set_trainable(true);
    CHECK(w.use(0).gradient() == w.use().gradient());
    CHECK(w.use(1).gradient() != w.use(0).gradient());
    CHECK(w.gradients().size() == 2);
    CHECK(w.use(1).value().data() == w.value().data());
    const auto x = Tensor<float>::from({1, 2}, {3, 4});
    const auto pass = [&](int place) {
        Tape tape(test::context());
        const auto y = linear(tape, Var<float>(x), w.use(place));
        y.gradient()->target().tensor.data()[0] = 1;
        tape.backward();
    };
    pass(0);
    CHECK(w.gradients()[0]->tensor().data()[1] == 4);
    CHECK_FALSE(w.gradients()[1]->written());
    pass(0);
    CHECK(w.gradients()[0]->tensor().data()[1] == 8);  // accumulates until it is forgotten
    pass(1);
    CHECK(w.gradients()[1]->tensor().data()[1] == 4);
    CHECK(total_gradient(w).data()[1] == 12);
    w.forget_gradients();
    CHECK_FALSE(w.gradients()[0]->written());
    CHECK(total_gradient(w).data()[1] == 0);
    pass(0);
    CHECK(w.gradients()[0]->tensor().data()[1] == 4);
}

TEST_CASE("parameter: a move to where it lies already leaves gradients as they are") {
    Parameter<float> w("w", {1, 2});
    w.set_trainable(true);
    const auto gradient = w.use().gradient();
    w.move_to(Device::cpu);
    CHECK(w.use().gradient() == gradient);
}

TEST_CASE("parameter: two uses in one pass have the gradient of the product rule") {
    // y = (x W^T) W^T with one square W: d/dW by central differences.
    Parameter<double> w("w", {3, 3});
    const auto start = random_tensor({3, 3}, 1);
    std::copy(start.values().begin(), start.values().end(), w.value().data());
    w.set_trainable(true);
    const auto x = random_tensor({2, 3}, 2);
    const auto run = [&](Tape& tape) {
        return linear(tape, linear(tape, Var<double>(x), w.use(0)), w.use(1));
    };
    const auto value = [&] {
        Tape tape(test::context(), Mode::inference);
        double sum = 0;
        for (double one : run(tape).value().values()) sum += one;
        return sum;
    };
    Tape tape(test::context());
    const auto y = run(tape);
    const auto seeds = y.gradient()->target();
    for (double& one : seeds.tensor.values()) one = 1;
    tape.backward();
    const auto total = total_gradient(w);
    for (std::size_t i = 0; i < 9; ++i) {
        double& one = w.value().values()[i];
        const double kept = one;
        one = kept + 1e-5;
        const double above = value();
        one = kept - 1e-5;
        const double below = value();
        one = kept;
        CHECK(total.values()[i] == doctest::Approx((above - below) / 2e-5).epsilon(1e-7));
    }
}

TEST_CASE("parameter: moments start at zero, are made when asked for, and stay") {
    Parameter<float> w("w", {2, 2});
    CHECK(w.first_moment().shape() == Shape{2, 2});
    for (float value : w.second_moment().values()) CHECK(value == 0);
    w.first_moment().data()[3] = 5;
    CHECK(w.first_moment().data()[3] == 5);
    CHECK(w.second_moment().data()[3] == 0);
}

TEST_CASE("parameter: of a gradient that accumulates the next write may overwrite, and only that one") {
    Parameter<float> w("w", {1, 2});
    w.set_trainable(true);
    w.set_accumulates(true);
    const auto gradient = w.use().gradient();
    CHECK(gradient->target().write == Write::accumulate);
    w.overwrite_next(true);
    CHECK(gradient->target().write == Write::overwrite);
    CHECK(gradient->target().write == Write::accumulate);
    w.overwrite_next(true);
    w.overwrite_next(false);
    CHECK(gradient->target().write == Write::accumulate);
    CHECK(gradient->written());
}

TEST_CASE("parameter: zeros in place of a value, in float and in bf16") {
    Parameter<float> w("w", {1, 2});
    w.value().data()[1] = 3;
    w.clear_on(Device::cpu);
    CHECK(w.value().data()[1] == 0);
    Parameter<bf16> narrow("n", {1, 2});
    narrow.value().data()[0] = bf16(2.0f);
    narrow.clear_on(Device::cpu);
    CHECK(static_cast<float>(narrow.value().data()[0]) == 0);
    CHECK(narrow.shape() == Shape{1, 2});
}

TEST_CASE("lora parameters: shapes, scale and start") {
    LoraOptions options{.rank = 4, .alpha = 8};
    LoraParameters<float> lora("q_proj", 0, 6, 25, options, 1, 2);
    CHECK(lora.A.shape() == Shape{4, 25});
    CHECK(lora.B.shape() == Shape{6, 4});
    CHECK(lora.A.name() == "q_proj.lora_A.weight");
    CHECK(lora.scale == 2);
    CHECK(lora.rank() == 4);
    float largest = 0;
    for (float value : lora.A.value().values()) largest = std::max(largest, std::abs(value));
    CHECK(largest <= 0.2f);  // 1 / sqrt(25)
    CHECK(largest > 0.15f);
    for (float value : lora.B.value().values()) CHECK(value == 0);
    options.scale = LoraOptions::Scale::alpha_over_sqrt_rank;
    CHECK(LoraParameters<float>("q", 3, 6, 25, options, 1, 2).scale == 4);
    CHECK(LoraParameters<float>("q", 3, 6, 25, options, 1, 2).A.shape() == Shape{3, 4, 25});
    // The same seed and module give the same start in both number types; another module another one.
    const LoraParameters<double> same("q", 0, 6, 25, options, 1, 2), other("q", 0, 6, 25, options, 1, 3);
    CHECK(static_cast<float>(same.A.value().data()[7]) == doctest::Approx(lora.A.value().data()[7]));
    CHECK(same.A.value().data()[7] != other.A.value().data()[7]);
    CHECK_THROWS_WITH_AS(LoraParameters<float>("q", 0, 6, 25, {.rank = 0}, 1, 2), doctest::Contains("r >= 1"),
                         Error);
    CHECK_THROWS_WITH_AS(LoraParameters<float>("q", 0, 6, 25, {.dropout = 1}, 1, 2),
                         doctest::Contains("lora_dropout"), Error);
}
