#include <moegrad/core/math_complex.hpp>
#include <moegrad/cpu/balance_loss.hpp>
#include <moegrad/ops/balance_loss.hpp>

#include "support/device_status.hpp"
#include "support/op_check.hpp"

using namespace moegrad;

MOEGRAD_TEST_COMPLEX_SEAT(balance_loss);

namespace {

using Options = BalanceOptions;

/// Three segments, one of them empty, one all padding where there are tokens enough; padding in the others
/// too.
Segments some_segments(Index T) {
    const Index first = T / 2, second = T > 4 ? 2 : 0;
    Segments segments = Segments::of_lengths({first, 0, second, T - first - second});
    for (Index t = 0; t < T; ++t) {
        segments.valid.data()[t] = t % 5 != 2 && segments.segment.data()[t] != 2;
    }
    return segments;
}

Tensor<std::int32_t> some_choice(Index T, Index K, Index C) {
    auto choice = Tensor<std::int32_t>::zeros({T, K});
    for (Index i = 0; i < T * K; ++i)
        choice.data()[i] = static_cast<std::int32_t>((7 * i + i / 3) % (C + 1) - 1);
    return choice;
}

/// Twice, so that the second gradient accumulates.
auto op(const Options& options) {
    return [=]<test::NeverRounded Real>(Tape& tape, const test::Inputs<Real>& in) {
        const Index T = in[0].extent(0);
        const auto choice = placed(some_choice(T, 3, in[0].extent(1)), tape.device());
        const auto segments = placed(some_segments(T), tape.device());
        return std::vector{balance_loss(tape, in[0], choice, segments, options),
                           balance_loss(tape, in[0], choice, segments, options)};
    };
}

/// methods.md 2: two true experts (columns 0, 1), two nulls (2, 3), K = 2.
struct Golden {
    Tensor<double> z = Tensor<double>::from({3, 4}, {2, 1, 0, -1, 1, -1, 0, -2, -1, -2, 1, 0});
    Tensor<std::int32_t> choice = Tensor<std::int32_t>::from({3, 2}, {0, 1, 0, 2, 2, 3});
    Tensor<double> p = softmax(z);

    static Tensor<double> softmax(const Tensor<double>& z) {
        auto p = Tensor<double>::zeros(z.shape());
        for (Index t = 0; t < z.extent(0); ++t) {
            double sum = 0;
            for (Index c = 0; c < z.extent(1); ++c) sum += std::exp(z.view<2>()(t, c));
            for (Index c = 0; c < z.extent(1); ++c) p.view<2>()(t, c) = std::exp(z.view<2>()(t, c)) / sum;
        }
        return p;
    }

    double loss(const Options& options) const {
        Tape tape(test::context());
        const auto value = balance_loss(tape, Var<double>(p), choice, Segments::of_lengths({3}), options);
        REQUIRE(value.shape() == Shape{1});
        return value.value().values()[0];
    }

    /// dL/dz = p (dp - <p, dp>)
    Tensor<double> logit_gradient(const Options& options) const {
        Tape tape(test::context());
        const auto input = tape.input(p);
        const auto value = balance_loss(tape, input, choice, Segments::of_lengths({3}), options);
        value.gradient()->target().tensor.values()[0] = 1;
        tape.backward();
        const auto dp = input.gradient()->tensor().view<2>();
        auto dz = Tensor<double>::zeros(p.shape());
        for (Index t = 0; t < 3; ++t) {
            double mean = 0;
            for (Index c = 0; c < 4; ++c) mean += p.view<2>()(t, c) * dp(t, c);
            for (Index c = 0; c < 4; ++c) dz.view<2>()(t, c) = p.view<2>()(t, c) * (dp(t, c) - mean);
        }
        return dz;
    }
};

constexpr Options kNull{Options::Scope::micro, Options::Counts::slots, Options::Nulls::averaged, 2};

}  // namespace

TEST_CASE("balance_loss: gradients and float against double, every definition") {
    for (auto scope : {Options::Scope::sequence, Options::Scope::micro}) {
        for (auto counts : {Options::Counts::slots, Options::Counts::share}) {
            for (auto nulls : {Options::Nulls::separate, Options::Nulls::averaged}) {
                for (Index C : {1, 5}) {
                    test::check_op({&balance_loss_slot},
                                   [&](Index T) {
                                       return std::vector{Shape{T, C}};
                                   },
                                   op({scope, counts, nulls, C / 2}),
                                   {.rows = {0, 1, 7, 15}, .cuda_rows = {129, 700}});
                }
            }
        }
        test::check_complex_step(op({scope, Options::Counts::slots, Options::Nulls::averaged, 3}),
                                 {test::random_tensor({9, 5}, 1)});
    }
}

