#include <moegrad/core/math_complex.hpp>
#include <moegrad/cpu/combine.hpp>
#include <moegrad/cpu/grouped_linear.hpp>
#include <moegrad/ops/combine.hpp>
#include <moegrad/ops/grouped_linear.hpp>

#include "support/grouped_reference.hpp"

#include <algorithm>
#include <cstring>

using namespace moegrad;

MOEGRAD_TEST_COMPLEX_SEAT(grouped_linear);
MOEGRAD_TEST_COMPLEX_SEAT(combine);

namespace {

constexpr Index K = test::kRoutedSlots, E = test::kRoutedExperts, R = 2;

using test::add_slots;
using test::KeepSelections;
using test::routed_plan;
using test::routed_segments;

const auto some_experts = test::routed_experts;
const auto some_segments = [](Index T) { return Segments::of_lengths({T / 2, 0, T - T / 2}); };

Index tokens_of(Index rows, RowSource source) {
    return rows / (source == RowSource::tokens ? 1 : K);
}

/// x, w, and A and B where it is adapted. Twice, so that the second gradient accumulates.
auto linear_twice(RowSource source, bool adapted, double rate = 0, bool all_used = true) {
    return [=]<class Real>(Tape& tape, const test::Inputs<Real>& in) {
        const KeepSelections keep(tape);
        const Index T = tokens_of(in[0].extent(0), source);
        const auto plan = routed_plan(tape, T, all_used);
        LoraStack<Real> lora;
        if (adapted) lora = LoraStack<Real>{in[2], in[3], 1.5, {rate, 7}};
        const auto once = [&] {
            const auto y = grouped_linear<Real>(tape, in[0], in[1], plan, source, adapted ? &lora : nullptr,
                                                routed_segments(tape, T));
            return add_slots<Real>(tape, y, plan);
        };
        return std::vector{once(), once()};
    };
}
auto rounded_twice(RowSource source, bool adapted, double rate = 0, bool all_used = true) {
    return [=](Tape& tape, const test::Inputs<double>& in) {
        const KeepSelections keep(tape);
        const Index T = tokens_of(in[0].extent(0), source);
        const auto plan = routed_plan(tape, T, all_used);
        LoraStack<double> lora;
        if (adapted) lora = LoraStack<double>{in[2], in[3], 1.5, {rate, 7}};
        const auto once = [&] {
            const auto y = test::rounded_linear(tape, in[0], in[1], plan, source, adapted ? &lora : nullptr,
                                                routed_segments(tape, T));
            return add_slots<double>(tape, y, plan);
        };
        return std::vector{once(), once()};
    };
}

auto shapes(RowSource source, Index D, Index O, bool lora) {
    return [=](Index T) {
        std::vector<Shape> all{Shape{source == RowSource::tokens ? T : T * K, D}, Shape{E, O, D}};
        if (lora) all.insert(all.end(), {Shape{E, R, D}, Shape{E, O, R}});
        return all;
    };
}

bool same_bits(const float* a, const float* b, Index n) {
    return std::memcmp(a, b, static_cast<std::size_t>(n) * sizeof(float)) == 0;
}

bool same_gradient(const Var<float>& a, const Var<float>& b) {
    return same_bits(a.gradient()->tensor().data(), b.gradient()->tensor().data(), a.value().size());
}

/// One batch with every weight learning: outputs and lasting gradients.
struct Run {
    Context context;
    Var<float> x, w, A, B;
    Tensor<float> y;

    Run(int threads, Index T, Index D, Index O)
        : context({.device = Device::cpu, .threads = threads, .fill = Arena::Fill::poison}),
          x(learning({T, D}, 1)),
          w(learning({E, O, D}, 2)),
          A(learning({E, R, D}, 3)),
          B(learning({E, O, R}, 4)) {}

    static Var<float> learning(const Shape& shape, std::uint64_t seed) {
        return Var<float>(test::random_tensor<float>(shape, seed),
                          std::make_shared<Gradient<float>>(Tensor<float>::zeros(shape)));
    }

