#include <moegrad/ops/wide_linear.hpp>

#include "support/bits.hpp"

#include <algorithm>

using namespace moegrad;

namespace {

const auto op = []<class Real>(Tape& tape, const test::Inputs<Real>& in) {
    return std::vector{wide_linear<Real>(tape, in[0], in[1])};
};
const auto used_twice = []<class Real>(Tape& tape, const test::Inputs<Real>& in) {
    return std::vector{wide_linear<Real>(tape, in[0], in[1]), wide_linear<Real>(tape, in[0], in[1])};
};
/// Inputs x, w, A, B.
const auto lora_op = []<class Real>(Tape& tape, const test::Inputs<Real>& in) {
    using W = Wide<Real>;
    const Var<Real> x = in[0];
    const LoraWeights<W> lora{in[2], in[3], 0.75};
    return std::vector{wide_lora_linear<W>(tape, cast_on_read<W>(tape, x), in[1], lora, {})};
};
/// The same, with two uses of x, whose gradients are rounded one by one.
std::vector<Var<double>> lora_reference(Tape& tape, const test::Inputs<double>& in) {
    const Var<double> x = in[0], w = in[1];
    const LoraWeights<double> lora{in[2], in[3], 0.75};
    const Var<double> none(Tensor<double>::zeros(w.shape()));
    return {add(tape, linear(tape, x, w), lora_linear<double>(tape, in[0], none, lora, {}))};
}
auto shapes(Index D, Index E) {
    return [=](Index T) { return std::vector{Shape{T, D}, Shape{E, D}}; };
}

/// Ones on the diagonal [T, D].
Tensor<bf16> diagonal(Index T, Index D) {
    auto x = Tensor<bf16>::zeros({T, D});
    for (Index t = 0; t < std::min(T, D); ++t) x.matrix()(t, t) = bf16(1.0f);
    return x;
}

struct Products {
    Tensor<float> y, dw;
    Tensor<bf16> dx;
};

/// x [T, D], w [E, D], dy [T, E], on the host.
Products products(Context& context, const Tensor<bf16>& x, const Tensor<float>& w, const Tensor<float>& dy) {
    Tape tape(context);
    const auto in = tape.input(test::tensor_on(context, x));
    const auto weight = tape.input(test::tensor_on(context, w));
    const auto y = wide_linear(tape, in, weight);
    copy_values(dy, y.gradient()->target().tensor);
    const auto forward = host(y.value());
    tape.backward();
    return {forward, host(weight.gradient()->tensor()), host(in.gradient()->tensor())};
}

/// a^T b or a b^T or a b in double, element (i, j) over k:  a at (i, k), b at (k, j) of `at`.
template <class A, class B>
Tensor<double> sums(Index I, Index J, Index K, const A& a, const B& b) {
    auto y = Tensor<double>::zeros({I, J});
    for (Index i = 0; i < I; ++i) {
        for (Index j = 0; j < J; ++j) {
            for (Index k = 0; k < K; ++k) y.matrix()(i, j) += a(i, k) * b(k, j);
        }
    }
    return y;
}

/// rms of the error as a part of the rms.
template <class T>
double rms_error(const Tensor<T>& got, const Tensor<double>& want) {
    return test::detail::rms(test::detail::difference(test::to_double(got), want)) / test::detail::rms(want);
}

void check_accuracy(Context& context, Index T, Index D, Index E) {
    CAPTURE(T);
    CAPTURE(D);
    CAPTURE(E);
    const auto x = test::convert_through_float<bf16>(test::random_tensor({T, D}, 1));
    const auto w = test::random_tensor<float>({E, D}, 2, 0.02), dy = test::random_tensor<float>({T, E}, 3);
    const auto got = products(context, x, w, dy);
    const auto X = test::to_double(x), W = test::to_double(w), G = test::to_double(dy);
    const View<double, 2> xs = X.matrix(), ws = W.matrix(), gs = G.matrix();
    const auto rows = [](View<double, 2> v) { return [v](Index i, Index j) { return v(i, j); }; };
    const auto columns = [](View<double, 2> v) { return [v](Index i, Index j) { return v(j, i); }; };
    CHECK(rms_error(got.y, sums(T, E, D, rows(xs), columns(ws))) < 2e-7 * std::sqrt(D));
    CHECK(rms_error(got.dw, sums(E, D, T, columns(gs), rows(xs))) < 2e-7 * std::sqrt(T));
    const auto dx = sums(T, D, E, rows(gs), rows(ws));
    CHECK(rms_error(got.dx, dx) < 1.02 * rms_error(test::rounded(dx), dx));
}

}  // namespace

