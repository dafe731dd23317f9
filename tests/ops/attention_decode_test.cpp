// attention_decode against attention on the whole sequence: the same bits, row by row, for any cut into old and new.

#include <moegrad/ops/attention_decode.hpp>

#include "support/bits.hpp"
#include "support/op_check.hpp"

using namespace moegrad;

namespace {

/// Rows of `attention` over one sequence of m tokens, and of attention_decode for its last n.
template <class Real>
void check_decode(Index m, Index n, const AttentionOptions& options) {
    CAPTURE(m);
    CAPTURE(n);
    CAPTURE(options.window);
    const Index columns = options.heads * options.head_dim, key_columns = options.kv_heads * options.head_dim;
    const auto q = test::random_tensor<Real>({m, columns}, 1, 2);
    const auto k = test::random_tensor<Real>({m, key_columns}, 2);
    const auto v = test::random_tensor<Real>({m, key_columns}, 3);
    Tape tape(test::context(), Mode::inference);
    const auto whole =
        attention(tape, Var<Real>(q), Var<Real>(k), Var<Real>(v), Segments::of_lengths({m}), options).value();
    const auto y = tape.make<Real>({n, columns});
    attention_decode(tape, q.rows(m - n, m), k, v, y, options);
    const auto expected = whole.rows(m - n, m);
    for (Index row = 0; row < n; ++row) {
        for (Index d = 0; d < columns; ++d) {
            REQUIRE(y.data()[row * columns + d] == expected.data()[row * columns + d]);
        }
    }
}

template <class Real>
void check_all() {
    const AttentionOptions plain{.heads = 4, .kv_heads = 2, .head_dim = 8, .scale = 0, .window = 0};
    const AttentionOptions window{.heads = 2, .kv_heads = 1, .head_dim = 6, .scale = 0.3, .window = 5};
    const AttentionOptions wide{.heads = 3, .kv_heads = 3, .head_dim = 12, .scale = 0, .window = 40};
    for (const auto& options : {plain, window, wide}) {
        for (const Index m : {1, 7, 32, 33, 70, 131}) {
            for (const Index n : {Index{0}, Index{1}, Index{3}, m}) {
                if (n <= m) check_decode<Real>(m, n, options);
            }
        }
    }
    test::add_reference_record(attention_decode_slot, number_of<Real>());
}

}  // namespace

TEST_CASE("attention_decode: the bits of attention over the whole sequence") {
    check_all<float>();
    check_all<double>();
}

TEST_CASE("attention_decode: keep copies rows, also into a wider tensor") {
    const auto from = test::random_tensor<float>({7, 5}, 4);
    const auto wide = Tensor<float>::zeros({7, 9});
    const auto to = wide.columns(2, 7);
    attention_decode_slot.get<float>(Device::cpu)
        .keep(test::context().stream(), from.view<2>(), to.view<2>());
    for (Index row = 0; row < 7; ++row) {
        for (Index d = 0; d < 9; ++d) {
            CHECK(wide.data()[row * 9 + d] == (d >= 2 && d < 7 ? from.data()[row * 5 + d - 2] : 0.0f));
        }
    }
}

TEST_CASE("attention_decode: more new rows than there are is an error") {
    const AttentionOptions options{.heads = 1, .kv_heads = 1, .head_dim = 4, .scale = 0, .window = 0};
    const auto q = Tensor<float>::zeros({3, 4}), k = Tensor<float>::zeros({2, 4});
    Tape tape(test::context(), Mode::inference);
    CHECK_THROWS_AS(attention_decode(tape, q, k, k, q, options), Error);
}
