#include <moegrad/core/math_complex.hpp>
#include <moegrad/cpu/combine.hpp>
#include <moegrad/ops/combine.hpp>

#include <moegrad/core/transfer.hpp>

#include "support/op_check.hpp"

using namespace moegrad;

MOEGRAD_TEST_COMPLEX_SEAT(combine);

namespace {

constexpr Index kSlots = 3, kExperts = 4;

/// Slots with true experts, nulls and unused ones; every fourth token has no expert at all.
Tensor<std::int32_t> some_experts(Index T, Index K = kSlots) {
    auto expert = Tensor<std::int32_t>::zeros({T, K});
    for (Index t = 0; t < T; ++t) {
        for (Index k = 0; k < K; ++k) {
            expert.matrix().row(t)[k] =
                static_cast<std::int32_t>(t % 4 == 3 ? -1 - k : (5 * t + 3 * k) % 6 - 2);
        }
    }
    return expert;
}

DispatchPlan plan_of(Tape& tape, Index T, Index K = kSlots) {
    return dispatch(tape, placed(some_experts(T, K), tape.device()), kExperts);
}

// Twice, so that the second gradient accumulates.
const auto plain = []<class Real>(Tape& tape, const test::Inputs<Real>& in) {
    const auto plan = plan_of(tape, in[1].extent(0), in[1].extent(1));
    return std::vector{combine<Real>(tape, in[0], in[1], plan), combine<Real>(tape, in[0], in[1], plan)};
};

/// in[2] is [T, 1] so that T = 0 keeps its rank.
const auto with_passthrough = []<class Real>(Tape& tape, const test::Inputs<Real>& in) {
    const auto plan = plan_of(tape, in[1].extent(0));
    return std::vector{combine<Real>(tape, in[0], in[1], plan, in[2], in[3]),
                       combine<Real>(tape, in[0], in[1], plan, in[2], in[3])};
};

}  // namespace

TEST_CASE("combine: gradients and float against double") {
    for (Index D : {1, 5, 37, 264}) {
        test::check_op({&combine_slot},
                       [&](Index T) {
                           return std::vector{Shape{T * kSlots, D}, Shape{T, kSlots}};
                       },
                       plain, {.cuda_rows = {300}});
        test::check_op({&combine_slot},
                       [&](Index T) {
                           return std::vector{Shape{T * kSlots, D}, Shape{T, kSlots}, Shape{T}, Shape{T, D}};
                       },
                       with_passthrough, {.cuda_rows = {300}});
    }
    for (Index K : {4, 9}) {  // a GPU reads four slots at once
        test::check_op({&combine_slot},
                       [&](Index T) {
                           return std::vector{Shape{T * K, 24}, Shape{T, K}};
                       },
                       plain, {.cuda_rows = {50}});
    }
    test::check_complex_step(with_passthrough,
                             {test::random_tensor({7 * kSlots, 5}, 1), test::random_tensor({7, kSlots}, 2),
                              test::random_tensor({7}, 3), test::random_tensor({7, 5}, 4)});
}

TEST_CASE("combine: each slot adds its own row; a token without experts is exactly 0") {
    const Index T = 8, D = 3;
    Tape tape(test::context());
    const auto plan = plan_of(tape, T);
    const Index N = plan.expert_begin.data()[kExperts];
    // Rows from N on stay poisoned: reading one would show.
    auto h = tape.make<double>({plan.bound, D});
    for (Index n = 0; n < N; ++n) {
        for (Index d = 0; d < D; ++d) h.matrix().row(n)[d] = static_cast<double>(100 * n + d);
    }
    const auto weight = test::random_tensor({T, kSlots}, 5);
    const auto y = combine(tape, Var<double>(h), Var<double>(weight), plan);
    const auto expert = some_experts(T);
    for (Index t = 0; t < T; ++t) {
        for (Index d = 0; d < D; ++d) {
            double want = 0;
            for (Index k = 0; k < kSlots; ++k) {
                const std::int32_t e = expert.matrix().row(t)[k];
                if (e < 0) continue;
                // The row of (t, k): used slots of smaller experts, then earlier slots of the same one.
                Index row = 0;
                for (Index i = 0; i < T * kSlots; ++i) {
                    const std::int32_t other = expert.data()[i];
                    row += other >= 0 && (other < e || (other == e && i < t * kSlots + k));
                }
                want += weight.matrix().row(t)[k] * static_cast<double>(100 * row + d);
            }
            CHECK(y.value().matrix().row(t)[d] == want);
            if (t % 4 == 3) CHECK(y.value().matrix().row(t)[d] == 0);
        }
    }
}

TEST_CASE("combine: gradient rows that no slot owns are not touched, frozen inputs get none") {
    const Index T = 6, D = 2;
    Tape tape(test::context());
    const auto plan = plan_of(tape, T);
    const Index N = plan.expert_begin.data()[kExperts];
    REQUIRE(N < plan.bound);
    auto lasting = Tensor<float>::zeros({plan.bound, D});
    for (float& value : lasting.values()) value = 77;
    const Var<float> h(test::random_tensor<float>({plan.bound, D}, 6),
                       std::make_shared<Gradient<float>>(lasting));
    const Var<float> frozen(test::random_tensor<float>({T, kSlots}, 7));
    const auto y = combine(tape, h, frozen, plan);
    moegrad::detail::seed_projection<float>({y});
    tape.backward();
    for (Index i = N * D; i < plan.bound * D; ++i) CHECK(lasting.data()[i] == 77);
    for (Index i = 0; i < N * D; ++i) CHECK(lasting.data()[i] != 77);

    Tape still(test::context());
    CHECK_FALSE(combine(still, Var<float>(h.value()), frozen, plan).needs_gradient());
    CHECK(still.size() == 0);
}

TEST_CASE("combine: shapes that do not fit are errors") {
    Tape tape(test::context());
    const auto plan = plan_of(tape, 2);
    const Var<float> h(Tensor<float>::zeros({6, 4})), weight(Tensor<float>::zeros({2, 3}));
    const Var<float> x(Tensor<float>::zeros({2, 4})), passthrough(Tensor<float>::zeros({2}));
    CHECK_NOTHROW(combine(tape, h, weight, plan, passthrough, x));
    CHECK_THROWS_WITH_AS(combine(tape, x, weight, plan), doctest::Contains("h [2, 4], weight [2, 3]"), Error);
    CHECK_THROWS_AS(combine(tape, h, Var<float>(Tensor<float>::zeros({2, 2})), plan), Error);
    CHECK_THROWS_AS(combine(tape, h, weight, plan, passthrough), Error);
    CHECK_THROWS_WITH_AS(combine(tape, h, weight, plan, passthrough, h), doctest::Contains("x [6, 4]"),
                         Error);
}
