// Gradients that several Vars share: what add hands over, and when a copy is made.

#include <moegrad/autograd/checkpoint.hpp>
#include <moegrad/autograd/gradcheck.hpp>
#include <moegrad/cpu/add.hpp>
#include <moegrad/cpu/sigmoid.hpp>
#include <moegrad/ops/add.hpp>
#include <moegrad/ops/sigmoid.hpp>

#include "support/bits.hpp"
#include "support/op_check.hpp"

using namespace moegrad;

namespace {

/// Of f(tape, {x, z}) against differences.
template <class Function>
void check_gradient(const Function& f) {
    const auto run = [&](Tape& tape, const std::vector<Var<double>>& in) { return std::vector{f(tape, in)}; };
    const auto report =
        gradcheck(test::context(), run, {test::random_tensor({3, 4}, 1), test::random_tensor({3, 4}, 2)});
    INFO(report.where);
    CHECK(report.worst <= 1);
}

}  // namespace

TEST_CASE("shared gradient: both sides of a sum take over one tensor, also along a chain of sums") {
    Tape tape(test::context());
    const auto a = tape.input(test::random_tensor({3, 4}, 1)), b = tape.input(test::random_tensor({3, 4}, 2)),
               c = tape.input(test::random_tensor({3, 4}, 3));
    const auto y = add(tape, add(tape, a, b), c);
    const auto dy = test::random_tensor({3, 4}, 4);
    REQUIRE(y.gradient()->adopt(dy));
    tape.backward();
    for (const auto& x : {a, b, c}) CHECK(x.gradient()->tensor().data() == dy.data());
}

TEST_CASE("shared gradient: what is added to one of them does not reach the others") {
    // In reverse: dx, df and dg are dy; sigmoid adds to dx while f has still to read df.
    check_gradient([](Tape& tape, const std::vector<Var<double>>& in) {
        const auto x = sigmoid(tape, in[0]), f = sigmoid(tape, x), g = sigmoid(tape, x);
        return add(tape, g, add(tape, x, f));
    });
    // dx is the only one left where the last of its readers adds to it: in place.
    check_gradient([](Tape& tape, const std::vector<Var<double>>& in) {
        const auto x = sigmoid(tape, in[0]);
        return add(tape, x, sigmoid(tape, x));
    });
}

TEST_CASE("shared gradient: a value added to itself gets it twice, and so does one of two sums") {
    check_gradient([](Tape& tape, const std::vector<Var<double>>& in) { return add(tape, in[0], in[0]); });
    check_gradient([](Tape& tape, const std::vector<Var<double>>& in) {
        const auto x = sigmoid(tape, in[0]), z = sigmoid(tape, in[1]);
        return add(tape, add(tape, x, z), add(tape, z, sigmoid(tape, x)));
    });
}

TEST_CASE("shared gradient: a checkpointed sum leaves what the others read") {
    check_gradient([](Tape& tape, const std::vector<Var<double>>& in) {
        const auto x = sigmoid(tape, in[0]), z = sigmoid(tape, in[1]);
        const auto y =
            checkpoint(tape, x, [](Tape& t, const Var<double>& v) { return add(t, v, sigmoid(t, v)); });
        return add(tape, z, add(tape, y, x));
    });
}

TEST_CASE(
    "shared gradient: one tensor goes down a residual stream, added to in place, also through checkpoints") {
    for (const bool recomputed : {false, true}) {
        CAPTURE(recomputed);
        Tape tape(test::context());
        const auto x = tape.input(test::random_tensor({3, 4}, 1));
        const double* place = nullptr;
        {
            const auto layer = [](Tape& t, const Var<double>& v) {
                return add(t, v, sigmoid(t, sigmoid(t, v)));
            };
            auto y = x;
            for (int i = 0; i < 2; ++i) y = recomputed ? checkpoint(tape, y, layer) : layer(tape, y);
            const auto dy = test::random_tensor({3, 4}, 2);
            place = dy.data();
            REQUIRE(y.gradient()->adopt(dy));
        }
        tape.backward();
        CHECK(x.gradient()->tensor().data() == place);
    }
}

TEST_CASE("shared gradient: a lasting gradient keeps its tensor") {
    const auto lasting = Tensor<double>::zeros({3, 4});
    const auto gradient = std::make_shared<Gradient<double>>(lasting);
    Tape tape(test::context());
    const Var<double> a(test::random_tensor({3, 4}, 1), gradient);
    const auto b = tape.input(test::random_tensor({3, 4}, 2));
    const auto y = add(tape, a, b);
    const auto dy = test::random_tensor({3, 4}, 4);
    REQUIRE(y.gradient()->adopt(dy));
    tape.backward();
    CHECK(gradient->tensor().data() == lasting.data());
    CHECK(test::same_bits(lasting, dy));
}