TEST_CASE("balance_loss: AdaMoE Eq 3 and Eq 6, values (golden)") {
    const Golden golden;
    Options options = kNull;
    CHECK(std::abs(golden.loss(options) - 2.226419) < 1e-6);
    options.counts = Options::Counts::share;
    CHECK(std::abs(golden.loss(options) - 1.113210) < 1e-6);
    options.counts = Options::Counts::slots;
    options.nulls = Options::Nulls::separate;
    CHECK(std::abs(golden.loss(options) - 2.374629) < 1e-6);
    options.scope = Options::Scope::sequence;
    CHECK(std::abs(golden.loss(options) - 2.374629) < 1e-6);
}

TEST_CASE("balance_loss: AdaMoE f, averaged f and P (golden)") {
    const Golden golden;
    const std::vector<double> P{.458324, .118695, .322647, .100333};
    for (Index c = 0; c < 4; ++c) {
        const double sum = golden.p.view<2>()(0, c) + golden.p.view<2>()(1, c) + golden.p.view<2>()(2, c);
        CHECK(std::abs(sum / 3 - P[static_cast<std::size_t>(c)]) < 1e-6);
    }
    // dp = C f / n is the same for every token: f = dp n / C.
    for (const auto& [nulls, f] :
         {std::pair{Options::Nulls::separate, std::vector{.666667, .333333, .666667, .333333}},
          std::pair{Options::Nulls::averaged, std::vector{.666667, .333333, .5, .5}}}) {
        Tape tape(test::context());
        const auto p = tape.input(golden.p);
        Options options = kNull;
        options.nulls = nulls;
        const auto loss = balance_loss(tape, p, golden.choice, Segments::of_lengths({3}), options);
        loss.gradient()->target().tensor.values()[0] = 1;
        tape.backward();
        for (std::size_t i = 0; i < 12; ++i) {
            CHECK(std::abs(p.gradient()->tensor().values()[i] * 3 / 4 - f[i % 4]) < 1e-6);
        }
    }
}

TEST_CASE("balance_loss: AdaMoE Eq 6, gradient of the logits (golden)") {
    const auto dz = Golden().logit_gradient(kNull);
    const std::vector<double> want{.084849, -.074067, -.007882, -.002900,  //
                                   .063423, -.030147, -.029309, -.003967,  //
                                   .018299, -.007517, -.007882, -.002900};
    for (std::size_t i = 0; i < want.size(); ++i) CHECK(std::abs(dz.values()[i] - want[i]) < 1e-6);
}

TEST_CASE("balance_loss: a uniform router gives K, a collapsed one C; shares give 1") {
    const Index T = 12, C = 6, K = 2;
    auto uniform = Tensor<double>::zeros({T, C}), collapsed = Tensor<double>::zeros({T, C});
    auto spread = Tensor<std::int32_t>::zeros({T, K}), same = Tensor<std::int32_t>::zeros({T, K});
    for (Index t = 0; t < T; ++t) {
        for (Index c = 0; c < C; ++c) uniform.view<2>()(t, c) = 1.0 / C;
        for (Index k = 0; k < K; ++k) {
            collapsed.view<2>()(t, 3 + k) = 1.0 / K;
            same.view<2>()(t, k) = static_cast<std::int32_t>(3 + k);
            spread.view<2>()(t, k) = static_cast<std::int32_t>((t + k) % C);
        }
    }
    Tape tape(test::context());
    const auto segments = Segments::of_lengths({T});
    const auto value = [&](const Tensor<double>& p, const Tensor<std::int32_t>& choice,
                           Options::Counts counts) {
        const Options options{Options::Scope::micro, counts, Options::Nulls::separate, 0};
        return balance_loss(tape, Var<double>(p), choice, segments, options).value().values()[0];
    };
    CHECK(value(uniform, spread, Options::Counts::slots) == doctest::Approx(K));
    CHECK(value(uniform, spread, Options::Counts::share) == doctest::Approx(1));
    CHECK(value(collapsed, same, Options::Counts::slots) == doctest::Approx(C));
}

