#include <moegrad/core/math_complex.hpp>
#include <moegrad/cpu/attention.hpp>
#include <moegrad/ops/attention.hpp>

#include "support/op_check.hpp"

#include <cstring>

using namespace moegrad;

MOEGRAD_TEST_COMPLEX_SEAT(attention);

namespace {

/// T rows: an empty segment, one of a single row, one of half the rest, an empty one, the rest.
Segments ragged(Index T) {
    const Index one = std::min<Index>(T, 1), half = (T - one) / 2;
    return Segments::of_lengths({0, one, half, 0, T - one - half});
}
/// The same with the first row of the last segment and every fifth row not valid.
Segments padded(Index T) {
    auto segments = ragged(T);
    for (Index t = 0; t < T; ++t) segments.valid.data()[t] = t % 5 != 3 && t != segments.begin.data()[4];
    return segments;
}

template <class Make>
auto op(AttentionOptions options, Make make) {
    return [options, make]<class Real>(Tape& tape, const test::Inputs<Real>& in) {
        const auto segments = placed(make(in[0].extent(0)), tape.device());
        const auto y = attention<Real>(tape, in[0], in[1], in[2], segments, options);
        return std::vector{y, attention<Real>(tape, in[0], in[1], in[2], segments, options)};
    };
}

/// In double, with y rounded as a bf16 model keeps it: backward takes delta from that.
Var<double> attention_kept_in_bf16(Tape& tape, const Var<double>& q, const Var<double>& k,
                                   const Var<double>& v, const Segments& segments, AttentionOptions options) {
    if (options.scale == 0) options.scale = 1 / std::sqrt(static_cast<double>(options.head_dim));
    const auto& kernels = attention_slot.get<double>(Device::cpu);
    const auto rows = detail::attention_rows(segments);
    auto y = tape.output<double>(q.shape(), true);
    auto lse = tape.make<double>({segments.tokens(), options.heads});
    kernels.forward(tape.stream(), q.view<2>(), k.view<2>(), v.view<2>(), rows, y.value().view<2>(),
                    lse.view<2>(), options);
    copy_values(test::rounded(y.value()), y.value());
    tape.record(y.gradient(), [=, &kernels, &context = tape.context(), y = y.value(), dy = y.gradient()] {
        auto room = context.make<double>(attention_room(segments.tokens(), options.heads));
        kernels.backward(context.stream(), q.view<2>(), k.view<2>(), v.view<2>(), rows, y.view<2>(),
                         lse.view<2>(), dy->tensor().view<2>(), room.view<3>(), detail::attention_gradient(q),
                         detail::attention_gradient(k), detail::attention_gradient(v), options);
    });
    return y;
}
template <class Make>
auto op_kept_in_bf16(AttentionOptions options, Make make) {
    return [options, make](Tape& tape, const test::Inputs<double>& in) {
        const auto segments = make(in[0].extent(0));
        const auto y = attention_kept_in_bf16(tape, in[0], in[1], in[2], segments, options);
        return std::vector{y, attention_kept_in_bf16(tape, in[0], in[1], in[2], segments, options)};
    };
}
auto shapes(const AttentionOptions& o) {
    return [o](Index T) {
        const Shape keys{T, o.kv_heads * o.head_dim};
        return std::vector{Shape{T, o.heads * o.head_dim}, keys, keys};
    };
}

template <class Make>
void check(const AttentionOptions& options, Make make, const test::OpCheckOptions& how = {}) {
    test::check_op({&attention_slot}, shapes(options), op(options, make), how,
                   op_kept_in_bf16(options, make));
}

std::vector<Tensor<double>> random_inputs(const AttentionOptions& o, Index T) {
    std::vector<Tensor<double>> inputs;
    for (const Shape& shape : shapes(o)(T)) inputs.push_back(test::random_tensor(shape, 10 + inputs.size()));
    return inputs;
}

/// Brute force: a full mask, a full row of probabilities.
Tensor<double> reference(const std::vector<Tensor<double>>& in, const Segments& segments,
                         const AttentionOptions& o) {
    const Index T = segments.tokens(), head = o.head_dim;
    const auto q = in[0].view<2>(), k = in[1].view<2>(), v = in[2].view<2>();
    auto y = Tensor<double>::zeros(in[0].shape());
    for (Index h = 0; h < o.heads; ++h) {
        const Index key = h * o.kv_heads / o.heads * head;
        for (Index t = 0; t < T; ++t) {
            std::vector<double> weight(static_cast<std::size_t>(T), 0);
            double sum = 0;
            for (Index s = 0; s < T; ++s) {
                const bool seen = segments.segment.data()[s] == segments.segment.data()[t] && s <= t &&
                                  (o.window == 0 || t - s < o.window) && segments.valid.data()[s] &&
                                  segments.valid.data()[t];
                if (!seen) continue;
                double dot = 0;
                for (Index d = 0; d < head; ++d) dot += q(t, h * head + d) * k(s, key + d);
                weight[static_cast<std::size_t>(s)] = std::exp(dot * o.scale);
                sum += weight[static_cast<std::size_t>(s)];
            }
            for (Index s = 0; s < T; ++s) {
                for (Index d = 0; d < head && sum > 0; ++d) {
                    y.view<2>()(t, h * head + d) += weight[static_cast<std::size_t>(s)] / sum * v(s, key + d);
                }
            }
        }
    }
    return y;
}

/// y and the gradients of q, k, v, all bytes in one line, in float.
std::vector<Tensor<float>> run(Context& context, const std::vector<Tensor<float>>& in,
                               const Segments& segments, const AttentionOptions& options) {
    Tape tape(context);
    std::vector<Var<float>> variables;
    for (const auto& tensor : in) variables.push_back(tape.input(tensor));
    const auto y = attention(tape, variables[0], variables[1], variables[2], segments, options);
    auto dy = y.gradient()->target();
    for (Index t = 0; t < dy.tensor.rows(); ++t) {
        // By position in its segment, so that a segment alone gets the same.
        const Index p = segments.position.data()[t];
        for (Index c = 0; c < dy.tensor.columns(); ++c)
            dy.tensor.view<2>()(t, c) = float((p * 7 + c * 3) % 11) - 4.f;
    }
    tape.backward();
    std::vector<Tensor<float>> out{y.value()};
    for (const auto& variable : variables) out.push_back(variable.gradient()->tensor());
    return out;
}

bool same_bits(const Tensor<float>& a, const Tensor<float>& b) {
    return a.shape() == b.shape() && std::memcmp(a.data(), b.data(), a.values().size_bytes()) == 0;
}

}  // namespace