    /// Tokens [begin, end) of the batch as one micro-batch.
    void step(Index begin, Index end, double rate) {
        Tape tape(context);
        const Index T = x.extent(0);
        const auto plan = dispatch(tape, some_experts(T, false).rows(begin, end), E);
        Segments part = some_segments(T);
        part.sample = part.sample.rows(begin, end);
        part.position = part.position.rows(begin, end);
        const LoraStack<float> lora{A, B, 0.5, {rate, 3}};
        const Var<float> mine(x.value().rows(begin, end),
                              std::make_shared<Gradient<float>>(x.gradient()->tensor().rows(begin, end)));
        const auto rows = grouped_linear(tape, mine, w, plan, RowSource::tokens, &lora, part);
        y = add_slots(tape, rows, plan).value();
        auto dy = rows.gradient()->target().tensor;
        for (Index n = 0; n < plan.expert_begin.data()[E]; ++n) {
            const Index slot = begin * K + plan.row_slot.data()[n];
            for (Index o = 0; o < dy.columns(); ++o) {
                dy.view<2>()(n, o) = float(moegrad::detail::projection(slot * dy.columns() + o)) - 1;
            }
        }
        tape.backward();
    }
};

}  // namespace

TEST_CASE("grouped_linear: gradients and float against double") {
    for (RowSource source : {RowSource::tokens, RowSource::rows}) {
        const auto check = [=](Index D, Index O, const test::OpCheckOptions& options) {
            test::check_op({&grouped_linear_slot}, shapes(source, D, O, false), linear_twice(source, false),
                           options, rounded_twice(source, false));
        };
        check(5, 3, {});
        check(1, 1, {});
        check(19, 7, {.rows = {3}});
        // More than a tile each way, with and without rows that start at 16 bytes.
        check(40, 136, {.rows = {}, .cuda_rows = {150}});
        check(33, 131, {.rows = {}, .cuda_rows = {150}});
        if (test::has_tensor_cores()) check(72, 328, {.rows = {}, .cuda_rows = test::kPartlyFilledTiles});
    }
}

TEST_CASE("grouped_linear: LoRA per expert, with and without dropout, with slots that have no row") {
    for (RowSource source : {RowSource::tokens, RowSource::rows}) {
        const bool rows = source == RowSource::rows;
        for (double rate : {0.0, 0.4}) {
            if (test::rows_are_limited() && (rate > 0) != rows) continue;
            const auto check = [=](Index D, Index O, bool all_used, const test::OpCheckOptions& options) {
                test::check_op({&grouped_linear_slot}, shapes(source, D, O, true),
                               linear_twice(source, true, rate, all_used), options,
                               rounded_twice(source, true, rate, all_used));
            };
            for (bool all_used : {true, false}) check(5, 3, all_used, {});
            check(40, 72, false, {.rows = {}, .cuda_rows = {150}});
        }
        const std::vector inputs{test::random_tensor({rows ? 5 * K : 5, 6}, 1),
                                 test::random_tensor({E, 3, 6}, 2), test::random_tensor({E, R, 6}, 3),
                                 test::random_tensor({E, 3, R}, 4)};
        test::check_complex_step(linear_twice(source, true, 0.4, false), inputs, 1e-11);
    }
}

