#include <moegrad/core/math_complex.hpp>
#include <moegrad/cpu/molora_linear.hpp>
#include <moegrad/ops/molora_linear.hpp>

#include "support/bits.hpp"
#include "support/rounded_molora.hpp"

using namespace moegrad;

MOEGRAD_TEST_COMPLEX_SEAT(molora_linear);

namespace {

/// K different experts below `used` or none (-1 .. -3) per token; not in ascending order.
Tensor<std::int32_t> choices(Index T, Index K, Index used) {
    auto expert = Tensor<std::int32_t>::zeros({T, K});
    for (Index t = 0; t < T; ++t) {
        for (Index k = 0; k < K; ++k) {
            const Index e = (5 * t + 2 * used - k) % used;
            expert.data()[t * K + k] = static_cast<std::int32_t>((t + k) % 4 == 3 ? -1 - t % 3 : e);
        }
    }
    return expert;
}

/// Inputs x, w, A, B, weight; one expert of A is never chosen when there are several.
auto op_with(double rate) {
    return [rate]<class Real>(Tape& tape, const test::Inputs<Real>& in) {
        const test::Dropping dropping(tape);
        const Index T = in[0].extent(0), E = in[2].extent(0), K = in[4].extent(1);
        const LoraWeights<Real> experts{in[2], in[3], 0.75, {rate, 4}};
        const auto expert = placed(choices(T, K, std::max<Index>(1, E - 1)), tape.device());
        const auto segments = placed(Segments::of_lengths({T}), tape.device());
        return std::vector{molora_linear<Real>(tape, in[0], in[1], experts, expert, in[4], segments)};
    };
}
auto rounded_op(double rate) {
    return [rate](Tape& tape, const test::Inputs<double>& in) {
        const std::vector<Var<double>> v{in[0], in[1], in[2], in[3], in[4]};
        const Index E = in[2].extent(0);
        test::RoundedMolora op{
            v[0].value(), v[1].value(), v[2].value(),
            v[3].value(), v[4].value(), {},
            {},           {},           choices(v[0].extent(0), v[4].extent(1), std::max<Index>(1, E - 1)),
            rate};
        const auto y = tape.wrap(op.forward(), v[0].needs_gradient());
        if (!y.needs_gradient()) return std::vector{y};
        tape.record(y.gradient(), [op, v, dy = y.gradient()] {
            std::vector<Tensor<double>> into;
            for (const auto& input : v) {
                into.push_back(input.gradient()->target().tensor);
                std::fill_n(into.back().data(), into.back().size(), 0.0);
            }
            op.backward(dy->tensor(), into[0], into[1], into[2], into[3], into[4]);
        });
        return std::vector{y};
    };
}

auto shapes(Index D, Index O, Index R, Index E, Index K) {
    return [=](Index T) {
        return std::vector{Shape{T, D}, Shape{O, D}, Shape{E, R, D}, Shape{E, O, R}, Shape{T, K}};
    };
}
std::vector<Tensor<double>> inputs(const std::vector<Shape>& all) {
    std::vector<Tensor<double>> in;
    for (const Shape& shape : all) in.push_back(test::random_tensor(shape, in.size() + 1));
    return in;
}

}  // namespace

TEST_CASE("molora_linear: gradients and float against double") {
    for (double rate : {0.0, 0.3}) {
        const auto check = [&](const auto& in, const test::OpCheckOptions& options = {}) {
            test::check_op({&molora_linear_slot}, in, op_with(rate), options, rounded_op(rate));
        };
        check(shapes(5, 3, 2, 4, 2));
        check(shapes(1, 1, 1, 1, 1));
        check(shapes(3, 2, 5, 3, 1));  // R above both
        check(shapes(9, 7, 3, 5, 3));
        check(shapes(64, 40, 8, 4, 2), {.rows = {}, .cuda_rows = {40}});
    }
}

TEST_CASE("molora_linear: complex step") {
    for (double rate : {0.0, 0.3}) test::check_complex_step(op_with(rate), inputs(shapes(5, 4, 2, 4, 2)(6)));
}

