#include <moegrad/core/math_complex.hpp>
#include <moegrad/cpu/linear_cross_entropy.hpp>
#include <moegrad/ops/linear_cross_entropy.hpp>

#include "support/bits.hpp"

using namespace moegrad;

MOEGRAD_TEST_COMPLEX_SEAT(linear_cross_entropy);

namespace {

/// Every third token is unsupervised.
Tensor<std::int32_t> targets(Index T, Index V) {
    auto target = Tensor<std::int32_t>::zeros({T});
    for (Index t = 0; t < T; ++t) {
        target.data()[t] = t % 3 == 1 ? kIgnoreTarget : static_cast<std::int32_t>((5 * t + 2) % V);
    }
    return target;
}

const auto op = []<class Real>(Tape& tape, const test::Inputs<Real>& in) {
    return std::vector{
        linear_cross_entropy<Real>(tape, in[0], in[1], targets(in[0].extent(0), in[1].extent(0)))};
};

/// p - e of every token, rounded where `factor` (or 1) times it goes into a product; zeros where nothing is supervised.
Tensor<double> rounded_gradient(const Tensor<double>& x, const Tensor<double>& w, const double* factor) {
    const Index T = x.extent(0), D = x.extent(1), V = w.extent(0);
    const auto target = targets(T, V);
    auto g = Tensor<double>::zeros({T, V});
    for (Index t = 0; t < T; ++t) {
        if (target.data()[t] == kIgnoreTarget) continue;
        double* row = g.data() + t * V;
        double sum = 0;
        for (Index v = 0; v < V; ++v) {
            double z = 0;
            for (Index d = 0; d < D; ++d) z += x.data()[t * D + d] * w.data()[v * D + d];
            sum += row[v] = std::exp(z);
        }
        for (Index v = 0; v < V; ++v) {
            const double e = v == target.data()[t] ? 1 : 0;
            row[v] = test::round_to_bf16((factor == nullptr ? 1 : factor[t]) * (row[v] / sum - e));
        }
    }
    return g;
}

/// The op in double with the roundings of bf16: p - e, xhat = (p - e) w, and d (p - e) in dw.
const auto rounded_op = [](Tape& tape, const test::Inputs<double>& in) {
    const Var<double> x = in[0], w = in[1];
    const Index T = x.extent(0), D = x.extent(1), V = w.extent(0);
    const auto exact =
        linear_cross_entropy<double>(tape, Var<double>(x.value()), Var<double>(w.value()), targets(T, V));
    const auto nll = tape.wrap(exact.value(), x.needs_gradient());
    if (!nll.needs_gradient()) return std::vector{nll};
    tape.record(nll.gradient(), [=, dy = nll.gradient()] {
        const double* d = dy->tensor().data();
        const auto g = rounded_gradient(x.value(), w.value(), nullptr),
                   dg = rounded_gradient(x.value(), w.value(), d);
        auto dx = x.gradient()->target().tensor, dw = w.gradient()->target().tensor;
        std::fill_n(dw.data(), dw.size(), 0.0);
        for (Index t = 0; t < T; ++t) {
            for (Index c = 0; c < D; ++c) {
                double xhat = 0;
                for (Index v = 0; v < V; ++v) {
                    xhat += g.data()[t * V + v] * w.value().data()[v * D + c];
                    dw.data()[v * D + c] += dg.data()[t * V + v] * x.value().data()[t * D + c];
                }
                dx.data()[t * D + c] = d[t] * test::round_to_bf16(xhat);
            }
        }
    });
    return std::vector{nll};
};

struct Result {
    float nll;
    std::vector<float> dlogits;
};
/// One token whose logits are given: x = 1, w = logits.
Result of_logits(const std::vector<float>& logits, std::int32_t target) {
    Tape tape(test::context());
    const Index V = static_cast<Index>(logits.size());
    const Var<float> x(Tensor<float>::from({1, 1}, {1}));
    const auto w = tape.input(Tensor<float>::from({V, 1}, logits));
    const auto nll = linear_cross_entropy(tape, x, w, Tensor<std::int32_t>::from({1}, {target}));
    nll.gradient()->target().tensor.data()[0] = 1;
    tape.backward();
    const auto gradient = w.gradient()->tensor().values();
    return {nll.value().data()[0], {gradient.begin(), gradient.end()}};
}

}  // namespace

TEST_CASE("linear_cross_entropy: gradients and float against double") {
    for (const Index V : {Index{2}, Index{7}, Index{33}}) {
        test::check_op(
            {&linear_cross_entropy_slot},
            [V](Index T) {
                return std::vector{Shape{T, 5}, Shape{V, 5}};
            },
            op, {}, rounded_op);
    }
    test::check_op(
        {&linear_cross_entropy_slot},
        [](Index T) {
            return std::vector{Shape{T, 1}, Shape{1, 1}};
        },
        op, {}, rounded_op);
}

