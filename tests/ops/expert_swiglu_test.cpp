#include <moegrad/core/device_step.hpp>
#include <moegrad/core/math_complex.hpp>
#include <moegrad/cpu/combine.hpp>
#include <moegrad/cpu/expert_swiglu.hpp>
#include <moegrad/cpu/grouped_linear.hpp>
#include <moegrad/cpu/swiglu.hpp>
#include <moegrad/ops/expert_swiglu.hpp>

#include "support/grouped_reference.hpp"

#include <cstring>
#include <optional>
#include <string>

using namespace moegrad;

MOEGRAD_TEST_COMPLEX_SEAT(grouped_linear);
MOEGRAD_TEST_COMPLEX_SEAT(combine);
MOEGRAD_TEST_COMPLEX_SEAT(swiglu);
MOEGRAD_TEST_COMPLEX_SEAT(expert_swiglu);

namespace {

constexpr Index E = test::kRoutedExperts, R = 8;

template <class Real>
struct Call {
    Var<Real> x;
    Weight<Real> gate_up, down;
    std::optional<LoraStack<Real>> up_lora, down_lora;

    /// x, gate_up, down, and A and B of both adapters.
    template <class Inputs>
    Call(const Inputs& in, bool adapted, double rate) : x(in[0]), gate_up(in[1]), down(in[2]) {
        if (!adapted) return;
        up_lora = LoraStack<Real>{in[3], in[4], 1.5, {rate, 7}};
        down_lora = LoraStack<Real>{in[5], in[6], 0.75, {rate, 8}};
    }
    static const LoraStack<Real>* pointer(const std::optional<LoraStack<Real>>& lora) {
        return lora ? &*lora : nullptr;
    }

    AdaptedStack<Real> gate_up_stack() const { return {gate_up, pointer(up_lora)}; }
    AdaptedStack<Real> down_stack() const { return {down, pointer(down_lora)}; }