TEST_CASE("molora_linear: equals the sum over the chosen experts") {
    const Index T = 7, D = 5, O = 3, R = 2, E = 4, K = 2;
    const auto in = inputs(shapes(D, O, R, E, K)(T));
    const auto expert = choices(T, K, E);
    auto want = Tensor<double>::zeros({T, O});
    for (Index t = 0; t < T; ++t) {
        for (Index o = 0; o < O; ++o) {
            double& y = want.data()[t * O + o];
            for (Index d = 0; d < D; ++d) y += in[0].view<2>()(t, d) * in[1].view<2>()(o, d);
            for (Index k = 0; k < K; ++k) {
                const Index e = expert.data()[t * K + k];
                if (e < 0) continue;
                for (Index r = 0; r < R; ++r) {
                    for (Index d = 0; d < D; ++d) {
                        y += in[4].view<2>()(t, k) * 0.5 * in[0].view<2>()(t, d) * in[2].view<3>()(e, r, d) *
                             in[3].view<3>()(e, o, r);
                    }
                }
            }
        }
    }
    Tape tape(test::context());
    const LoraWeights<double> experts{Var<double>(in[2]), Var<double>(in[3]), 0.5};
    const auto y =
        molora_linear(tape, Var<double>(in[0]), Var<double>(in[1]), experts, expert, Var<double>(in[4]), {});
    CHECK(test::relative_error(y.value(), want) < 1e-14);
}

TEST_CASE("molora_linear: one expert of weight 1 is lora_linear to the bit") {
    const Index T = 11, D = 70, O = 33, R = 8;
    const auto x = test::random_tensor<float>({T, D}, 1), w = test::random_tensor<float>({O, D}, 2);
    const auto A = test::random_tensor<float>({1, R, D}, 3), B = test::random_tensor<float>({1, O, R}, 4);
    auto ones = Tensor<float>::zeros({T, 1});
    for (float& value : ones.values()) value = 1;
    const auto segments = Segments::of_lengths({4, 7});
    for (double rate : {0.0, 0.2}) {
        const auto run = [&](bool mixture) {
            Tape tape(test::context());
            std::vector<Var<float>> v;
            for (const auto& t : {x, w, mixture ? A : A.slice(0), mixture ? B : B.slice(0)})
                v.push_back(tape.input(t));
            const LoraWeights<float> lora{v[2], v[3], 2, {rate, 3}};
            const auto y = mixture
                               ? molora_linear(tape, v[0], v[1], lora, Tensor<std::int32_t>::zeros({T, 1}),
                                               Var<float>(ones), segments)
                               : lora_linear(tape, v[0], v[1], lora, segments);
            moegrad::detail::seed_projection<float>({y});
            tape.backward();
            std::vector<Tensor<float>> all = {y.value()};
            for (const auto& input : v) {
                const auto& gradient = input.gradient()->tensor();
                all.push_back(gradient.reshape({gradient.size()}));
            }
            return all;
        };
        const auto plain = run(false), mixed = run(true);
        for (std::size_t i = 0; i < plain.size(); ++i) {
            INFO("rate ", rate, ", result ", i);
            CHECK(test::same_bits(plain[i], mixed[i]));
        }
    }
}