TEST_CASE("grouped_linear: each row is its token times its expert, plus the adapter on the masked token") {
    const Index T = 9, D = 6, O = 4;
    const double scale = 0.75, rate = 0.3;
    Tape tape(test::context());
    const auto expert = some_experts(T, false);
    const auto plan = dispatch(tape, expert, E);
    const auto x = test::random_tensor({T, D}, 1), w = test::random_tensor({E, O, D}, 2);
    const auto A = test::random_tensor({E, R, D}, 3), B = test::random_tensor({E, O, R}, 4);
    const LoraStack<double> lora{tape.input(A), tape.input(B), scale, {rate, 5}};
    const Segments segments = some_segments(T);
    const auto y =
        grouped_linear(tape, Var<double>(x), Var<double>(w), plan, RowSource::tokens, &lora, segments);
    for (Index i = 0; i < T * K; ++i) {
        const Index t = i / K, e = expert.data()[i];
        if (e < 0) continue;
        const auto mask =
            dropout_mask(test::context().scalars(), lora.dropout, static_cast<std::uint32_t>(e));
        for (Index o = 0; o < O; ++o) {
            double want = 0;
            for (Index d = 0; d < D; ++d) want += x.view<2>()(t, d) * w.view<3>()(e, o, d);
            for (Index r = 0; r < R; ++r) {
                for (Index d = 0; d < D; ++d) {
                    if (!dropout_keep(mask, segments.sample.data()[t], segments.position.data()[t], d))
                        continue;
                    want +=
                        scale * B.view<3>()(e, o, r) * A.view<3>()(e, r, d) * x.view<2>()(t, d) / (1 - rate);
                }
            }
            CHECK(std::abs(y.value().matrix().row(plan.slot_row.data()[i])[o] - want) < 1e-12);
        }
    }
}

TEST_CASE("grouped_linear: an adapter with B = 0 leaves every bit") {
    const Index T = 13, D = 21, O = 10;
    Tape tape(test::context());
    const auto plan = dispatch(tape, some_experts(T, true), E);
    const Var<float> x(test::random_tensor<float>({T, D}, 1)), w(test::random_tensor<float>({E, O, D}, 2));
    const auto A = tape.input(test::random_tensor<float>({E, R, D}, 3));
    const LoraStack<float> lora{A, tape.input(Tensor<float>::zeros({E, O, R})), 2, {}};
    const auto base = grouped_linear(tape, x, w, plan, RowSource::tokens);
    const auto adapted = grouped_linear(tape, x, w, plan, RowSource::tokens, &lora);
    CHECK(same_bits(base.value().data(), adapted.value().data(), base.value().size()));
}

TEST_CASE("grouped_linear: one expert for every token is lora_linear, to the bit") {
    const Index T = 11, D = 9, O = 6;
    for (double rate : {0.0, 0.3}) {
        Tape tape(test::context());
        const auto plan = dispatch(tape, Tensor<std::int32_t>::zeros({T, 1}), 1);
        const auto x = test::random_tensor<float>({T, D}, 1), w = test::random_tensor<float>({1, O, D}, 2);
        const auto A = test::random_tensor<float>({1, R, D}, 3), B = test::random_tensor<float>({1, O, R}, 4);
        const LoraStack<float> stack{tape.input(A), tape.input(B), 0.7, {rate, 4}};
        const LoraWeights<float> single{tape.input(A.slice(0)), tape.input(B.slice(0)), 0.7, {rate, 4}};
        const auto from = tape.input(x), same = tape.input(x);
        const auto segments = some_segments(T);
        const auto y = grouped_linear(tape, from, Var<float>(w), plan, RowSource::tokens, &stack, segments);
        const auto z = lora_linear(tape, same, Var<float>(w.slice(0)), single, segments);
        CHECK(same_bits(y.value().data(), z.value().data(), T * O));
        moegrad::detail::seed_projection<float>({y});
        moegrad::detail::seed_projection<float>({z});
        tape.backward();
        CHECK(same_gradient(stack.A, single.A));
        CHECK(same_gradient(stack.B, single.B));
        CHECK(same_gradient(from, same));
    }
}