    Var<Real> fused(Tape& tape, const DispatchPlan& plan) const {
        return expert_swiglu(tape, x, gate_up_stack(), down_stack(), plan,
                             test::routed_segments(tape, plan.tokens));
    }
    Var<Real> composed(Tape& tape, const DispatchPlan& plan) const {
        const auto segments = test::routed_segments(tape, plan.tokens);
        const auto z = grouped_linear(tape, x, gate_up, plan, RowSource::tokens, pointer(up_lora), segments);
        const auto h = swiglu_fused(tape, z, plan.expert_begin.rows(E, E + 1));
        return grouped_linear(tape, h, down, plan, RowSource::rows, pointer(down_lora), segments);
    }
    /// With the roundings of bf16: besides those of the products h, and dh where it passes through memory: without tensor cores,
    /// or with dropout on its way.
    Var<double> rounded(Tape& tape, const DispatchPlan& plan,
                        RowSource source = RowSource::tokens) const requires std::is_same_v<Real, double> {
        const auto segments = test::routed_segments(tape, plan.tokens);
        const auto z = test::rounded_linear(tape, x, gate_up, plan, source, pointer(up_lora), segments);
        const Index last = plan.experts;
        const auto exact = swiglu_fused(tape, z, plan.expert_begin.rows(last, last + 1));
        const Var<double> h(test::rounded(exact.value()), exact.gradient());
        const bool drops =
            down_lora && active_dropout(tape, down_lora->dropout, segments, plan.tokens).rate > 0;
        return test::rounded_linear(tape, h, down, plan, RowSource::rows, pointer(down_lora), segments,
                                    drops || !test::has_tensor_cores());
    }
};

/// Twice, so that the second gradient accumulates.
auto run_twice(bool adapted, double rate) {
    return [=]<class Real>(Tape& tape, const test::Inputs<Real>& in) {
        const test::KeepSelections keep(tape);
        const Call<Real> call(in, adapted, rate);
        const auto plan = test::routed_plan(tape, in[0].extent(0), false);
        return std::vector{test::add_slots<Real>(tape, call.fused(tape, plan), plan),
                           test::add_slots<Real>(tape, call.fused(tape, plan), plan)};
    };
}
auto run_rounded(bool adapted, double rate) {
    return [=](Tape& tape, const test::Inputs<double>& in) {
        const test::KeepSelections keep(tape);
        const Call<double> call(in, adapted, rate);
        const auto plan = test::routed_plan(tape, in[0].extent(0), false);
        return std::vector{test::add_slots<double>(tape, call.rounded(tape, plan), plan),
                           test::add_slots<double>(tape, call.rounded(tape, plan), plan)};
    };
}

std::vector<Shape> all_shapes(Index T, Index D, Index F, bool lora) {
    std::vector<Shape> all{{T, D}, {E, 2 * F, D}, {E, D, F}};
    if (lora) all.insert(all.end(), {{E, R, D}, {E, 2 * F, R}, {E, R, F}, {E, D, R}});
    return all;
}

const std::vector<double> kScale{1, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2};

void check(Index D, Index F, bool adapted, double rate, const test::OpCheckOptions& options) {
    test::check_op(
        {&expert_swiglu_slot}, [=](Index T) { return all_shapes(T, D, F, adapted); },
        run_twice(adapted, rate), options, run_rounded(adapted, rate));
}

/// One expert with all rows: a dense feed-forward.
auto run_dense(bool adapted, bool rounds) {
    return [=]<class Real>(Tape& tape, const test::Inputs<Real>& in) {
        const Call<Real> call(in, adapted, 0);
        const auto plan = one_group(tape, in[0].extent(0));
        if constexpr (std::is_same_v<Real, double>) {
            if (rounds) return std::vector{call.rounded(tape, plan, RowSource::rows)};
        }
        return std::vector{
            expert_swiglu(tape, call.x, call.gate_up_stack(), call.down_stack(), plan, {}, RowSource::rows)};
    };
}

/// Gradients of everything that `learns` says, through the fused op or the three that it stands for.
std::vector<Tensor<float>> results(bool fused, double rate, const std::vector<bool>& learns) {
    const Index T = 11;
    const auto shapes = all_shapes(T, 9, 300, true);
    Tape tape(test::context());
    std::vector<Var<float>> in;
    for (std::size_t i = 0; i < shapes.size(); ++i) {
        const auto value = test::random_tensor<float>(shapes[i], i, 0.5);
        in.push_back(
            learns[i] ? Var<float>(value, std::make_shared<Gradient<float>>(Tensor<float>::zeros(shapes[i])))
                      : Var<float>(value));
    }
    const Call<float> call(in, true, rate);
    const auto plan = test::routed_plan(tape, T, false);
    const auto y =
        test::add_slots<float>(tape, fused ? call.fused(tape, plan) : call.composed(tape, plan), plan);
    std::vector<Tensor<float>> all{y.value()};
    if (!y.needs_gradient()) return all;
    moegrad::detail::seed_projection<float>({y});
    tape.backward();
    for (const auto& variable : in) {
        if (variable.needs_gradient()) all.push_back(variable.gradient()->tensor());
    }
    return all;
}

}  // namespace

TEST_CASE("expert_swiglu: gradients and float against double") {
    const bool limited = test::rows_are_limited();
    for (Index D : {1, 5}) {
        if (D == 5 || !limited) check(D, 3, false, 0, {});
    }
    for (double rate : {0.0, 0.4}) {
        if (rate > 0 || !limited) check(24, 16, true, rate, {.scale = kScale});
    }
    check(24, 72, true, 0, {.rows = {}, .scale = kScale, .cuda_rows = {90}});
    check(17, 67, true, 0.4, {.rows = {}, .scale = kScale, .cuda_rows = {90}});
    std::vector<Tensor<double>> inputs;
    for (const Shape& shape : all_shapes(5, 6, 3, true)) {
        inputs.push_back(test::random_tensor(shape, inputs.size()));
    }
    test::check_complex_step(run_twice(true, 0.4), inputs, 1e-11);
}

TEST_CASE("expert_swiglu: one expert with all rows, which are not gathered") {
    const auto shapes = [](Index T, Index D, Index F, Index r) {
        return std::vector<Shape>{{T, D},        {1, 2 * F, D}, {1, D, F}, {1, r, D},
                                  {1, 2 * F, r}, {1, r, F},     {1, D, r}};
    };
    const auto check_dense = [&](Index D, Index F, Index r, const test::OpCheckOptions& options) {
        test::check_op(
            {&expert_swiglu_slot}, [=](Index T) { return shapes(T, D, F, r); }, run_dense(true, false),
            options,
            [](Tape& tape, const test::Inputs<double>& in) { return run_dense(true, true)(tape, in); });
    };
    check_dense(5, 3, 2, {.scale = kScale});
    check_dense(24, 16, 8, {.rows = {}, .scale = kScale, .cuda_rows = {131}});
    check_dense(17, 67, 16, {.rows = {}, .scale = kScale, .cuda_rows = {90}});
    if (test::has_tensor_cores()) check_dense(72, 328, 32, {.rows = {}, .scale = kScale, .cuda_rows = {300}});
    std::vector<Tensor<double>> inputs;
    for (const Shape& shape : shapes(5, 6, 3, 2)) inputs.push_back(test::random_tensor(shape, inputs.size()));
    test::check_complex_step(run_dense(true, false), inputs, 1e-11);
}

