#include <moegrad/autograd/checkpoint.hpp>
#include <moegrad/autograd/parameter.hpp>
#include <moegrad/ops/add.hpp>
#include <moegrad/ops/dropout.hpp>
#include <moegrad/ops/linear.hpp>
#include <moegrad/ops/softmax.hpp>
#include <moegrad/ops/take.hpp>
#include <moegrad/ops/top_k.hpp>

#include "support/bits.hpp"

using namespace moegrad;
using test::random_tensor;
using test::same_bits;

namespace {

const Segments kSegments = Segments::of_lengths({3, 4});

/// A residual layer with dropout: y = x + dropout(softmax(x W^T)).
Var<float> layer(Tape& tape, const Var<float>& x, Parameter<float>& w, std::uint32_t module) {
    return add(tape, x, dropout(tape, softmax(tape, linear(tape, x, w.use())), kSegments, {0.3, module}));
}

struct Result {
    Tensor<float> value, dx, dw;
};

template <class Stack>
Result run(const Stack& stack) {
    Parameter<float> w("w", {5, 5});
    const auto start = random_tensor<float>({5, 5}, 3);
    std::copy(start.values().begin(), start.values().end(), w.value().data());
    w.set_trainable(true);
    Tape tape(test::context());
    const auto x = tape.input(random_tensor<float>({7, 5}, 4));
    const auto y = stack(tape, x, w);
    detail::seed_projection<float>({y});
    tape.backward();
    return {y.value(), x.gradient()->tensor(), w.gradients().at(0)->tensor()};
}

/// Chosen scores, where the scores of the n-th run are those of scores[n].
Var<double> choose(Tape& tape, const Var<double>& x, const std::vector<Tensor<double>>& scores,
                   std::size_t& runs, std::vector<std::int32_t>& chosen) {
    const auto choice = top_k(tape, scores.at(runs++), 1);
    chosen.push_back(choice.data()[0]);
    return take(tape, x, choice);
}

}  // namespace

TEST_CASE("checkpoint: value and gradients are those of a plain run, to the bit") {
    const auto plain = run([](Tape& tape, const Var<float>& x, Parameter<float>& w) {
        return layer(tape, layer(tape, x, w, 1), w, 2);
    });
    const auto each = run([](Tape& tape, const Var<float>& x, Parameter<float>& w) {
        const auto once =
            checkpoint(tape, x, [&w](Tape& t, const Var<float>& in) { return layer(t, in, w, 1); });
        return checkpoint(tape, once, [&w](Tape& t, const Var<float>& in) { return layer(t, in, w, 2); });
    });
    const auto nested = run([](Tape& tape, const Var<float>& x, Parameter<float>& w) {
        return checkpoint(tape, x, [&w](Tape& t, const Var<float>& in) {
            const auto once =
                checkpoint(t, in, [&w](Tape& u, const Var<float>& v) { return layer(u, v, w, 1); });
            return layer(t, once, w, 2);
        });
    });
    for (const auto* other : {&each, &nested}) {
        CHECK(same_bits(other->value, plain.value));
        CHECK(same_bits(other->dx, plain.dx));
        CHECK(same_bits(other->dw, plain.dw));
    }
    // The comparison can fail: another mask.
    const auto masked = run([](Tape& tape, const Var<float>& x, Parameter<float>& w) {
        return layer(tape, layer(tape, x, w, 1), w, 3);
    });
    CHECK_FALSE(same_bits(masked.value, plain.value));
}

TEST_CASE("checkpoint: a segment that returns its input passes the gradient through, and adds it") {
    Tape tape(test::context());
    const auto x = tape.input(random_tensor<float>({2, 3}, 1));
    const auto same = checkpoint(tape, x, [](Tape&, const Var<float>& in) { return in; });
    const auto y = add(tape, x, same);
    const auto target = y.gradient()->target();
    for (float& value : target.tensor.values()) value = 1;
    tape.backward();
    for (float value : x.gradient()->tensor().values()) CHECK(value == 2);
}

