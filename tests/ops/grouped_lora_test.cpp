#include <moegrad/core/math_complex.hpp>
#include <moegrad/cpu/combine.hpp>
#include <moegrad/cpu/grouped_linear.hpp>
#include <moegrad/ops/grouped_lora.hpp>

#include "support/bits.hpp"
#include "support/grouped_reference.hpp"

using namespace moegrad;

MOEGRAD_TEST_COMPLEX_SEAT(grouped_linear);
MOEGRAD_TEST_COMPLEX_SEAT(combine);

namespace {

constexpr Index K = test::kRoutedSlots, E = test::kRoutedExperts;

using test::add_slots;
using test::KeepSelections;
using test::routed_plan;
using test::routed_segments;

Index tokens_of(Index rows, RowSource source) {
    return rows / (source == RowSource::tokens ? 1 : K);
}

/// One case: x, A, B, and base where there is one. Twice, so that the second gradient accumulates.
struct LowRankCase {
    RowSource source;
    bool shared;
    double rate = 0;
    bool all_used = false;
    Index R = 2;

    template <class Real>
    std::vector<Var<Real>> operator()(Tape& tape, const test::Inputs<Real>& in) const {
        const KeepSelections keep(tape);
        const Index T = tokens_of(in[0].extent(0), source);
        const auto plan = routed_plan(tape, T, all_used);
        const LoraStack<Real> lora{in[1], in[2], 1.5, {rate, 7}};
        const auto once = [&] {
            const Var<Real> base = shared ? Var<Real>(in[3]) : Var<Real>();
            return add_slots<Real>(
                tape, grouped_lora<Real>(tape, base, in[0], plan, source, lora, routed_segments(tape, T)),
                plan);
        };
        return std::vector{once(), once()};
    }

    /// In double with the roundings of bf16: what rounded_linear says of a weight that is zero, and the base.
    auto rounded() const {
        return [self = *this](Tape& tape, const test::Inputs<double>& in) {
            const KeepSelections keep(tape);
            const Index T = tokens_of(in[0].extent(0), self.source), O = in[2].extent(1), D = in[0].extent(1);
            const auto plan = routed_plan(tape, T, self.all_used);
            const LoraStack<double> lora{in[1], in[2], 1.5, {self.rate, 7}};
            const auto once = [&] {
                auto y = test::rounded_linear(tape, in[0], Weight<double>(Tensor<double>::zeros({E, O, D})),
                                              plan, self.source, &lora, routed_segments(tape, T));
                if (self.shared) {
                    y = test::rounded(tape, add(tape, y,
                                                grouped_linear<double>(tape, in[3], test::unit_matrices(E, O),
                                                                       plan, self.source)));
                }
                return add_slots<double>(tape, y, plan);
            };
            return std::vector{once(), once()};
        };
    }

    auto shapes(Index D, Index O) const {
        return [self = *this, D, O](Index T) {
            const Index rows = self.source == RowSource::tokens ? T : T * K;
            std::vector<Shape> all{Shape{rows, D}, Shape{E, self.R, D}, Shape{E, O, self.R}};
            if (self.shared) all.push_back({rows, O});
            return all;
        };
    }
};

template <class Body>
void for_low_rank_cases(Body&& body) {
    for (const RowSource source : {RowSource::tokens, RowSource::rows}) {
        for (const bool shared : {false, true}) {
            for (const double rate : {0.0, 0.4}) {
                const bool dropped = rate > 0, rows = source == RowSource::rows;
                if (test::rows_are_limited() && (shared == rows || dropped == rows)) continue;
                body(LowRankCase{source, shared, rate});
            }
        }
    }
}

}  // namespace

TEST_CASE("grouped_lora: gradients and float against double") {
    for_low_rank_cases([](LowRankCase one) {
        const auto f = [one]<class Real>(Tape& tape, const test::Inputs<Real>& in) { return one(tape, in); };
        test::check_op({&grouped_linear_slot}, one.shapes(5, 3), f, {}, one.rounded());
        test::check_op({&grouped_linear_slot}, one.shapes(40, 72), f, {.rows = {}, .cuda_rows = {150}},
                       one.rounded());
        test::check_complex_step(f, [&] {
            std::vector<Tensor<double>> in;
            for (const Shape& shape : one.shapes(6, 3)(5)) {
                in.push_back(test::random_tensor(shape, in.size() + 1));
            }
            return in;
        }());
    });
}