TEST_CASE("expert_swiglu: one expert has no tokens to gather, nor masks of them") {
    Tape tape(test::context());
    const auto zeros = [](const Shape& shape) { return Var<float>(Tensor<float>::zeros(shape)); };
    const auto plan = one_group(tape, 3);
    const AdaptedStack<float> gate_up{zeros({1, 6, 4})}, down{zeros({1, 4, 3})};
    CHECK_THROWS_WITH_AS(expert_swiglu(tape, zeros({3, 4}), gate_up, down, plan),
                         doctest::Contains("one_group"), Error);
    const LoraStack<float> dropped{zeros({1, 2, 4}), zeros({1, 6, 2}), 1, {0.5, 1}};
    CHECK_THROWS_WITH_AS(expert_swiglu(tape, zeros({3, 4}), {zeros({1, 6, 4}), &dropped}, down, plan,
                                       test::routed_segments(tape, 3), RowSource::rows),
                         doctest::Contains("dropout for one_group"), Error);
}

TEST_CASE("expert_swiglu: experts that fill a GPU's tiles in part") {
    if (!test::has_tensor_cores()) return;
    for (const bool adapted : {false, true})
        check(24, 328, adapted, 0, {.rows = {}, .scale = kScale, .cuda_rows = test::kPartlyFilledTiles});
}

TEST_CASE("expert_swiglu: du and dB of gate and up in one reading of dz") {
    if (!test::has_tensor_cores()) return;
    REQUIRE(rank_slice(E, 4096, R) > 0);
    for (double rate : {0.0, 0.4}) {
        if (rate > 0 || !test::rows_are_limited())
            check(24, 2048, true, rate, {.rows = {}, .scale = kScale, .cuda_rows = {90}});
    }
}

TEST_CASE("expert_swiglu: the bits are those of grouped_linear, swiglu_fused, grouped_linear") {
    const std::vector<std::vector<bool>> who{
        std::vector<bool>(7, true),
        {false, false, false, true, true, true, true},     // adapters
        {true, false, false, true, true, true, true},      // adapters below a model that learns
        {false, false, true, false, false, false, false},  // down alone: nothing flows through swiglu
        {false, false, false, false, false, false, true},  // down's B alone
        {true, false, false, false, false, false, false},  // a frozen layer
        std::vector<bool>(7, false),
    };
    for (const auto& learns : who) {
        for (double rate : {0.0, 0.3}) {
            const auto fused = results(true, rate, learns), composed = results(false, rate, learns);
            REQUIRE(fused.size() == composed.size());
            for (std::size_t i = 0; i < fused.size(); ++i) {
                CAPTURE(i);
                CHECK(std::memcmp(fused[i].data(), composed[i].data(),
                                  static_cast<std::size_t>(fused[i].size()) * sizeof(float)) == 0);
            }
        }
    }
}

TEST_CASE("expert_swiglu: shapes that do not fit are errors that name them") {
    Tape tape(test::context());
    const auto plan = test::routed_plan(tape, 3, false);
    const auto zeros = [](const Shape& shape) { return Var<float>(Tensor<float>::zeros(shape)); };
    const AdaptedStack<float> gate_up{zeros({E, 6, 4})}, down{zeros({E, 4, 3})}, wide{zeros({E, 4, 6})};
    CHECK_NOTHROW(expert_swiglu(tape, zeros({3, 4}), gate_up, down, plan));
    CHECK_THROWS_WITH_AS(expert_swiglu(tape, zeros({3, 4}), gate_up, wide, plan),
                         doctest::Contains("[4, 4, 6]"), Error);
    CHECK_THROWS_AS(expert_swiglu(tape, zeros({3, 5}), gate_up, down, plan), Error);
}