TEST_CASE("balance_loss: padding changes no bit, wherever it stands") {
    const Index T = 6, C = 4;
    const auto p = test::random_tensor<float>({T, C}, 1, 0.1, 0.25);
    const auto choice = some_choice(T, 2, C);
    for (auto scope : {Options::Scope::sequence, Options::Scope::micro}) {
        const Options options{scope, Options::Counts::share, Options::Nulls::averaged, 2};
        test::on_each_device([&](Context& context) {
            const Device device = context.device();
            Tape tape(context);
            const auto want = host(balance_loss(tape, Var<float>(placed(p, device)), placed(choice, device),
                                                placed(Segments::of_lengths({2, 4}), device), options)
                                       .value());
            // Two rows of padding before the first segment's tokens, one inside the second, one after.
            const std::vector<Index> from{-1, -1, 0, 1, 2, 3, -1, 4, 5, -1};
            auto padded = Segments::of_lengths({4, 6});
            auto wide = Tensor<float>::zeros({10, C});
            auto chosen = Tensor<std::int32_t>::zeros({10, 2});
            for (Index t = 0; t < 10; ++t) {
                const Index source = from[static_cast<std::size_t>(t)];
                padded.valid.data()[t] = source >= 0;
                for (Index c = 0; c < C; ++c) wide.view<2>()(t, c) = source < 0 ? 9 : p.view<2>()(source, c);
                for (Index k = 0; k < 2; ++k)
                    chosen.view<2>()(t, k) = source < 0 ? 1 : choice.view<2>()(source, k);
            }
            const auto input = tape.input(placed(wide, device));
            const auto loss =
                balance_loss(tape, input, placed(chosen, device), placed(padded, device), options);
            const auto got = host(loss.value());
            REQUIRE(got.shape() == want.shape());
            for (std::size_t i = 0; i < want.values().size(); ++i) {
                CHECK(got.values()[i] == want.values()[i]);
                CHECK(want.values()[i] > 0.01f);
            }
            auto upstream = Tensor<float>::zeros(got.shape());
            for (float& value : upstream.values()) value = 0.75f;
            copy_values(upstream, loss.gradient()->target().tensor);
            tape.backward();
            const auto dp = host(input.gradient()->tensor());
            for (Index t = 0; t < 10; ++t) {
                for (Index c = 0; c < C; ++c) {
                    if (from[static_cast<std::size_t>(t)] < 0) CHECK(dp.view<2>()(t, c) == 0);
                }
            }
        });
    }
}

TEST_CASE("balance_loss: per sequence the others do not matter; without a valid token it is 0") {
    const auto p = test::random_tensor({7, 3}, 1, 0.1, 0.3);
    const auto choice = some_choice(7, 2, 3);
    auto segments = Segments::of_lengths({3, 2, 0, 2});
    segments.valid.data()[3] = segments.valid.data()[4] = 0;
    Tape tape(test::context());
    const Options options{};
    const auto all = balance_loss(tape, Var<double>(p), choice, segments, options);
    REQUIRE(all.shape() == Shape{4});
    const auto alone =
        balance_loss(tape, Var<double>(p.rows(5, 7)), choice.rows(5, 7), Segments::of_lengths({2}), options);
    CHECK(all.value().values()[3] == alone.value().values()[0]);
    CHECK(all.value().values()[1] == 0);
    CHECK(all.value().values()[2] == 0);
}

TEST_CASE("balance_loss: on a GPU a column out of range counts nowhere and is reported; 300 columns") {
    if (!test::device_reports()) return;
    test::take_status();
    const auto p = test::random_tensor<float>({40, 300}, 1, 0.01, 0.1);
    auto choice = some_choice(40, 2, 300);
    const auto segments = Segments::of_lengths({7, 33});
    const auto run = [&](Context& context, bool counts) {
        auto shown = Tensor<std::int32_t>::zeros(choice.shape());
        copy_values(choice, shown);
        shown.data()[1] = counts ? 300 : -1;
        Tape tape(context);
        const Var<float> there(test::tensor_on(context, p));
        return host(
            balance_loss(tape, there, test::tensor_on(context, shown), placed(segments, context.device()), {})
                .value());
    };
    const auto want = run(test::context(), false), without = run(test::cuda_context(), false);
    CHECK_FALSE(test::take_status().any());
    const auto got = run(test::cuda_context(), true);
    CHECK(test::take_status().bad_index == 1);
    for (std::size_t s : {0u, 1u}) {
        CHECK(got.values()[s] == without.values()[s]);
        CHECK(got.values()[s] == doctest::Approx(want.values()[s]).epsilon(1e-6));
    }
}

TEST_CASE("balance_loss: columns out of range and shapes that do not fit are errors") {
    Tape tape(test::context());
    const Var<float> p(Tensor<float>::zeros({2, 3}));
    const auto segments = Segments::of_lengths({2});
    CHECK_THROWS_WITH_AS(balance_loss(tape, p, Tensor<std::int32_t>::from({2, 1}, {0, 3}), segments, {}),
                         doctest::Contains("3 for token 1, slot 0"), Error);
    CHECK_THROWS_WITH_AS(
        balance_loss(tape, p, Tensor<std::int32_t>::zeros({2, 1}), Segments::of_lengths({3}), {}),
        doctest::Contains("segments of 3"), Error);
    Options options = kNull;
    options.true_experts = 4;
    CHECK_THROWS_AS(balance_loss(tape, p, Tensor<std::int32_t>::zeros({2, 1}), segments, options), Error);
}
