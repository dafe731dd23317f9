#include <moegrad/core/math_complex.hpp>
#include <moegrad/cpu/embedding.hpp>
#include <moegrad/ops/embedding.hpp>

#include "support/bits.hpp"
#include "support/device_status.hpp"

using namespace moegrad;

MOEGRAD_TEST_COMPLEX_SEAT(embedding);

namespace {

/// Ids that repeat, and leave some of the V rows unused.
Tensor<std::int32_t> ids(Index T, Index V) {
    auto id = Tensor<std::int32_t>::zeros({T});
    for (Index t = 0; t < T; ++t) id.data()[t] = static_cast<std::int32_t>(t * t % V);
    return id;
}

auto op_of(Index T) {
    return [T]<class Real>(Tape& tape, const test::Inputs<Real>& in) {
        const auto id = placed(ids(T, in[0].extent(0)), tape.device());
        return std::vector{embedding<Real>(tape, id, in[0])};
    };
}

}  // namespace

TEST_CASE("embedding: gradients and float against double") {
    for (Index T : {Index{0}, Index{1}, Index{7}}) {
        for (const Shape& w : {Shape{5, 3}, Shape{1, 1}, Shape{4, 67}}) {
            test::OpCheckOptions options;
            options.rows = {T};
            test::check_op(
                {&embedding_slot}, [&](Index) { return std::vector{w}; }, op_of(T), options);
        }
    }
}

/// T ids: all one, all different, or most one and the rest spread.
Tensor<std::int32_t> ids_like(int kind, Index T, Index V) {
    auto id = Tensor<std::int32_t>::zeros({T});
    for (Index t = 0; t < T; ++t) {
        const Index spread = t * 7919 % V;
        id.data()[t] = static_cast<std::int32_t>(kind == 0    ? V - 1
                                                 : kind == 1  ? spread
                                                 : t % 3 == 0 ? spread
                                                              : 2);
    }
    return id;
}

TEST_CASE("embedding: many tokens of one id, or of none, on a GPU") {
    for (int kind : {0, 1, 2}) {
        for (const Shape& w : {Shape{211, 16}, Shape{40, 5}, Shape{3, 8}}) {
            CAPTURE(kind);
            test::OpCheckOptions options;
            options.rows = {};
            options.cuda_rows = {0, 1, 31, 32, 33, 64, 211, 500};
            options.float_bound = 2e-6;
            // The second use makes the gradient accumulate.
            const auto f = [kind]<class Real>(Tape& tape, const test::Inputs<Real>& in) {
                const Index V = in[0].extent(0), T = in[1].extent(0);
                const auto id = placed(ids_like(kind, T, V), tape.device());
                const auto other = placed(ids_like(2, T, V), tape.device());
                return std::vector{embedding<Real>(tape, id, in[0]), embedding<Real>(tape, other, in[0])};
            };
            // The second input only tells the number of tokens.
            test::check_op(
                {&embedding_slot},
                [&](Index T) {
                    return std::vector{w, Shape{T, 1}};
                },
                f, options);
        }
    }
}

TEST_CASE("embedding: a GPU gives no number for an id outside the vocabulary, and no gradient") {
    if (!has_cuda()) return;
    for (Index D : {2, 8}) {
        Tape tape(test::cuda_context());
        const auto w =
            tape.input(test::tensor_on(test::cuda_context(), test::random_tensor<float>({3, D}, 1)));
        const auto id = placed(Tensor<std::int32_t>::from({4}, {2, -1, 3, 2}), Device::cuda);
        const auto y = embedding(tape, id, w);
        const auto values = host(y.value());
        for (Index i = 0; i < 4 * D; ++i) CHECK(std::isnan(values.data()[i]) == (i / D == 1 || i / D == 2));
        auto ones = Tensor<float>::zeros({4, D});
        std::fill_n(ones.data(), ones.size(), 1.0f);
        copy_values(ones, y.gradient()->target().tensor);
        tape.backward();
        const auto dw = host(w.gradient()->tensor());
        for (Index i = 0; i < 3 * D; ++i) CHECK(dw.data()[i] == (i / D == 2 ? 2 : 0));
        if (test::device_reports()) CHECK(test::take_status().bad_index == 1);
    }
}

TEST_CASE("embedding: complex step") {
    test::check_complex_step(op_of(6), {test::random_tensor({4, 3}, 1)});
}

TEST_CASE("embedding: rows by hand, unused rows get exact zeros") {
    Tape tape(test::context());
    auto w = tape.input(Tensor<float>::from({3, 2}, {1, 2, 3, 4, 5, 6}));
    auto y = embedding(tape, Tensor<std::int32_t>::from({3}, {2, 0, 2}), w);
    CHECK(test::same_bits(y.value(), Tensor<float>::from({3, 2}, {5, 6, 1, 2, 5, 6})));
    auto dy = y.gradient()->target();
    for (int i = 0; i < 6; ++i) dy.tensor.data()[i] = static_cast<float>(i + 1);
    tape.backward();
    CHECK(test::same_bits(w.gradient()->tensor(), Tensor<float>::from({3, 2}, {3, 4, 0, 0, 6, 8})));
}

TEST_CASE("embedding: bits do not depend on threads or on the cut into micro-batches") {
    const auto id = ids(41, 7);
    // The row input only carries the number of rows; it is added so that there is something to cut.
    test::check_bits<float>({test::random_tensor<float>({41, 70}, 1)},
                            {test::random_tensor<float>({7, 70}, 2)},
                            [&](Tape& tape, const auto&, const auto& weights, Index begin, Index end) {
                                return embedding(tape, id.rows(begin, end), weights[0]);
                            });
}

TEST_CASE("embedding: an id outside the vocabulary is an error that names id and position") {
    Tape tape(test::context());
    Var<float> w(Tensor<float>::zeros({3, 2}));
    CHECK_THROWS_WITH_AS(embedding(tape, Tensor<std::int32_t>::from({2}, {1, 3}), w),
                         doctest::Contains("id 3 at position 1"), Error);
    CHECK_THROWS_WITH_AS(embedding(tape, Tensor<std::int32_t>::from({2}, {-1, 2}), w),
                         doctest::Contains("id -1 at position 0"), Error);
    CHECK_THROWS_AS(embedding(tape, Tensor<std::int32_t>::zeros({2, 2}), w), Error);
}