TEST_CASE("grouped_lora: ranks that a GPU's matrix units take") {
    if (!has_cuda()) return;
    for_low_rank_cases([](LowRankCase one) {
        for (const Index R : {8, 16}) {
            one.R = R;
            const auto f = [one]<class Real>(Tape& tape, const test::Inputs<Real>& in) {
                return one(tape, in);
            };
            test::check_op({&grouped_linear_slot}, one.shapes(40, 72), f,
                           {.rows = {}, .cuda_rows = {150, 300}}, one.rounded());
        }
    });
}

TEST_CASE("grouped_lora: it is grouped_linear with a weight of zeros, to the bit, and the base before it") {
    const Index T = 13, D = 21, O = 10, R = 2;
    Tape tape(test::context());
    const auto plan = routed_plan(tape, T, true);
    const auto segments = routed_segments(tape, T);
    const Var<float> x(test::random_tensor<float>({T, D}, 1)), base(test::random_tensor<float>({T, O}, 2));
    const LoraStack<float> lora{tape.input(test::random_tensor<float>({E, R, D}, 3)),
                                tape.input(test::random_tensor<float>({E, O, R}, 4)),
                                0.5,
                                {0.3, 5}};
    const Var<float> zero(Tensor<float>::zeros({E, O, D}));
    const auto want = grouped_linear(tape, x, zero, plan, RowSource::tokens, &lora, segments);
    CHECK(test::same_bits(grouped_lora(tape, {}, x, plan, RowSource::tokens, lora, segments).value(),
                          want.value()));
    const auto y = grouped_lora(tape, base, x, plan, RowSource::tokens, lora, segments);
    const LoraStack<float> none{lora.A, tape.input(Tensor<float>::zeros({E, O, R})), 0.5, {}};
    const auto gathered = grouped_lora(tape, base, x, plan, RowSource::tokens, none, segments);
    for (Index n = 0; n < T * K; ++n) {
        const Index t = plan.row_token.data()[n];
        for (Index o = 0; o < O; ++o) {
            CHECK(gathered.value().matrix()(n, o) == base.value().matrix()(t, o));
            CHECK(y.value().matrix()(n, o) ==
                  doctest::Approx(base.value().matrix()(t, o) + want.value().matrix()(n, o)).epsilon(1e-5));
        }
    }
}

TEST_CASE("drop_rows: the mask of a row's token and expert, forward and back") {
    const Index T = 7, D = 9;
    const Dropout dropout{0.4, 3};
    Tape tape(test::context());
    const auto plan = routed_plan(tape, T, false);
    const auto segments = routed_segments(tape, T);
    const auto x = tape.input(test::random_tensor<double>({T * K, D}, 1));
    const auto y = drop_rows(tape, x, plan, segments, dropout);
    auto dy = y.gradient()->target().tensor;
    for (Index i = 0; i < dy.size(); ++i) dy.data()[i] = static_cast<double>(i % 5) - 2;
    tape.backward();
    const auto expert = test::routed_experts(T, false);
    Index kept = 0, dropped = 0;
    for (Index n = 0; n < plan.expert_begin.data()[E]; ++n) {
        const Index t = plan.row_token.data()[n], e = expert.data()[plan.row_slot.data()[n]];
        const auto mask = dropout_mask(test::context().scalars(), dropout, static_cast<std::uint32_t>(e));
        for (Index d = 0; d < D; ++d) {
            const bool keep = dropout_keep(mask, segments.sample.data()[t], segments.position.data()[t], d);
            const double factor = keep ? mask.scale : 0;
            CHECK(y.value().matrix()(n, d) == factor * x.value().matrix()(n, d));
            CHECK(x.gradient()->tensor().matrix()(n, d) == factor * dy.matrix()(n, d));
            ++(keep ? kept : dropped);
        }
    }
    CHECK(kept > 0);
    CHECK(dropped > 0);
    Tape inference(test::context(), Mode::inference);
    CHECK(drop_rows(inference, x, plan, segments, dropout).value().data() == x.value().data());
}

TEST_CASE("grouped_lora: shapes that do not fit are an error that names them all") {
    Tape tape(test::context());
    const auto plan = routed_plan(tape, 4, true);
    const auto zeros = [](const Shape& shape) { return Var<float>(Tensor<float>::zeros(shape)); };
    const LoraStack<float> lora{zeros({E, 2, 5}), zeros({E, 3, 2})};
    const auto call = [&](const Var<float>& base, const Shape& x) {
        grouped_lora(tape, base, zeros(x), plan, RowSource::tokens, lora, {});
    };
    CHECK_THROWS_WITH_AS(call({}, {4, 6}), doctest::Contains("x [4, 6], A [4, 2, 5], B [4, 3, 2], base none"),
                         Error);
    CHECK_THROWS_WITH_AS(call(zeros({4, 2}), {4, 5}), doctest::Contains("base [4, 2]"), Error);
    call(zeros({4, 3}), {4, 5});
}
