#include <moegrad/ops/balance_pool.hpp>

#include "support/device_status.hpp"
#include "support/op_check.hpp"

using namespace moegrad;

namespace {

using Options = BalanceOptions;

/// Padding here and there.
Segments pool_segments(Index T) {
    Segments segments = Segments::of_lengths({T / 2, T - T / 2});
    for (Index t = 0; t < T; ++t) segments.valid.data()[t] = t % 5 != 2;
    return segments;
}

Tensor<std::int32_t> pool_choice(Index T, Index K, Index C, Index router) {
    auto choice = Tensor<std::int32_t>::zeros({T, K});
    for (Index i = 0; i < T * K; ++i)
        choice.data()[i] = static_cast<std::int32_t>((7 * i + i / 3 + router) % (C + 1) - 1);
    return choice;
}

/// Three routers, two of them the same p; twice, so that gradients accumulate.
auto pool_op(const Options& options) {
    return [=]<test::NeverRounded Real>(Tape& tape, const test::Inputs<Real>& in) {
        const Index T = in[0].extent(0), C = in[0].extent(1);
        const auto segments = placed(pool_segments(T), tape.device());
        std::vector<BalanceRows<Real>> routers;
        for (Index r = 0; r < 3; ++r) {
            routers.push_back({in[r == 1 ? 1 : 0], placed(pool_choice(T, 3, C, r), tape.device())});
        }
        return std::vector{balance_pool(tape, routers, segments, options),
                           balance_pool(tape, routers, segments, options)};
    };
}

}  // namespace

TEST_CASE("balance_pool: gradients and float against double, every definition") {
    for (auto counts : {Options::Counts::slots, Options::Counts::share}) {
        for (auto nulls : {Options::Nulls::separate, Options::Nulls::averaged}) {
            for (Index C : {1, 5}) {
                test::check_op({&balance_pool_slot},
                               [&](Index T) {
                                   return std::vector{Shape{T, C}, Shape{T, C}};
                               },
                               pool_op({Options::Scope::micro, counts, nulls, C / 2}),
                               {.rows = {0, 1, 7, 15}, .cuda_rows = {129, 700}});
            }
        }
    }
}

TEST_CASE("balance_pool: the rows of all routers as one batch give the same as balance_loss") {
    const Index T = 8, C = 6;
    const auto p = test::random_tensor({2 * T, C}, 4, 0.1, 0.3);
    auto choice = Tensor<std::int32_t>::zeros({2 * T, 2});
    for (Index r = 0; r < 2; ++r) copy_values(pool_choice(T, 2, C, r), choice.rows(r * T, (r + 1) * T));
    const auto segments = pool_segments(T);
    auto both = Segments::of_lengths({2 * T});
    for (Index t = 0; t < 2 * T; ++t) both.valid.data()[t] = segments.valid.data()[t % T];
    for (auto counts : {Options::Counts::slots, Options::Counts::share}) {
        const Options options{Options::Scope::micro, counts, Options::Nulls::averaged, 4};
        Tape tape(test::context());
        const auto want = balance_loss(tape, Var<double>(p), choice, both, options).value();
        std::vector<BalanceRows<double>> routers;
        for (Index r = 0; r < 2; ++r) {
            routers.push_back({Var<double>(p.rows(r * T, (r + 1) * T)), choice.rows(r * T, (r + 1) * T)});
        }
        const auto got = balance_pool(tape, routers, segments, options).value();
        CHECK(got.data()[0] == doctest::Approx(want.data()[0]).epsilon(1e-14));
    }
}

TEST_CASE("balance_pool: layers that collapse on different experts look balanced") {
    // Two routers, each with all its mass and its slot on one of two experts: 1 together, 2 each alone.
    const auto segments = Segments::of_lengths({3});
    const auto first = Tensor<double>::from({3, 2}, {1, 0, 1, 0, 1, 0}),
               second = Tensor<double>::from({3, 2}, {0, 1, 0, 1, 0, 1});
    Tape tape(test::context());
    const BalanceRows<double> one{Var<double>(first), Tensor<std::int32_t>::from({3, 1}, {0, 0, 0})};
    const BalanceRows<double> other{Var<double>(second), Tensor<std::int32_t>::from({3, 1}, {1, 1, 1})};
    CHECK(balance_pool<double>(tape, {one, other}, segments, {}).value().data()[0] == 1);
    CHECK(balance_pool<double>(tape, {one}, segments, {}).value().data()[0] == 2);
    auto none = segments;
    none.valid = Tensor<std::uint8_t>::zeros({3});
    CHECK(balance_pool<double>(tape, {one, other}, none, {}).value().data()[0] == 0);
}

TEST_CASE("balance_pool: routers of different sizes are an error") {
    Tape tape(test::context());
    const auto segments = Segments::of_lengths({2});
    const BalanceRows<float> a{Var<float>(Tensor<float>::zeros({2, 3})), Tensor<std::int32_t>::zeros({2, 1})};
    const BalanceRows<float> b{Var<float>(Tensor<float>::zeros({2, 4})), Tensor<std::int32_t>::zeros({2, 1})};
    CHECK_THROWS_WITH_AS(balance_pool<float>(tape, {a, b}, segments, {}), doctest::Contains("one size"),
                         Error);
}

TEST_CASE("balance_pool: a column that does not exist is an error, and reported on a GPU") {
    const auto run = [](Context& context, std::int32_t column) {
        Tape tape(context);
        const auto p = Tensor<float>::from({2, 3}, {1, 0, 0, 0, 1, 0});
        const BalanceRows<float> one{
            Var<float>(test::tensor_on(context, p)),
            placed(Tensor<std::int32_t>::from({2, 1}, {0, column}), context.device())};
        const auto segments = placed(Segments::of_lengths({2}), context.device());
        return host(balance_pool<float>(tape, {one}, segments, {}).value()).data()[0];
    };
    CHECK_THROWS_WITH_AS(run(test::context(), 3), doctest::Contains("3 for token 1, slot 0"), Error);
    if (!test::device_reports()) return;
    test::take_status();
    const float without = run(test::cuda_context(), -1);
    CHECK_FALSE(test::take_status().any());
    CHECK(run(test::cuda_context(), 3) == without);
    CHECK(test::take_status().bad_index == 1);
}
