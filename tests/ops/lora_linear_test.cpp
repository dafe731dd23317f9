#include <moegrad/core/math_complex.hpp>
#include <moegrad/cpu/lora_linear.hpp>
#include <moegrad/ops/add.hpp>
#include <moegrad/ops/dropout.hpp>
#include <moegrad/ops/lora_linear.hpp>

#include "support/bits.hpp"
#include "support/grouped_reference.hpp"

using namespace moegrad;

MOEGRAD_TEST_COMPLEX_SEAT(lora_linear);

namespace {

/// Inputs x, w, A, B.
auto op_with(double rate) {
    return [rate]<class Real>(Tape& tape, const test::Inputs<Real>& in) {
        const test::Dropping dropping(tape);
        const LoraWeights<Real> lora{in[2], in[3], 0.75, {rate, 4}};
        const auto segments = placed(Segments::of_lengths({in[0].extent(0)}), tape.device());
        return std::vector{lora_linear<Real>(tape, in[0], in[1], lora, segments)};
    };
}
/// In double with the roundings of bf16: drop(x), u and du after their scale; what a mask leaves of du A; of y and dx both
/// products, where they are not one (cuda/support/low_rank.cuh).
auto rounded_op(double rate) {
    return [rate](Tape& tape, const test::Inputs<double>& in) {
        const test::Dropping dropping(tape);
        const Index R = in[2].extent(0);
        const bool apart = !test::one_contraction({in[0].extent(1), in[1].extent(0), R});
        const Var<double> x = in[0];
        const auto part = apart || rate > 0 ? test::rounded_gradient(tape, x) : x;
        const auto kept = apart || rate > 0 ? test::rounded_gradient(tape, x) : x;
        const auto segments = Segments::of_lengths({x.extent(0)});
        const auto dropped = rate == 0 ? kept : test::rounded(tape, dropout(tape, kept, segments, {rate, 4}));
        const auto u = test::rounded_multiple(tape, linear(tape, dropped, in[2]), 0.75);
        const auto base = linear(tape, part, in[1]), low = linear(tape, u, in[3]);
        return std::vector{apart ? add(tape, test::rounded(tape, base), test::rounded(tape, low))
                                 : add(tape, base, low)};
    };
}
auto shapes(Index D, Index O, Index R) {
    return [=](Index T) { return std::vector{Shape{T, D}, Shape{O, D}, Shape{R, D}, Shape{O, R}}; };
}

}  // namespace

TEST_CASE("lora_linear: gradients and float against double") {
    for (double rate : {0.0, 0.3}) {
        const auto check = [&](Index D, Index O, Index R) {
            test::check_op({&lora_linear_slot}, shapes(D, O, R), op_with(rate), {}, rounded_op(rate));
        };
        check(5, 3, 2);
        check(1, 1, 1);
        check(3, 2, 5);  // R above both
        check(17, 9, 3);
        test::check_op({&lora_linear_slot}, shapes(64, 72, 16), op_with(rate),
                       {.rows = {}, .cuda_rows = {40}}, rounded_op(rate));
    }
}

TEST_CASE("lora_linear: a GPU reads dy once for du and dB, in slices and pieces whose last are short") {
    for (const Index R : {8, 16, 24, 32}) {
        const bool few = test::rows_are_limited();
        const Index slice = R > 16 ? 256 : 128, T = few ? 64 : 1025, O = (few ? 128 : 16) * slice + 8;
        REQUIRE(rank_cut(T, O, R).slice == slice);
        for (double rate : {0.0, 0.3}) {
            if (rate > 0 && R > 16) continue;  // the mask comes behind du, and this takes its time
            test::check_op({&lora_linear_slot}, shapes(8, O, R), op_with(rate),
                           {.rows = {}, .cuda_rows = {T}}, rounded_op(rate));
        }
    }
}

TEST_CASE("lora_linear: complex step") {
    for (double rate : {0.0, 0.3}) {
        test::check_complex_step(op_with(rate),
                                 {test::random_tensor({3, 9}, 1), test::random_tensor({4, 9}, 2),
                                  test::random_tensor({2, 9}, 3), test::random_tensor({4, 2}, 4)});
    }
}

TEST_CASE("lora_linear: equals the merged weight w + s B A") {
    const Index T = 6, D = 8, O = 5, R = 3;
    const auto x = test::random_tensor({T, D}, 1), w = test::random_tensor({O, D}, 2),
               A = test::random_tensor({R, D}, 3), B = test::random_tensor({O, R}, 4);
    auto want = Tensor<double>::zeros({T, O});
    for (Index t = 0; t < T; ++t) {
        for (Index o = 0; o < O; ++o) {
            for (Index d = 0; d < D; ++d) {
                double merged = w.view<2>()(o, d);
                for (Index r = 0; r < R; ++r) merged += 2 * B.view<2>()(o, r) * A.view<2>()(r, d);
                want.data()[t * O + o] += x.view<2>()(t, d) * merged;
            }
        }
    }
    Tape tape(test::context());
    const auto y =
        lora_linear<double>(tape, Var<double>(x), Var<double>(w), {Var<double>(A), Var<double>(B), 2}, {});
    CHECK(test::relative_error(y.value(), want) < 1e-14);
}

TEST_CASE("lora_linear: with B = 0 it is the linear to the bit") {
    Tape tape(test::context());
    const auto x = tape.input(test::random_tensor<float>({9, 70}, 1)),
               w = tape.input(test::random_tensor<float>({33, 70}, 2));
    const LoraWeights<float> lora{tape.input(test::random_tensor<float>({8, 70}, 3)),
                                  tape.input(Tensor<float>::zeros({33, 8})),
                                  2,
                                  {0.1, 3}};
    CHECK(test::same_bits(lora_linear(tape, x, w, lora, Segments::of_lengths({9})).value(),
                          linear(tape, x, w).value()));
}

TEST_CASE("lora_linear: bits do not depend on threads or on the cut into micro-batches") {
    const auto segments = Segments::of_lengths({20, 1, 16});
    test::check_bits<float>({test::random_tensor<float>({37, 65}, 1)},
                            {test::random_tensor<float>({19, 65}, 2), test::random_tensor<float>({3, 65}, 3),
                             test::random_tensor<float>({19, 3}, 4)},
                            [&](Tape& tape, const auto& rows, const auto& weights, Index begin, Index end) {
                                const LoraWeights<float> lora{weights[1], weights[2], 1.5, {0.2, 6}};
                                return lora_linear(tape, rows[0], weights[0], lora,
                                                   test::cut(segments, begin, end));
                            });
}

TEST_CASE("lora_linear: any part may be frozen, the others keep their gradients") {
    const std::vector<Tensor<double>> in = {test::random_tensor({4, 5}, 1), test::random_tensor({3, 5}, 2),
                                            test::random_tensor({2, 5}, 3), test::random_tensor({3, 2}, 4)};
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

TEST_CASE("lora_linear: shapes that do not fit are an error that names all") {
    Tape tape(test::context());
    const auto zeros = [](const Shape& shape) { return Var<float>(Tensor<float>::zeros(shape)); };
    const LoraWeights<float> lora{zeros({2, 4}), zeros({3, 3})};
    CHECK_THROWS_WITH_AS(lora_linear(tape, zeros({2, 4}), zeros({3, 4}), lora, {}),
                         doctest::Contains("x [2, 4], w [3, 4], A [2, 4], B [3, 3]"), Error);
}