TEST_CASE("molora_linear: what nobody chose contributes nothing and gets exact zeros") {
    const Index T = 6, E = 3;
    Tape tape(test::context());
    const auto x = tape.input(test::random_tensor<float>({T, 9}, 1)),
               w = tape.input(test::random_tensor<float>({5, 9}, 2));
    auto a = test::random_tensor<float>({E, 2, 9}, 3), b = test::random_tensor<float>({E, 5, 2}, 4);
    for (Index i = 0; i < 18; ++i) a.data()[18 + i] = NAN;  // expert 1 is never read
    const auto A = tape.input(a), B = tape.input(b);
    const auto weight = tape.input(test::random_tensor<float>({T, 2}, 5));
    auto expert = Tensor<std::int32_t>::zeros({T, 2});
    for (Index t = 0; t < T; ++t) {
        expert.data()[2 * t] = t == 3 ? -2 : 2;
        expert.data()[2 * t + 1] = t == 3 ? -3 : t == 4 ? 0 : -1;
    }
    const auto y = molora_linear(tape, x, w, {A, B, 2, {0.1, 1}}, expert, weight, Segments::of_lengths({T}));
    CHECK(test::same_bits(y.value().rows(3, 4), linear(tape, x, w).value().rows(3, 4)));
    moegrad::detail::seed_projection<float>({y});
    tape.backward();
    for (Index i = 0; i < 18; ++i) CHECK(A.gradient()->tensor().data()[18 + i] == 0);
    for (Index i = 0; i < 10; ++i) CHECK(B.gradient()->tensor().data()[10 + i] == 0);
    for (Index t = 0; t < T; ++t) {
        for (Index k = 0; k < 2; ++k) {
            CHECK((weight.gradient()->tensor().data()[2 * t + k] != 0) == (expert.data()[2 * t + k] >= 0));
        }
    }
}

TEST_CASE("molora_linear: bits do not depend on threads or on the cut into micro-batches") {
    const Index T = 37, E = 4, K = 2;
    const auto segments = Segments::of_lengths({20, 1, 16});
    const auto expert = choices(T, K, E);
    test::check_bits<float>(
        {test::random_tensor<float>({T, 65}, 1), test::random_tensor<float>({T, K}, 5)},
        {test::random_tensor<float>({19, 65}, 2), test::random_tensor<float>({E, 3, 65}, 3),
         test::random_tensor<float>({E, 19, 3}, 4)},
        [&](Tape& tape, const auto& rows, const auto& weights, Index begin, Index end) {
            const LoraWeights<float> experts{weights[1], weights[2], 1.5, {0.2, 6}};
            return molora_linear(tape, rows[0], weights[0], experts, expert.rows(begin, end), rows[1],
                                 test::cut(segments, begin, end));
        });
}

TEST_CASE("molora_linear: any part may be frozen, the others keep their gradients") {
    const auto in = inputs(shapes(5, 3, 2, 4, 2)(6));
    const auto run = [](Tape& tape, const auto& v) { return op_with(0.3)(tape, test::Inputs<double>(v)); };
    const auto all = projected_gradients<double>(test::context(), run, in);
    for (std::size_t only = 0; only < in.size(); ++only) {
        Tape tape(test::context());
        std::vector<Var<double>> variables;
        for (std::size_t n = 0; n < in.size(); ++n) {
            variables.push_back(n == only ? tape.input(in[n]) : Var<double>(in[n]));
        }
        moegrad::detail::seed_projection<double>(run(tape, variables));
        tape.backward();
        INFO("trainable: ", only);
        CHECK(test::same_bits(variables[only].gradient()->tensor(), all[only]));
    }
}

TEST_CASE("molora_linear: choices and shapes that do not fit are errors") {
    Tape tape(test::context());
    const auto zeros = [](const Shape& shape) { return Var<float>(Tensor<float>::zeros(shape)); };
    const auto call = [&](const Shape& b, const Tensor<std::int32_t>& expert) {
        molora_linear(tape, zeros({2, 4}), zeros({3, 4}), {zeros({2, 1, 4}), zeros(b)}, expert, zeros({2, 2}),
                      {});
    };
    CHECK_THROWS_WITH_AS(call({2, 3, 1}, Tensor<std::int32_t>::from({2, 2}, {0, 1, 2, -1})),
                         doctest::Contains("expert 2 in slot 0 of token 1"), Error);
    CHECK_THROWS_WITH_AS(call({2, 3, 1}, Tensor<std::int32_t>::from({2, 2}, {0, 1, 1, 1})),
                         doctest::Contains("expert 1 in slots 0 and 1 of token 1"), Error);
    CHECK_THROWS_WITH_AS(call({2, 3, 2}, Tensor<std::int32_t>::from({2, 2}, {0, 1, 0, 1})),
                         doctest::Contains("A [2, 1, 4], B [2, 3, 2]"), Error);
    call({2, 3, 1}, Tensor<std::int32_t>::from({2, 2}, {0, 1, -1, -1}));
}
