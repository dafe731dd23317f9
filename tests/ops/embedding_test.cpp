#include <moegrad/core/math_complex.hpp>
#include <moegrad/cpu/embedding.hpp>
#include <moegrad/ops/embedding.hpp>

#include "support/bits.hpp"

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
    return [T]<class Real>(Tape& tape, const std::vector<Var<Real>>& in) {
        return std::vector{embedding(tape, ids(T, in[0].extent(0)), in[0])};
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
