#include <moegrad/autograd/checkpoint.hpp>
#include <moegrad/autograd/tape.hpp>
#include <moegrad/ops/linear.hpp>
#include <moegrad/ops/softmax.hpp>

#include "support/op_check.hpp"

using namespace moegrad;

namespace {

/// y = x + 1 in step memory; keeps `saved` more values until its backward has run, and says when that is.
Var<float> step(Tape& tape, const Var<float>& x, std::vector<int>& log, int name, Index saved = 0) {
    auto y = tape.output<float>(x.shape(), x.needs_gradient());
    for (Index i = 0; i < x.value().size(); ++i) y.value().data()[i] = x.value().data()[i] + 1;
    if (!y.needs_gradient()) return y;
    tape.record(y.gradient(),
                [&log, name, keep = tape.make<float>({saved}), dy = y.gradient(), dx = x.gradient()] {
                    log.push_back(name);
                    const auto target = dx->target();
                    for (Index i = 0; i < target.tensor.size(); ++i) {
                        float& place = target.tensor.data()[i];
                        place = dy->tensor().data()[i] + (target.write == Write::accumulate ? place : 0);
                    }
                });
    return y;
}

void write_ones(const Var<float>& y) {
    const auto target = y.gradient()->target();
    for (float& value : target.tensor.values()) value = 1;
}

}  // namespace

TEST_CASE("tape: closures run once, in the reverse of the order they were recorded") {
    Tape tape(test::context());
    std::vector<int> log;
    const auto x = tape.input(Tensor<float>::zeros({3}));
    const auto y = step(tape, step(tape, step(tape, x, log, 1), log, 2), log, 3);
    CHECK(tape.size() == 3);
    write_ones(y);
    tape.backward();
    CHECK(log == std::vector<int>{3, 2, 1});
    CHECK(tape.size() == 0);
    CHECK(x.gradient()->tensor().data()[2] == 1);
    tape.backward();
    CHECK(log.size() == 3);
}

TEST_CASE("tape: a closure whose output nobody asked about is skipped") {
    Tape tape(test::context());
    std::vector<int> log;
    const auto x = tape.input(Tensor<float>::zeros({3}));
    const auto used = step(tape, x, log, 1);
    step(tape, step(tape, x, log, 2), log, 3);  // leads nowhere
    write_ones(used);
    tape.backward();
    CHECK(log == std::vector<int>{1});
    CHECK(x.gradient()->tensor().data()[0] == 1);
}

TEST_CASE("tape: the first write overwrites poisoned memory, later ones add") {
    Tape tape(test::context());
    std::vector<int> log;
    const auto x = tape.input(Tensor<float>::zeros({2}));
    const auto a = step(tape, x, log, 1), b = step(tape, x, log, 2), c = step(tape, x, log, 3);
    CHECK_FALSE(x.gradient()->written());
    for (const auto& y : {a, b, c}) write_ones(y);
    tape.backward();
    CHECK(x.gradient()->tensor().data()[1] == 3);
}

TEST_CASE("tape: memory goes back while backward runs, closure by closure") {
    Context context({.device = Device::cpu, .threads = 1, .fill = Arena::Fill::poison});
    auto& arena = context.arena();
    {
        Tape tape(context);
        std::vector<int> log;
        std::vector<std::size_t> in_use;
        auto y = tape.input(Tensor<float>::zeros({4}));
        for (int i = 0; i < 5; ++i) {
            y = step(tape, y, log, i, 1000);
            // Recorded after step i: runs before it, when the steps above have already run.
            tape.record([&in_use, &arena] { in_use.push_back(arena.in_use()); });
        }
        write_ones(y);
        const auto full = arena.in_use();
        CHECK(full > 5 * 4000);
        y = Var<float>();
        tape.backward();
        REQUIRE(in_use.size() == 5);
        for (std::size_t i = 1; i < 5; ++i) CHECK(in_use[i] + 4000 <= in_use[i - 1]);
        CHECK(arena.in_use() == 0);
        CHECK(arena.peak() < full + 1000);  // gradients took the places of what had been freed
    }
    CHECK(arena.in_use() == 0);
}

TEST_CASE("tape: inference keeps nothing") {
    Context context({.device = Device::cpu, .threads = 1});
    Tape tape(context, Mode::inference);
    std::vector<int> log;
    auto y = tape.input(Tensor<float>::zeros({1000}));
    CHECK_FALSE(y.needs_gradient());
    const auto one = step(tape, y, log, 0, 1000).value();
    const auto after_one = context.arena().in_use();
    for (int i = 0; i < 5; ++i) y = step(tape, y, log, i, 1000);
    CHECK(tape.size() == 0);
    CHECK(context.arena().in_use() == 2 * after_one);  // `one` and the last y
    CHECK_FALSE(tape.recording());
}

TEST_CASE("tape: one that does not train records, and evaluates") {
    Tape tape(test::context());
    CHECK(tape.training());
    tape.set_trains(false);
    CHECK(tape.recording());
    CHECK_FALSE(tape.training());
    const auto keep = [](Tape& inner, const Var<float>& x) {
        CHECK_FALSE(inner.training());
        return inner.output<float>(x.shape(), true);
    };
    checkpoint(tape, tape.input(Tensor<float>::zeros({2, 2})), keep);
}

TEST_CASE("tape: an abandoned tape gives everything back without running") {
    Context context({.device = Device::cpu, .threads = 1});
    std::vector<int> log;
    {
        Tape tape(context);
        step(tape, step(tape, tape.input(Tensor<float>::zeros({100})), log, 1, 50), log, 2, 50);
        CHECK(context.arena().in_use() > 0);
    }
    CHECK(context.arena().in_use() == 0);
    CHECK(log.empty());
}

TEST_CASE("tape: constants get no gradient and record nothing") {
    Tape tape(test::context());
    const Var<float> w(Tensor<float>::from({1, 2}, {1, 2})), x(Tensor<float>::from({1, 2}, {3, 4}));
    CHECK(linear(tape, x, w).value().data()[0] == 11);
    CHECK(tape.size() == 0);
    const auto y = linear(tape, tape.input(x.value()), w);
    CHECK(y.needs_gradient());
    CHECK(tape.size() == 1);
}
