#include <moegrad/ops/sparsemixer.hpp>

#include "support/device_status.hpp"
#include "support/op_check.hpp"

using namespace moegrad;

namespace {

template <Index K>
auto sparsemixer_op(SparsemixerOptions options) {
    return [options]<test::NeverRounded Real>(Tape& tape, const test::Inputs<Real>& in) {
        const auto segments = placed(Segments::of_lengths({in[0].extent(0)}), tape.device());
        const DrawKey key{3, 1, false};
        return std::vector{
            sparsemixer(tape, in[0], segments, std::min(K, in[0].extent(1)), options, key).weight};
    };
}

/// Slots of a batch of equal logits, one token per position.
template <class Real>
SparsemixerSlots<Real> sparsemixer_slots(Tape& tape, const std::vector<Real>& z, Index T, Index K,
                                         const SparsemixerOptions& options) {
    const auto E = static_cast<Index>(z.size());
    auto rows = Tensor<Real>::zeros({T, E});
    for (Index i = 0; i < T * E; ++i) rows.data()[i] = z[static_cast<std::size_t>(i % E)];
    return sparsemixer(tape, tape.input(rows), Segments::of_lengths({T}), K, options, {1, 2, false});
}

}  // namespace

TEST_CASE("sparsemixer: gradients and float against double") {
    for (double jitter : {0.01, 0.4, 10.0}) {
        for (bool sample : {false, true}) {
            for (Index E : {1, 2, 5, 35}) {
                const auto shapes = [E](Index T) { return std::vector{Shape{T, E}}; };
                const test::OpCheckOptions options{.cuda_rows = {65, 300}};
                test::check_op({&sparsemixer_slot}, shapes, sparsemixer_op<1>({jitter, sample}), options);
                test::check_op({&sparsemixer_slot}, shapes, sparsemixer_op<2>({jitter, sample}), options);
            }
        }
    }
}

TEST_CASE("sparsemixer golden: weights and gradients of the published forward, by PyTorch") {
    // torch, float64, jitter 0.1, K = 2, no sampling: the masks of the released code, softmax, gather; autograd of the
    // sum of w G with masks and picks held.
    const std::vector<double> z{2,   1.9, 1.7, 0.4,  -1,  -1,  -1.1, -1.3, -3, -1.15,
                                0.1, 3,   2.9, 2.45, 2.3, 0.5, -0.2, 0.45, 0,  0.41};
    Tape tape(test::context());
    const auto x = tape.input(Tensor<double>::from({4, 5}, z));
    const auto slots = sparsemixer(tape, x, Segments::of_lengths({4}), 2, {0.1, false, true}, {});
    copy_values(Tensor<double>::from({4, 2}, {1, -0.5, 0.25, 2, 0.3, 1, -1, 0.7}),
                slots.weight.gradient()->target().tensor);
    tape.backward();
    const std::vector<std::int32_t> choice{0, 1, 0, 1, 1, 2, 0, 2};
    const std::vector<double> w{0.377978140981602, 0.549833997312478, 0.361592328949962, 0.361016020408687,
                                0.402935428367914, 0.610639233949222, 0.349020573781934, 0.509998666879966};
    const std::vector<double> dz{0.235110665921694,
                                 -0.253030123610454,
                                 0.0179194576887595,
                                 0,
                                 0,
                                 0.0577108291486261,
                                 0.431790257146307,
                                 -0.213414561447444,
                                 0,
                                 -0.276086524847489,
                                 0,
                                 0.0721735406801639,
                                 0.193686964318791,
                                 -0.265860504998955,
                                 0,
                                 -0.227205212858864,
                                 0,
                                 0.290804374328636,
                                 0,
                                 -0.0635991614697721};
    for (std::size_t i = 0; i < 8; ++i) {
        CHECK(slots.choice.values()[i] == choice[i]);
        CHECK(std::abs(slots.weight.value().values()[i] - w[i]) < 1e-12);
    }
    for (std::size_t i = 0; i < 20; ++i) CHECK(std::abs(x.gradient()->tensor().values()[i] - dz[i]) < 1e-12);
}