TEST_CASE("attention: gradients and float against double") {
    const AttentionOptions cases[] = {{.heads = 1, .kv_heads = 1, .head_dim = 1},
                                      {.heads = 4, .kv_heads = 2, .head_dim = 3},
                                      {.heads = 3, .kv_heads = 1, .head_dim = 9, .window = 2},
                                      {.heads = 2, .kv_heads = 2, .head_dim = 5, .scale = 0.7, .window = 1}};
    for (const auto& options : cases) {
        CAPTURE(options.heads);
        check(options, ragged, {.cuda_rows = {300}});
        check(options, padded);
    }
}

TEST_CASE("attention: gradients over several blocks of keys") {
    const AttentionOptions all{.heads = 2, .kv_heads = 1, .head_dim = 2};
    const AttentionOptions window{.heads = 1, .kv_heads = 1, .head_dim = 2, .window = 37};
    check(all, padded, {.rows = {150}});
    check(window, ragged, {.rows = {150}});
}

TEST_CASE("attention: complex step") {
    const AttentionOptions options{.heads = 4, .kv_heads = 2, .head_dim = 3, .window = 3};
    test::check_complex_step(op(options, padded), random_inputs(options, 9));
}

TEST_CASE("attention: agrees with a full mask") {
    for (Index T : {1, 7, 64, 130, 200}) {
        for (Index window : {0, 1, 2, 31, 32, 33, 1000}) {
            for (const auto& segments : {ragged(T), padded(T), Segments::of_lengths({T})}) {
                CAPTURE(T);
                CAPTURE(window);
                const AttentionOptions options{
                    .heads = 6, .kv_heads = 2, .head_dim = 10, .scale = 0.3, .window = window};
                const auto in = random_inputs(options, T);
                Tape tape(test::context(), Mode::inference);
                const auto y = attention(tape, Var<double>(in[0]), Var<double>(in[1]), Var<double>(in[2]),
                                         segments, options);
                CHECK(test::relative_error(y.value(), reference(in, segments, options)) < 1e-13);
            }
        }
    }
}

TEST_CASE("attention: the largest head") {
    const AttentionOptions options{
        .heads = 2, .kv_heads = 1, .head_dim = kLargestHead, .scale = 0.06, .window = 40};
    const auto in = random_inputs(options, 70);
    Tape tape(test::context(), Mode::inference);
    const auto segments = padded(70);
    const auto y =
        attention(tape, Var<double>(in[0]), Var<double>(in[1]), Var<double>(in[2]), segments, options);
    CHECK(test::relative_error(y.value(), reference(in, segments, options)) < 1e-13);
}

TEST_CASE("attention: a window of one and a first row return their own value") {
    const AttentionOptions options{.heads = 2, .kv_heads = 1, .head_dim = 4, .window = 1};
    const auto in = random_inputs(options, 5);
    Tape tape(test::context());
    const auto y = attention(tape, Var<double>(in[0]), Var<double>(in[1]), Var<double>(in[2]),
                             Segments::of_lengths({3, 2}), options)
                       .value();
    for (Index t = 0; t < 5; ++t) {
        for (Index c = 0; c < 8; ++c) CHECK(y.view<2>()(t, c) == in[2].view<2>()(t, c % 4));
    }
}