TEST_CASE("checkpoint: the choice of the first run is used again, whatever the scores have become") {
    const auto high_low = Tensor<double>::from({1, 2}, {2, 1}),
               low_high = Tensor<double>::from({1, 2}, {1, 2});
    const auto x = Tensor<double>::from({1, 2}, {10, 20});
    for (const bool nested : {false, true}) {
        Tape tape(test::context());
        const auto in = tape.input(x);
        std::size_t runs = 0;
        std::vector<std::int32_t> chosen;
        const std::vector<Tensor<double>> scores{high_low, low_high};
        const auto segment = [&](Tape& t, const Var<double>& v) {
            return choose(t, v, scores, runs, chosen);
        };
        const auto y =
            nested ? checkpoint(tape, in,
                                [&](Tape& t, const Var<double>& v) { return checkpoint(t, v, segment); })
                   : checkpoint(tape, in, segment);
        CHECK(y.value().data()[0] == 10);
        y.gradient()->target().tensor.data()[0] = 1;
        tape.backward();
        CHECK(runs == 2);
        CHECK(chosen == std::vector<std::int32_t>{0, 0});
        CHECK(in.gradient()->tensor().data()[0] == 1);
        CHECK(in.gradient()->tensor().data()[1] == 0);
    }
    // Without a checkpoint the second scores decide anew.
    Tape tape(test::context());
    std::size_t runs = 1;
    std::vector<std::int32_t> chosen;
    choose(tape, tape.input(x), {high_low, low_high}, runs, chosen);
    CHECK(chosen == std::vector<std::int32_t>{1});
}

TEST_CASE("checkpoint: a replay that asks for more choices, or other ones, is an error") {
    const auto scores = Tensor<double>::from({1, 3}, {1, 2, 3});
    for (const bool wider : {false, true}) {
        Tape tape(test::context());
        int runs = 0;
        const auto y = checkpoint(tape, tape.input(Tensor<double>::from({1, 3}, {1, 2, 3})),
                                  [&](Tape& t, const Var<double>& v) {
                                      ++runs;
                                      if (runs == 2 && !wider) top_k(t, scores, 1);
                                      return take(t, v, top_k(t, scores, runs == 2 && wider ? 2 : 1));
                                  });
        y.gradient()->target().tensor.data()[0] = 1;
        CHECK_THROWS_WITH_AS(tape.backward(), doctest::Contains("the same ops as the first time"), Error);
    }
}

TEST_CASE("checkpoint: the first run keeps its result only") {
    Context context({.device = Device::cpu, .threads = 1});
    Parameter<float> w("w", {64, 64});
    const auto in_use = [&](bool checkpointed) {
        Tape tape(context);
        auto y = tape.input(random_tensor<float>({128, 64}, 1));
        for (int i = 0; i < 4; ++i) {
            const auto segment = [&w](Tape& t, const Var<float>& v) {
                return softmax(t, linear(t, softmax(t, linear(t, softmax(t, v), w.use())), w.use()));
            };
            y = checkpointed ? checkpoint(tape, y, segment) : segment(tape, y);
        }
        return context.arena().in_use();
    };
    CHECK(in_use(true) <= 5 * std::size_t{128 * 64 * 4});
    CHECK(in_use(false) > 2 * in_use(true));
    CHECK(context.arena().in_use() == 0);
}

TEST_CASE("checkpoint: in inference the segment runs once and nothing is recorded") {
    Tape tape(test::context(), Mode::inference);
    int runs = 0;
    checkpoint(tape, Var<float>(random_tensor<float>({2, 3}, 1)), [&](Tape& t, const Var<float>& v) {
        ++runs;
        return softmax(t, v);
    });
    CHECK(runs == 1);
    CHECK(tape.size() == 0);
}