TEST_CASE("wide_linear: gradients, and bf16 against double") {
    test::check_op({&wide_linear_slot}, shapes(5, 3), op);
    test::check_op({&wide_linear_slot}, shapes(1, 1), op);
    test::check_op({&wide_linear_slot}, shapes(33, 17), op, {.cuda_rows = {64, 300}});
    test::check_op({&wide_linear_slot}, shapes(512, 24), op, {.rows = {}, .cuda_rows = {8, 129}});
    test::check_op({&wide_linear_slot}, shapes(24, 9), used_twice, {.cuda_rows = {129}});
}

TEST_CASE("wide_linear: with a low-rank adapter") {
    const auto check = [](Index D, Index O, Index R) {
        test::check_op(
            {&wide_linear_slot, &lora_linear_slot},
            [=](Index T) {
                return std::vector{Shape{T, D}, Shape{O, D}, Shape{R, D}, Shape{O, R}};
            },
            lora_op, {.cuda_rows = {40}}, lora_reference);
    };
    check(5, 3, 2);
    check(1, 1, 1);
    check(64, 16, 4);
}

TEST_CASE("wide_linear: every bit of a wide number counts") {
    test::on_each_device([](Context& context) {
        for (Index E : {1, 8, 13, 64}) {
            for (Index D : {1, 8, 37}) {
                CAPTURE(E);
                CAPTURE(D);
                const auto w = test::random_tensor<float>({E, D}, 4),
                           dy = test::random_tensor<float>({D, E}, 5);
                const auto got = products(context, diagonal(D, D), w, dy);
                for (Index e = 0; e < E; ++e) {
                    for (Index d = 0; d < D; ++d) {
                        CHECK(got.y.matrix()(d, e) == w.matrix()(e, d));
                        CHECK(got.dw.matrix()(e, d) == dy.matrix()(d, e));
                    }
                }
            }
        }
    });
}

TEST_CASE("wide_linear: as accurate as float, and dx as one rounding") {
    test::on_each_device([](Context& context) {
        check_accuracy(context, 7, 8, 3);
        check_accuracy(context, 65, 129, 60);
        check_accuracy(context, 40, 4096, 8);
        check_accuracy(context, 300, 72, 128);
    });
}

TEST_CASE("wide_linear: on a CPU the bits of linear over a cast") {
    const auto x = test::convert_through_float<bf16>(test::random_tensor({29, 65}, 1));
    const auto w = test::random_tensor<float>({19, 65}, 2), dy = test::random_tensor<float>({29, 19}, 3);
    const auto got = products(test::context(), x, w, dy);
    Tape tape(test::context());
    const auto in = tape.input(x);
    const auto weight = tape.input(w);
    const auto y = linear(tape, cast<float>(tape, in), weight);
    copy_values(dy, y.gradient()->target().tensor);
    CHECK(test::same_bits(got.y, y.value()));
    tape.backward();
    CHECK(test::same_bits(got.dw, weight.gradient()->tensor()));
    CHECK(test::same_bits(got.dx, in.gradient()->tensor()));
}

TEST_CASE("wide_linear: either side may be frozen, and the other keeps its gradient") {
    test::on_each_device([](Context& context) {
        const auto x = test::tensor_on(context, diagonal(6, 9));
        const auto w = test::tensor_on(context, test::random_tensor<float>({5, 9}, 2));
        const auto dy = test::random_tensor<float>({6, 5}, 3);
        const auto all = products(context, host(x), host(w), dy);
        for (bool weight_only : {true, false}) {
            Tape tape(context);
            const auto in = weight_only ? Var<bf16>(x) : tape.input(x);
            const auto weight = weight_only ? tape.input(w) : Var<float>(w);
            const auto y = wide_linear(tape, in, weight);
            copy_values(dy, y.gradient()->target().tensor);
            tape.backward();
            if (weight_only) CHECK(test::same_bits(host(weight.gradient()->tensor()), all.dw));
            if (!weight_only) CHECK(test::same_bits(host(in.gradient()->tensor()), all.dx));
        }
    });
}