TEST_CASE("attention: the same bits for any number of threads and in any batch") {
    const AttentionOptions options{.heads = 4, .kv_heads = 2, .head_dim = 12, .window = 50};
    const std::vector<Index> lengths{5, 0, 183, 1, 41};
    auto segments = Segments::of_lengths(lengths);
    segments.valid.data()[20] = 0;
    std::vector<Tensor<float>> in;
    for (const auto& tensor : random_inputs(options, segments.tokens()))
        in.push_back(test::convert<float>(tensor));
    const auto want = run(test::context(), in, segments, options);
    for (int threads : {1, 3, 4}) {
        Context context({.device = Device::cpu, .threads = threads, .fill = Arena::Fill::poison});
        const auto got = run(context, in, segments, options);
        for (std::size_t i = 0; i < 4; ++i) CHECK(same_bits(got[i], want[i]));
    }
    Index begin = 0;
    for (Index length : lengths) {
        auto alone = Segments::of_lengths({length});
        for (Index t = 0; t < length; ++t) alone.valid.data()[t] = segments.valid.data()[begin + t];
        std::vector<Tensor<float>> part;
        for (const auto& tensor : in) part.push_back(tensor.rows(begin, begin + length));
        const auto got = run(test::context(), part, alone, options);
        for (std::size_t i = 0; i < 4; ++i) CHECK(same_bits(got[i], want[i].rows(begin, begin + length)));
        begin += length;
    }
}

TEST_CASE("attention: padding changes nothing, and nothing of it is read") {
    // Seven rows alone, and the same between two padded rows on the left and forty on the right, all NaN.
    const AttentionOptions options{.heads = 2, .kv_heads = 1, .head_dim = 6};
    const Index T = 7, left = 2, right = 40, all = left + T + right;
    std::vector<Tensor<float>> in, wide;
    for (const auto& tensor : random_inputs(options, T)) {
        in.push_back(test::convert<float>(tensor));
        auto t = Tensor<float>::zeros({all, tensor.columns()});
        for (float& value : t.values()) value = NAN;
        std::copy_n(in.back().data(), in.back().size(), t.data() + left * tensor.columns());
        wide.push_back(t);
    }
    auto segments = Segments::of_lengths({all});
    for (Index t = 0; t < all; ++t) {
        segments.valid.data()[t] = t >= left && t < left + T;
        segments.position.data()[t] = static_cast<std::int32_t>(t - left);
    }
    const auto want = run(test::context(), in, Segments::of_lengths({T}), options);
    const auto got = run(test::context(), wide, segments, options);
    for (std::size_t i = 0; i < 4; ++i) {
        CHECK(test::relative_error(got[i].rows(left, left + T), want[i]) < 2e-6);
        for (Index t = 0; t < all; ++t) {
            if (segments.valid.data()[t]) continue;
            for (Index c = 0; c < got[i].columns(); ++c) CHECK(got[i].view<2>()(t, c) == 0);
        }
    }
}

TEST_CASE("attention: only wanted gradients are made") {
    const AttentionOptions options{.heads = 2, .kv_heads = 1, .head_dim = 3};
    const auto in = random_inputs(options, 6);
    const auto f = [&](Tape& tape, const std::vector<Var<double>>& variables) {
        return std::vector{attention(tape, variables[0], variables[1], variables[2], ragged(6), options)};
    };
    const auto want = projected_gradients<double>(test::context(), f, in);
    for (std::size_t only = 0; only < 3; ++only) {
        Tape tape(test::context());
        std::vector<Var<double>> variables(in.begin(), in.end());
        variables[only] = tape.input(in[only]);
        moegrad::detail::seed_projection<double>(f(tape, variables));
        tape.backward();
        CHECK(test::relative_error(variables[only].gradient()->tensor(), want[only]) == 0);
    }
}

TEST_CASE("attention: shapes and settings that do not fit are errors that say so") {
    Tape tape(test::context());
    const auto zeros = [](Index columns) { return Var<float>(Tensor<float>::zeros({2, columns})); };
    const auto segments = Segments::of_lengths({2});
    CHECK_THROWS_WITH_AS(
        attention(tape, zeros(8), zeros(8), zeros(4), segments, {.heads = 4, .kv_heads = 2, .head_dim = 2}),
        doctest::Contains("q [2, 8], k [2, 8], v [2, 4]"), Error);
    CHECK_THROWS_WITH_AS(
        attention(tape, zeros(6), zeros(4), zeros(4), segments, {.heads = 3, .kv_heads = 2, .head_dim = 2}),
        doctest::Contains("H = 3, Hkv = 2"), Error);
    CHECK_THROWS_WITH_AS(attention(tape, zeros(257), zeros(257), zeros(257), segments,
                                   {.heads = 1, .kv_heads = 1, .head_dim = 257}),
                         doctest::Contains("257"), Error);
    CHECK_THROWS_AS(attention(tape, zeros(2), zeros(2), zeros(2), Segments::of_lengths({3}),
                              {.heads = 1, .kv_heads = 1, .head_dim = 2}),
                    Error);
}