TEST_CASE("linear_cross_entropy: a large vocabulary") {
    // Several groups a thread, rows that a GPU's registers hold (to 32,768) and longer ones, which it reads twice; logits and rows
    // of x with 16-byte accesses and without.
    for (const auto& [V, D] : {std::pair{Index{4099}, Index{8}},
                               {Index{4096}, Index{3}},
                               {Index{32768}, Index{2}},
                               {Index{32771}, Index{2}},
                               {Index{36868}, Index{2}}}) {
        test::check_op(
            {&linear_cross_entropy_slot},
            [V = V, D = D](Index T) {
                return std::vector{Shape{T, D}, Shape{V, D}};
            },
            op, {.rows = {}, .cuda_rows = {5}}, rounded_op);
    }
}

TEST_CASE("linear_cross_entropy: a list of supervised tokens that ends in -1, and targets out of range") {
    if (!has_cuda()) return;
    Context& there = test::cuda_context();
    const Index T = 7, V = 9;
    const auto run = [&](const Tensor<std::int32_t>& target, const Tensor<std::int32_t>& row) {
        Tape tape(there);
        const auto x = tape.input(test::tensor_on(there, test::random_tensor<float>({T, 4}, 1))),
                   w = tape.input(test::tensor_on(there, test::random_tensor<float>({V, 4}, 2)));
        const auto nll = linear_cross_entropy<float>(tape, x, w, target, row);
        copy_values(test::random_tensor<float>({T}, 3), nll.gradient()->target().tensor);
        tape.backward();
        return std::vector{host(nll.value()), host(x.gradient()->tensor()), host(w.gradient()->tensor())};
    };
    const auto target = targets(T, V);
    const auto on_device = test::tensor_on(there, target);
    const auto want = run(target, {});
    const auto got =
        run(on_device, test::tensor_on(there, Tensor<std::int32_t>::from({8}, {0, 2, 3, 5, 6, -1, -1, -1})));
    for (std::size_t i = 0; i < 3; ++i) CHECK(test::relative_error(got[i], want[i]) < 1e-6);
    CHECK_THROWS_WITH_AS(run(on_device, {}), doctest::Contains("no list"), Error);

    auto bad = targets(T, V);
    bad.data()[3] = static_cast<std::int32_t>(V);
    const auto left_out = run(test::tensor_on(there, bad),
                              test::tensor_on(there, Tensor<std::int32_t>::from({5}, {0, 2, 3, 5, 6})));
    CHECK(left_out[0].data()[3] == 0);
    CHECK(left_out[0].data()[2] == want[0].data()[2]);
}

TEST_CASE("linear_cross_entropy: complex step") {
    test::check_complex_step(op, {test::random_tensor({5, 9}, 1), test::random_tensor({4, 9}, 2)});
}

TEST_CASE("linear_cross_entropy: against long double, and zero where nothing is supervised") {
    const Index T = 5, V = 11, D = 3;
    const auto x = test::random_tensor({T, D}, 1), w = test::random_tensor({V, D}, 2);
    const auto target = targets(T, V);
    Tape tape(test::context(), Mode::inference);
    const auto nll = linear_cross_entropy(tape, Var<double>(x), Var<double>(w), target);
    for (Index t = 0; t < T; ++t) {
        if (target.data()[t] == kIgnoreTarget) {
            CHECK(nll.value().data()[t] == 0);
            continue;
        }
        long double sum = 0, own = 0;
        for (Index v = 0; v < V; ++v) {
            long double z = 0;
            for (Index d = 0; d < D; ++d)
                z += static_cast<long double>(x.view<2>()(t, d)) * w.view<2>()(v, d);
            sum += std::exp(z);
            if (v == target.data()[t]) own = z;
        }
        CHECK(nll.value().data()[t] ==
              doctest::Approx(static_cast<double>(std::log(sum) - own)).epsilon(1e-14));
    }
}

TEST_CASE("linear_cross_entropy: extreme logits") {
    const float huge = 3e38f;
    CHECK(of_logits({1e4f, -1e4f}, 0).nll == 0);
    CHECK(of_logits({1e4f, -1e4f}, 1).nll == 2e4f);
    CHECK(of_logits({1e4f, -1e4f}, 1).dlogits == std::vector<float>{1, -1});
    CHECK(of_logits({huge, -huge}, 0).nll == 0);
    CHECK(of_logits({huge, -huge}, 0).dlogits == std::vector<float>{0, 0});
    CHECK(of_logits({-huge, huge / 2}, 0).nll == INFINITY);  // 4.5e38 is no float
    CHECK(of_logits({-huge, huge / 2}, 0).dlogits == std::vector<float>{-1, 1});
    CHECK(of_logits({huge, huge, huge}, 2).nll == doctest::Approx(std::log(3.0)));
    CHECK(of_logits({7, 7, 7, 7}, 1).nll == doctest::Approx(std::log(4.0)));
    CHECK(of_logits({7, 7, 7, 7}, 1).dlogits == std::vector<float>{0.25f, -0.75f, 0.25f, 0.25f});
    CHECK(of_logits({-5}, 0).nll == 0);
    CHECK(of_logits({-5}, 0).dlogits == std::vector<float>{0});
    CHECK(std::isnan(of_logits({NAN, 1}, 1).nll));
    CHECK(std::isnan(of_logits({1, NAN}, 0).nll));
}