TEST_CASE("wide_linear: NaN stays NaN, and an infinite weight keeps its sign") {
    test::on_each_device([](Context& context) {
        auto x = test::convert_through_float<bf16>(test::random_tensor({3, 4}, 1, 0.1, 1));
        auto w = test::random_tensor<float>({3, 4}, 2, 0.1, 1);
        x.matrix()(0, 2) = bf16(NAN);
        w.matrix()(1, 3) = -INFINITY;
        const auto y = products(context, x, w, Tensor<float>::zeros({3, 3})).y;
        for (Index e = 0; e < 3; ++e) CHECK(std::isnan(y.matrix()(0, e)));
        for (Index t : {1, 2}) {
            CHECK(std::isfinite(y.matrix()(t, 0)));
            CHECK(y.matrix()(t, 1) == -INFINITY);
        }
    });
}

TEST_CASE("wide_linear: a wide x that is no deferred cast is multiplied by linear") {
    Tape tape(test::context());
    const auto x = tape.input(test::random_tensor<float>({6, 33}, 1));
    const Var<float> w(test::random_tensor<float>({7, 33}, 2));
    CHECK(test::same_bits(wide_linear(tape, x, w).value(), linear(tape, x, w).value()));
}

TEST_CASE("wide_linear: a deferred cast stays unmade, also under an adapter, until something is dropped") {
    Context context({.device = Device::cpu, .threads = 1});
    context.scalars().step = 1;
    Tape tape(context);
    const auto x = tape.input(test::convert_through_float<bf16>(test::random_tensor({6, 33}, 1)));
    const auto segments = Segments::of_lengths({6});
    const auto weight = [&](Index O, Index I) { return tape.input(test::random_tensor<float>({O, I}, 2)); };
    const auto w = weight(4, 33);
    LoraWeights<float> lora{weight(2, 33), weight(4, 2), 2};
    const auto wide = cast_on_read<float>(tape, x);
    wide_linear(tape, wide, w);
    CHECK(tape.size() == 1);  // the product alone
    wide_lora_linear(tape, wide, w, lora, segments);
    CHECK(tape.size() == 5);  // three products and a sum
    lora.dropout = {0.5, 1};
    wide_lora_linear(tape, wide, w, lora, segments);
    CHECK(tape.size() == 7);  // the cast, and lora_linear
}

TEST_CASE("wide_linear: a dry run sees all the memory that a CPU takes") {
    const auto reach = [](Device device) {
        const Index T = 512, D = 1024, E = 8;
        Context context({.device = device, .threads = 1});
        const auto x = context.make<bf16>({T, D});
        const auto w = context.make<float>({E, D});
        if (device == Device::cpu)
            std::fill_n(x.data(), x.size(), bf16(0.5f)), std::fill_n(w.data(), w.size(), 0.25f);
        Tape tape(context);
        const auto y = wide_linear(tape, cast_on_read<float>(tape, tape.input(x)), tape.input(w));
        const auto dy = y.gradient()->target().tensor;
        if (device == Device::cpu) std::fill_n(dy.data(), dy.size(), 1.0f);
        tape.backward();
        return context.arena().reach();
    };
    CHECK(reach(Device::cpu) == reach(Device::dry));
}

TEST_CASE("wide_linear: shapes that do not fit are an error that names both") {
    Tape tape(test::context());
    const Var<bf16> x(Tensor<bf16>::zeros({2, 4}));
    const Var<float> w(Tensor<float>::zeros({3, 5}));
    CHECK_THROWS_WITH_AS(wide_linear(tape, x, w), doctest::Contains("x [2, 4], w [3, 5]"), Error);
}
