#include <moegrad/core/math_complex.hpp>
#include <moegrad/cpu/attention_pool.hpp>
#include <moegrad/ops/attention_pool.hpp>

#include "support/op_check.hpp"

using namespace moegrad;

MOEGRAD_TEST_COMPLEX_SEAT(attention_pool);

namespace {

/// T queries; segment s has s % 4 rows, so some have none.
std::vector<std::int32_t> pool_begin(Index T) {
    std::vector<std::int32_t> begin{0};
    for (Index s = 0; s < T; ++s) begin.push_back(begin.back() + static_cast<std::int32_t>(s % 4));
    return begin;
}

/// Twice, so that the second gradient accumulates.
const auto pools = []<test::NeverRounded Real>(Tape& tape, const test::Inputs<Real>& in) {
    const auto values = pool_begin(in[0].extent(0));
    const auto begin =
        placed(Tensor<std::int32_t>::from({static_cast<Index>(values.size())}, values), tape.device());
    return std::vector{attention_pool(tape, in[0], in[1], begin), attention_pool(tape, in[0], in[1], begin)};
};

}  // namespace

TEST_CASE("attention_pool: gradients and float against double") {
    for (Index D : {1, 5, 67}) {
        test::check_op({&attention_pool_slot},
                       [D](Index T) {
                           return std::vector{Shape{T, D}, Shape{pool_begin(T).back(), D}};
                       },
                       pools, {.cuda_rows = {65, 300}});
    }
    test::check_complex_step(pools, {test::random_tensor({5, 3}, 1), test::random_tensor({6, 3}, 2)});
}

TEST_CASE("attention_pool: on a GPU, segments of none, one, more rows than warps, more than threads") {
    test::check_op(
        {&attention_pool_slot},
        [](Index) {
            return std::vector{Shape{4, 300}, Shape{310, 300}};
        },
        []<test::NeverRounded Real>(Tape& tape, const test::Inputs<Real>& in) {
            const auto begin = Tensor<std::int32_t>::from({5}, {0, 0, 1, 10, 310});
            return std::vector{attention_pool(tape, in[0], in[1], placed(begin, tape.device()))};
        },
        {.rows = {}, .cuda_rows = {4}});
}

TEST_CASE("attention_pool: rows of no segment get a gradient of 0") {
    test::on_each_device([](Context& context) {
        for (const auto& values : {std::vector<std::int32_t>{0, 2}, {1, 3}, {3, 3}, {0}, {3}}) {
            Tape tape(context);
            const auto S = static_cast<Index>(values.size()) - 1;
            const auto q = tape.input(test::tensor_on(context, test::random_tensor<float>({S, 5}, 1)));
            const auto x = tape.input(test::tensor_on(context, test::random_tensor<float>({3, 5}, 2)));
            const auto begin = placed(Tensor<std::int32_t>::from({S + 1}, values), context.device());
            const auto a = attention_pool(tape, q, x, begin);
            auto da = Tensor<float>::zeros({S, 5});
            for (float& value : da.values()) value = 1;
            copy_values(da, a.gradient()->target().tensor);
            tape.backward();
            const auto dx = host(x.gradient()->tensor());
            for (Index j = 0; j < 3; ++j) {
                const bool taken = values.front() <= j && j < values.back();
                for (Index d = 0; d < 5; ++d) CHECK((dx.matrix()(j, d) != 0) == taken);
            }
        }
    });
}

TEST_CASE("attention_pool: one Var as query and as rows is refused") {
    Tape tape(test::context());
    const auto x = tape.input(Tensor<float>::zeros({3, 4}));
    const auto begin = Tensor<std::int32_t>::from({4}, {0, 1, 2, 3});
    CHECK_THROWS_WITH_AS(attention_pool(tape, x, x, begin), doctest::Contains("gradients of their own"),
                         Error);
    const Var<float> frozen(x.value());
    CHECK_FALSE(attention_pool(tape, frozen, frozen, begin).needs_gradient());
}

TEST_CASE("attention_pool: values and gradients of PyTorch") {
    // softmax(q x^T / sqrt(2)) x in float64, objective sum(a * [[1, -2], [.5, 3]]); torch 2, autograd.
    test::on_each_device([](Context& context) {
        Tape tape(context);
        const auto q = tape.input(test::tensor_on(context, Tensor<float>::from({2, 2}, {1, -1, .5f, 2})));
        const auto x =
            tape.input(test::tensor_on(context, Tensor<float>::from({3, 2}, {1, 0, 0, 1, .5f, -.5f})));
        const auto begin = placed(Tensor<std::int32_t>::from({3}, {0, 2, 3}), context.device());
        const auto a = attention_pool(tape, q, x, begin);
        const auto values = host(a.value());
        const double want[] = {0.8044296, 0.1955704, 0.5, -0.5};
        for (int i = 0; i < 4; ++i) CHECK(values.data()[i] == doctest::Approx(want[i]).epsilon(1e-5));
        copy_values(Tensor<float>::from({2, 2}, {1, -2, .5f, 3}), a.gradient()->target().tensor);
        tape.backward();
        const auto dq = host(q.gradient()->tensor()), dx = host(x.gradient()->tensor());
        const double want_q[] = {0.3337344, -0.3337344, 0, 0};
        const double want_x[] = {1.1381640, -1.9425937, -0.1381640, -0.0574063, 0.5, 3};
        for (int i = 0; i < 4; ++i) CHECK(dq.data()[i] == doctest::Approx(want_q[i]).epsilon(1e-4));
        for (int i = 0; i < 6; ++i) CHECK(dx.data()[i] == doctest::Approx(want_x[i]).epsilon(1e-4));
    });
}

TEST_CASE("attention_pool: shapes that do not fit are an error that names them") {
    Tape tape(test::context());
    const Var<float> q(Tensor<float>::zeros({2, 4})), x(Tensor<float>::zeros({3, 4}));
    CHECK_THROWS_WITH_AS(attention_pool(tape, q, x, Tensor<std::int32_t>::zeros({2})),
                         doctest::Contains("begin [2]"), Error);
}
