// attention_decode against attention on the whole sequence, row by row, for any cut into old and new: the
// same bits on the CPU, the same to rounding on a GPU.

#include <moegrad/nn/key_value_cache.hpp>

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

/// Rows of attention over one sequence in pieces through a cache against the whole at once.
template <class Real>
void check_cache(Context& context, Index head, Index window, double bound) {
    const AttentionOptions options{.heads = 4, .kv_heads = 2, .head_dim = head, .window = window};
    CAPTURE(options.head_dim);
    const Index T = 75;
    std::vector<Tensor<Real>> in;
    for (Index heads : {options.heads, options.kv_heads, options.kv_heads}) {
        const auto values = test::random_tensor<double>({T, heads * options.head_dim}, 40 + in.size());
        in.push_back(test::tensor_on(context, test::convert_through_float<Real>(values)));
    }
    Tape tape(context, Mode::inference);
    const auto whole = attention(tape, Var<Real>(in[0]), Var<Real>(in[1]), Var<Real>(in[2]),
                                 placed(Segments::of_lengths({T}), context.device()), options);
    KeyValueCache<Real> cache(3);
    auto got = Tensor<double>::zeros(whole.shape());
    Index from = 0;
    for (const Index piece : {Index{40}, Index{1}, Index{33}, Index{1}}) {
        const Index which = 2;
        const auto segments =
            placed(cache.extend(std::span(&which, 1), std::span(&piece, 1)), context.device());
        const auto part = [&](std::size_t i) { return Var<Real>(in[i].rows(from, from + piece)); };
        const auto y = cache.attend(tape, part(0), part(1), part(2), segments, options).value();
        copy_values(test::to_double(host(y)), got.rows(from, from + piece));
        from += piece;
    }
    CHECK(test::relative_error(got, test::to_double(host(whole.value()))) < bound);
}

/// A sequence of 41 rows, whose last comes in one batch with all 34 of another.
template <class Real>
void check_mixed(Context& context, double bound) {
    const AttentionOptions options{.heads = 4, .kv_heads = 2, .head_dim = 64};
    std::vector<Tensor<Real>> in;
    for (Index heads : {options.heads, options.kv_heads, options.kv_heads}) {
        const auto values = test::random_tensor<double>({75, heads * options.head_dim}, 60 + in.size());
        in.push_back(test::tensor_on(context, test::convert_through_float<Real>(values)));
    }
    Tape tape(context, Mode::inference);
    const auto whole = attention(tape, Var<Real>(in[0]), Var<Real>(in[1]), Var<Real>(in[2]),
                                 placed(Segments::of_lengths({41, 34}), context.device()), options);
    KeyValueCache<Real> cache(2);
    const auto attend = [&](std::vector<Index> which, std::vector<Index> lengths, Index from, Index to) {
        const auto segments = placed(cache.extend(which, lengths), context.device());
        const auto part = [&](std::size_t i) { return Var<Real>(in[i].rows(from, to)); };
        return test::to_double(
            host(cache.attend(tape, part(0), part(1), part(2), segments, options).value()));
    };
    attend({1}, {40}, 0, 40);
    const auto got = attend({1, 0}, {1, 34}, 40, 75);
    CHECK(test::relative_error(got, test::to_double(host(whole.value().rows(40, 75)))) < bound);
}

}  // namespace

TEST_CASE("attention_decode: the bits of attention over the whole sequence") {
    check_all<float>();
    check_all<double>();
}

TEST_CASE("attention_decode: keep copies rows, also into a wider tensor") {
    // Columns [2, 7) of 9, and [4, 12) of 16, which go in pieces of 16 bytes on a GPU.
    for (const auto [columns, first, pitch] : {std::array<Index, 3>{5, 2, 9}, {8, 4, 16}}) {
        const auto from = test::random_tensor<float>({7, columns}, 4);
        test::on_each_device([&](Context& context) {
            const auto wide = test::tensor_on(context, Tensor<float>::zeros({7, pitch}));
            const auto to = wide.columns(first, first + columns);
            attention_decode_slot.get<float>(context.device())
                .keep(context.stream(), test::tensor_on(context, from).view<2>(), to.view<2>());
            const auto got = host(wide);
            for (Index row = 0; row < 7; ++row) {
                for (Index d = 0; d < pitch; ++d) {
                    const bool inside = d >= first && d < first + columns;
                    CHECK(got.data()[row * pitch + d] ==
                          (inside ? from.data()[row * columns + d - first] : 0.0f));
                }
            }
        });
    }
}

TEST_CASE("attention_decode: more new rows than there are is an error") {
    const AttentionOptions options{.heads = 1, .kv_heads = 1, .head_dim = 4, .scale = 0, .window = 0};
    const auto q = Tensor<float>::zeros({3, 4}), k = Tensor<float>::zeros({2, 4});
    Tape tape(test::context(), Mode::inference);
    CHECK_THROWS_AS(attention_decode(tape, q, k, k, q, options), Error);
}

TEST_CASE("attention_decode: a cache on each device") {
    for (const Index head : {8, 50, 64, 128, 200}) {
        for (const Index window : {0, 30}) {
            check_cache<float>(test::context(), head, window, 1e-30);
            if (!has_cuda()) continue;
            check_cache<float>(test::cuda_context(), head, window, 1e-6);
            check_cache<bf16>(test::cuda_context(), head, window, 8e-3);
        }
    }
    check_mixed<float>(test::context(), 1e-30);
    if (!has_cuda()) return;
    check_mixed<float>(test::cuda_context(), 1e-6);
    check_mixed<bf16>(test::cuda_context(), 8e-3);
    test::add_reference_record(attention_decode_slot, Number::float32, Device::cuda);
    test::add_reference_record(attention_decode_slot, Number::bfloat16, Device::cuda);
}