TEST_CASE("linear_cross_entropy: no supervised token gives zeros, one of many its own loss") {
    Tape tape(test::context());
    const auto x = tape.input(test::random_tensor<float>({9, 4}, 1)),
               w = tape.input(test::random_tensor<float>({6, 4}, 2));
    auto target = Tensor<std::int32_t>::zeros({9});
    for (std::int32_t& id : target.values()) id = kIgnoreTarget;
    const auto seed_and_run = [&](const Var<float>& nll) {
        auto d = nll.gradient()->target();
        for (float& value : d.tensor.values()) value = 1;
        tape.backward();
    };
    const auto none = linear_cross_entropy(tape, x, w, target);
    seed_and_run(none);
    for (const auto& t : {none.value(), x.gradient()->tensor(), w.gradient()->tensor()}) {
        for (float value : t.values()) CHECK(value == 0);
    }
    target.data()[6] = 2;
    const auto one = linear_cross_entropy(tape, x, w, target);
    seed_and_run(one);
    const auto alone = linear_cross_entropy(tape, Var<float>(x.value().rows(6, 7)), Var<float>(w.value()),
                                            Tensor<std::int32_t>::from({1}, {2}));
    CHECK(one.value().data()[6] == alone.value().data()[0]);
    CHECK(one.value().data()[6] > 0);
    for (Index t = 0; t < 9; ++t) CHECK((x.gradient()->tensor().data()[4 * t] != 0) == (t == 6));
}

TEST_CASE("linear_cross_entropy: the upstream gradient is per token") {
    const auto x = test::random_tensor({3, 4}, 1), w = test::random_tensor({5, 4}, 2);
    const auto gradient = [&](double d0, double d2) {
        Tape tape(test::context());
        const auto leaf = tape.input(x);
        const auto nll = linear_cross_entropy(tape, leaf, Var<double>(w), targets(3, 5));
        std::copy_n(std::vector{d0, 99.0, d2}.data(), 3, nll.gradient()->target().tensor.data());
        tape.backward();
        return leaf.gradient()->tensor();
    };
    const auto one = gradient(1, 1), scaled = gradient(3, -2);
    for (Index c = 0; c < 4; ++c) {
        CHECK(scaled.data()[c] == doctest::Approx(3 * one.data()[c]));
        CHECK(scaled.data()[4 + c] == 0);
        CHECK(scaled.data()[8 + c] == doctest::Approx(-2 * one.data()[8 + c]));
    }
}

TEST_CASE("linear_cross_entropy: bits do not depend on threads, micro-batches or pieces of logits") {
    const auto check = [](Index T, Index V, Index D) {
        const auto target = targets(T, V);
        test::check_bits<float>(
            {test::random_tensor<float>({T, D}, 1)}, {test::random_tensor<float>({V, D}, 2)},
            [&](Tape& tape, const auto& rows, const auto& weights, Index begin, Index end) {
                return linear_cross_entropy(tape, rows[0], weights[0], target.rows(begin, end));
            });
    };
    check(37, 50, 33);
    CHECK(cross_entropy_rows(4, 700000) == 2);  // six tokens have four supervised: two pieces
    check(6, 700000, 2);
}

TEST_CASE("linear_cross_entropy: a target that is neither a token nor the ignored one is an error") {
    Tape tape(test::context());
    const Var<float> x(Tensor<float>::zeros({2, 4})), w(Tensor<float>::zeros({5, 4}));
    CHECK_THROWS_WITH_AS(linear_cross_entropy(tape, x, w, Tensor<std::int32_t>::from({2}, {0, -1})),
                         doctest::Contains("target -1 at position 1"), Error);
    CHECK_THROWS_WITH_AS(linear_cross_entropy(tape, x, w, Tensor<std::int32_t>::from({2}, {5, 0})),
                         doctest::Contains("target 5 at position 0"), Error);
    CHECK_THROWS_WITH_AS(linear_cross_entropy(tape, x, w, Tensor<std::int32_t>::zeros({3})),
                         doctest::Contains("x [2, 4], w [5, 4], target [3]"), Error);
}
