#include <moegrad/ops/adamw.hpp>
#include <moegrad/ops/clip.hpp>

#include "support/bits.hpp"
#include "support/device_status.hpp"

using namespace moegrad;

namespace {

/// The report, and what adamw sees: a gradient of 1 moves m by (1 - b1) clip_scale, or not at all.
struct Outcome {
    double norm, scale, blocked, moved;
};

Outcome run(Context& context, const std::vector<double>& squares, double limit,
            const std::vector<double>& watched = {}) {
    const auto on = [&](const std::vector<double>& values) {
        return test::tensor_on(context,
                               Tensor<double>::from({static_cast<Index>(values.size())}, std::span(values)));
    };
    context.scalars().step += 1;  // a new step
    context.scalars().clip_scale = 1;
    context.scalars().blocked = 0;
    const auto report = Tensor<double>::zeros({kClipReport}, context.device());
    clip<float>(context.stream(), on(squares).view<1>(), on(watched).view<1>(), limit, report.view<1>());
    const auto one = test::tensor_on(context, Tensor<float>::from({1}, {1}));
    const auto zero = [&] { return Tensor<float>::zeros({1}, context.device()); };
    const auto w = zero(), m = zero(), v = zero();
    adamw_update(context.stream(), GradientUses<float>{one}, w, m, v, {.beta1 = 0});
    const auto got = host(report);
    return {got.data()[kClipNorm], got.data()[kClipScale], got.data()[kClipBlocked],
            static_cast<double>(host(m).data()[0])};
}

}  // namespace

TEST_CASE("clip: norm, scale, and an update that is scaled") {
    test::on_each_device([](Context& context) {
        const Outcome clipped = run(context, {9, 0, 16}, 2);
        CHECK(clipped.norm == 5);
        CHECK(clipped.scale == 0.4);
        CHECK(clipped.blocked == 0);
        CHECK(clipped.moved == doctest::Approx(0.4));
        CHECK(run(context, {9, 16}, 5).scale == 1);
        CHECK(run(context, {9, 16}, 5.001).scale == 1);
        CHECK(run(context, {9, 16}, 0).scale == 1);  // no limit
        const Outcome none = run(context, {}, 1, {3.0});
        CHECK(none.norm == 0);
        CHECK(none.moved == 1);
        std::vector<double> many;
        double sum = 0;
        for (int p = 0; p < 1000; ++p) sum += many.emplace_back(1.0 / (1 + p));
        CHECK(run(context, many, 1).norm == doctest::Approx(std::sqrt(sum)).epsilon(1e-14));
        test::add_reference_record(clip_slot, Number::float32, context.device());
    });
    Context own({.device = Device::cpu, .threads = 1});
    const auto report = Tensor<double>::zeros({kClipReport});
    const auto squares = Tensor<double>::from({2}, {9, 16});
    clip<double>(own.stream(), squares.view<1>(), {}, 2.5, report.view<1>());
    CHECK(own.scalars().clip_scale == 0.5);
    CHECK(own.scalars().blocked == 0);
    test::add_reference_record(clip_slot, Number::float64);
}

TEST_CASE("clip: a norm or a loss that is not finite blocks the update") {
    for (const double bad : {double(INFINITY), double(NAN)}) {
        Context own({.device = Device::cpu, .threads = 1});
        for (const Outcome& outcome : {run(own, {1, bad}, 1), run(own, {1, 1}, 1, {0.5, bad})}) {
            CHECK(outcome.blocked == 1);
            CHECK(outcome.moved == 0);
        }
        CHECK(run(own, {1, 1}, 1, {0.5}).blocked == 0);
    }
}

TEST_CASE("clip: on a GPU a bad value blocks until the host has taken the report") {
    if (!test::device_reports()) return;
    Context& there = test::cuda_context();
    test::take_status();
    for (const double bad : {double(INFINITY), double(NAN)}) {
        const Outcome first = run(there, {1, bad}, 1);
        CHECK(first.blocked == 1);
        CHECK(first.moved == 0);
        CHECK(run(there, {1, 1}, 1).moved == 0);  // the next step, sent before the host knew
        CHECK(test::take_status().not_finite == 1);
        CHECK(run(there, {1, 1}, 1).moved > 0);
        CHECK(run(there, {1, 1}, 1, {0.5, bad}).blocked == 1);
        CHECK(test::take_status().not_finite == 1);
    }
    CHECK(run(there, {1, 1}, 1, {0.5}).blocked == 0);
    CHECK_FALSE(test::take_status().any());
    there.scalars() = {};
}

TEST_CASE("clip: a negative limit and a report of another size are errors") {
    Context own({.device = Device::cpu, .threads = 1});
    const auto report = Tensor<double>::zeros({kClipReport}), small = Tensor<double>::zeros({2});
    CHECK_THROWS_WITH_AS(clip<float>(own.stream(), {}, {}, -1, report.view<1>()),
                         doctest::Contains("limit -1"), Error);
    CHECK_THROWS_WITH_AS(clip<float>(own.stream(), {}, {}, NAN, report.view<1>()), doctest::Contains("limit"),
                         Error);
    CHECK_THROWS_WITH_AS(clip<float>(own.stream(), {}, {}, 1, small.view<1>()),
                         doctest::Contains("2 numbers"), Error);
}