TEST_CASE("sparsemixer: samples of near ties follow their softmax; others are never drawn") {
    // Columns 0, 1, 2 are near (1 - 0.9 <= 2 x 0.06), 3 is not.
    constexpr Index T = 40000;
    Tape tape(test::context());
    const auto slots = sparsemixer_slots<double>(tape, {1.0, 0.95, 0.9, 0.5}, T, 2, {0.06, true, true});
    const double sum = std::exp(1.0) + std::exp(0.95) + std::exp(0.9);
    const double p[] = {std::exp(1.0) / sum, std::exp(0.95) / sum, std::exp(0.9) / sum, 0};
    double count[4] = {}, third[4] = {};
    for (Index t = 0; t < T; ++t) {
        const auto pick = static_cast<std::size_t>(slots.choice.matrix()(t, 0));
        const double h = slots.weight.value().matrix()(t, 0) / p[pick];
        count[pick] += 1;
        third[pick] += h < 0.5;
        CHECK(std::abs(h - (h < 0.5 ? 1.0 / 3 : 1.0)) < 1e-12);
        CHECK(slots.choice.matrix()(t, 1) != slots.choice.matrix()(t, 0));
    }
    for (std::size_t e = 0; e < 4; ++e) CHECK(std::abs(count[e] / T - p[e]) < 0.01);
    CHECK(third[0] == 0);  // the best one counts in full
    CHECK(std::abs(third[1] / count[1] - 0.75) < 0.02);
    CHECK(std::abs(third[2] / count[2] - 0.75) < 0.02);
}

TEST_CASE("sparsemixer: the third is in the value, not in the gradient") {
    const auto gradient = [](bool heun, double& sum) {
        Tape tape(test::context());
        auto rows = Tensor<double>::zeros({200, 3});
        for (Index i = 0; i < 600; ++i) rows.data()[i] = 1 + 0.02 * static_cast<double>(i % 3);
        const auto x = tape.input(rows);
        const auto slots =
            sparsemixer(tape, x, Segments::of_lengths({200}), 1, {0.1, true, heun}, {1, 2, false});
        for (double w : slots.weight.value().values()) sum += w;
        auto target = slots.weight.gradient()->target();
        for (double& g : target.tensor.values()) g = 1;
        tape.backward();
        const auto values = x.gradient()->tensor().values();
        return std::vector<double>(values.begin(), values.end());
    };
    double with = 0, without = 0;
    CHECK(gradient(true, with) == gradient(false, without));
    CHECK(with < 0.7 * without);
}

TEST_CASE(
    "sparsemixer: a NaN and shapes that do not fit are errors; zeros, ties and negative logits are not") {
    Tape tape(test::context());
    CHECK_THROWS_WITH_AS(sparsemixer_slots<float>(tape, {1, NAN, 0}, 2, 1, {}),
                         doctest::Contains("token 0, column 1"), Error);
    CHECK_THROWS_AS(sparsemixer_slots<float>(tape, {1, 2}, 2, 3, {}), Error);
    for (const std::vector<float>& z :
         {std::vector<float>{0, 0, 0}, {-1, -1, -1}, {-5, -1, -2}, {1e30f, -1e30f, 0}}) {
        for (bool sample : {false, true}) {
            const auto slots = sparsemixer_slots<float>(tape, z, 5, 3, {0.01, sample, true});
            for (float w : slots.weight.value().values()) CHECK((w > 0 && w <= 1));
        }
    }
    // All equal: each of the three is near.
    const auto ties = sparsemixer_slots<float>(tape, {0, 0, 0}, 1, 3, {});
    CHECK(ties.weight.value().data()[0] == doctest::Approx(1.0 / 3));
    CHECK(ties.weight.value().data()[1] == doctest::Approx(0.5));
    CHECK(ties.weight.value().data()[2] == 1);
    CHECK(ties.choice.data()[0] == 0);
}

TEST_CASE("sparsemixer: logits that are not finite are errors, and reported on a GPU") {
    for (const float bad : {INFINITY, -INFINITY, NAN}) {
        const auto run = [bad](Context& context) {
            Tape tape(context);
            const Var<float> z(test::tensor_on(context, Tensor<float>::from({2, 3}, {1, 2, 3, 0, bad, 1})));
            sparsemixer(tape, z, placed(Segments::of_lengths({2}), context.device()), 2, {}, {});
        };
        CHECK_THROWS_WITH_AS(run(test::context()), doctest::Contains("token 1, column 1"), Error);
        if (!test::device_reports()) continue;
        test::take_status();
        run(test::cuda_context());
        CHECK(test::take_status().not_finite == 1);
    }
}