TEST_CASE("grouped_linear: the bits depend on neither threads nor the cut into micro-batches") {
    const Index T = 40, D = 24, O = 33;
    for (double rate : {0.0, 0.25}) {
        Run whole(1, T, D, O), threads(4, T, D, O), cut(3, T, D, O);
        for (Run* run : {&whole, &threads}) run->step(0, T, rate);
        CHECK(same_bits(whole.y.data(), threads.y.data(), whole.y.size()));
        Index begin = 0;
        for (Index end : {1, 2, 17, 17, 40}) {
            cut.step(begin, end, rate);
            if (end > begin) CHECK(same_bits(whole.y.matrix().row(begin), cut.y.data(), cut.y.size()));
            begin = end;
        }
        for (const Run* other : {&threads, &cut}) {
            CHECK(same_gradient(whole.x, other->x));
            CHECK(same_gradient(whole.w, other->w));
            CHECK(same_gradient(whole.A, other->A));
            CHECK(same_gradient(whole.B, other->B));
        }
    }
}

TEST_CASE("grouped_linear: an expert without rows gets exact zeros, or keeps what its gradient holds") {
    for (Index T : {0, 6}) {
        Run run(2, T, 5, 3);
        for (const Var<float>* parameter : {&run.w, &run.A, &run.B}) {
            for (float& value : parameter->gradient()->tensor().values()) value = 77;
        }
        run.step(0, T, 0);
        for (const Var<float>* parameter : {&run.w, &run.A, &run.B}) {
            const auto gradient = parameter->gradient()->tensor();
            for (float value : gradient.slice(2).values()) CHECK(value == 0);
            for (float& value : gradient.slice(2).values()) value = 55;
        }
        run.step(0, T, 0);
        for (const Var<float>* parameter : {&run.w, &run.A, &run.B}) {
            for (float value : parameter->gradient()->tensor().slice(2).values()) CHECK(value == 55);
        }
    }
}

TEST_CASE("grouped_linear: frozen weights record nothing; gradient rows from N on are not touched") {
    Tape tape(test::context());
    const auto plan = dispatch(tape, some_experts(6, false), E);
    const Index N = plan.expert_begin.data()[E];
    REQUIRE(N < plan.bound);
    const Var<float> w(test::random_tensor<float>({E, 3, 4}, 1)), x(test::random_tensor<float>({6, 4}, 2));
    CHECK_FALSE(grouped_linear(tape, x, w, plan, RowSource::tokens).needs_gradient());
    CHECK(tape.size() == 0);
    auto lasting = Tensor<float>::zeros({plan.bound, 4});
    for (float& value : lasting.values()) value = 77;
    const Var<float> rows(test::random_tensor<float>({plan.bound, 4}, 3),
                          std::make_shared<Gradient<float>>(lasting));
    const auto y = add_slots(tape, grouped_linear(tape, rows, w, plan, RowSource::rows), plan);
    moegrad::detail::seed_projection<float>({y});
    tape.backward();
    for (Index i = 0; i < plan.bound * 4; ++i) CHECK((lasting.data()[i] == 77) == (i >= N * 4));
}

TEST_CASE("grouped_linear: shapes that do not fit are errors that name them") {
    using doctest::Contains;
    const auto zeros = [](const Shape& shape) { return Var<float>(Tensor<float>::zeros(shape)); };
    Tape tape(test::context());
    const auto plan = dispatch(tape, some_experts(3, true), E);
    const auto x = zeros({3, 4}), w = zeros({E, 5, 4}), narrow = zeros({E, 5, 3}), few = zeros({3, 5, 4});
    const RowSource tokens = RowSource::tokens;
    CHECK_THROWS_WITH_AS(grouped_linear(tape, x, w, plan, RowSource::rows), Contains("x [3, 4]"), Error);
    CHECK_THROWS_WITH_AS(grouped_linear(tape, x, narrow, plan, tokens), Contains("w [4, 5, 3]"), Error);
    CHECK_THROWS_WITH_AS(grouped_linear(tape, x, few, plan, tokens), Contains("w [3, 5, 4]"), Error);
    const LoraStack<float> lora{zeros({E, 2, 4}), narrow, 1, {}};
    CHECK_THROWS_WITH_AS(grouped_linear(tape, x, w, plan, tokens, &lora), Contains("B [4, 5, 3]"), Error);
}
