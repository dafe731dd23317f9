#include <moegrad/ops/adamw.hpp>

#include "support/bits.hpp"

using namespace moegrad;

namespace {

/// Algorithm 2 of Loshchilov & Hutter, one number at a time in long double.
struct Reference {
    long double w, m = 0, v = 0;
    void step(long double g, long t, const StepScalars& scalars, const AdamWOptions& o) {
        const long double rate = static_cast<long double>(scalars.learning_rate) * o.rate_ratio;
        g *= scalars.clip_scale;
        w -= rate * o.weight_decay * w;
        m = o.beta1 * m + (1 - static_cast<long double>(o.beta1)) * g;
        v = o.beta2 * v + (1 - static_cast<long double>(o.beta2)) * g * g;
        const long double m_hat = m / (1 - std::pow(static_cast<long double>(o.beta1), t));
        const long double v_hat = v / (1 - std::pow(static_cast<long double>(o.beta2), t));
        w -= rate * m_hat / (std::sqrt(v_hat) + o.epsilon);
    }
};

template <class Real>
void check_against_reference(double bound) {
    const Index n = 9001;
    Context own({.device = Device::cpu, .threads = 3, .fill = Arena::Fill::poison});
    own.scalars().learning_rate = 0.01;
    own.scalars().clip_scale = 0.6;
    const AdamWOptions options{
        .beta1 = 0.85, .beta2 = 0.98, .epsilon = 1e-5, .weight_decay = 0.05, .rate_ratio = 4};
    auto w = test::random_tensor<Real>({n}, 1), m = Tensor<Real>::zeros({n}), v = Tensor<Real>::zeros({n});
    std::vector<Reference> want;
    for (Real value : w.values()) want.push_back({static_cast<long double>(value)});
    for (std::uint64_t t = 1; t <= 20; ++t) {
        own.scalars().step = t - 1;
        const auto g0 = test::random_tensor<Real>({n}, 10 * t),
                   g1 = test::random_tensor<Real>({n}, 10 * t + 1, 0.1);
        adamw_update(own.stream(), GradientUses<Real>{g0, g1}, w, m, v, options);
        for (std::size_t i = 0; i < want.size(); ++i) {
            want[i].step(static_cast<long double>(g0.values()[i]) + static_cast<long double>(g1.values()[i]),
                         static_cast<long>(t), own.scalars(), options);
        }
    }
    double worst = 0;
    for (std::size_t i = 0; i < want.size(); ++i) {
        worst = std::max(worst, std::abs(static_cast<double>(w.values()[i] - want[i].w)));
    }
    CHECK(worst < bound);
    test::add_reference_record(adamw_slot, number_of<Real>());
}

}  // namespace

TEST_CASE("adamw: twenty steps against the paper's algorithm, two uses, clip, ratio") {
    check_against_reference<double>(1e-14);
    check_against_reference<float>(1e-5);
}

TEST_CASE("adamw: three steps of torch.optim.AdamW") {
    // torch 2.15 in float64: lr 0.01, betas (0.8, 0.95), eps 1e-6, weight_decay 0.1.
    const double gradients[3][4] = {{0.1, -2, 0, 1e-4}, {0.3, 1, 0, -2e-4}, {-0.2, 0.5, 5, 3e-4}};
    const double weights[3][4] = {
        {0.489500099999, -1.2387500049999975, 2.997, -0.009900990099009901},
        {0.4796648332255515, -1.2353866648851664, 2.9940029999999997, -0.005732881830602356},
        {0.47722247328744405, -1.234214400129055, 2.984087136324157, -0.009524460711671415}};
    Context own({.device = Device::cpu, .threads = 1});
    own.scalars().learning_rate = 0.01;
    auto w = Tensor<double>::from({4}, {0.5, -1.25, 3, 0}), m = Tensor<double>::zeros({4}), v = m.zeros({4});
    for (std::size_t t = 0; t < 3; ++t) {
        own.scalars().step = t;
        const auto g = Tensor<double>::from({4}, std::span<const double>(gradients[t], 4));
        adamw_update(own.stream(), GradientUses<double>{g}, w, m, v,
                     {.beta1 = 0.8, .beta2 = 0.95, .epsilon = 1e-6, .weight_decay = 0.1});
        for (std::size_t i = 0; i < 4; ++i)
            CHECK(w.values()[i] == doctest::Approx(weights[t][i]).epsilon(1e-14));
    }
    CHECK(m.values()[0] == doctest::Approx(0.0208).epsilon(1e-14));
    CHECK(v.values()[2] == doctest::Approx(1.25).epsilon(1e-14));
}

TEST_CASE("adamw: late steps, zero gradients, zero rate, empty weights") {
    Context own({.device = Device::cpu, .threads = 1});
    own.scalars().learning_rate = 0.5;
    own.scalars().step = 9999999;  // b^t is 0: no correction is left
    auto w = Tensor<float>::from({1}, {1}), m = Tensor<float>::from({1}, {0.5f}),
         v = Tensor<float>::from({1}, {4});
    const auto zero = Tensor<float>::zeros({1});
    adamw_update(own.stream(), GradientUses<float>{zero}, w, m, v, {.weight_decay = 0});
    CHECK(w.data()[0] == doctest::Approx(1 - 0.5 * 0.45 / std::sqrt(4 * 0.999)).epsilon(1e-6));

    own.scalars().step = 0;
    auto first = Tensor<float>::zeros({1}), second = Tensor<float>::zeros({1});
    w = Tensor<float>::from({1}, {2});
    adamw_update(own.stream(), GradientUses<float>{zero}, w, first, second, {.weight_decay = 0.1});
    CHECK(w.data()[0] == doctest::Approx(2 * (1 - 0.05)));  // decay only, no 0 / 0

    own.scalars().learning_rate = 0;
    const float kept = w.data()[0];
    adamw_update(own.stream(), GradientUses<float>{test::random_tensor<float>({1}, 1)}, w, first, second);
    CHECK(w.data()[0] == kept);
    const auto none = Tensor<float>::zeros({0});
    adamw_update(own.stream(), GradientUses<float>{none}, none, none, none);
}

TEST_CASE("adamw: bits do not depend on threads") {
    const auto run = [](int threads) {
        Context own({.device = Device::cpu, .threads = threads});
        own.scalars().learning_rate = 0.1;
        auto w = test::random_tensor<float>({20000}, 1), m = Tensor<float>::zeros({20000}),
             v = m.zeros({20000});
        adamw_update(own.stream(), GradientUses<float>{test::random_tensor<float>({20000}, 2)}, w, m, v);
        return w;
    };
    for (int threads = 2; threads <= 4; ++threads) CHECK(test::same_bits(run(1), run(threads)));
}

TEST_CASE("adamw: sizes and uses that do not fit are errors") {
    Context own({.device = Device::cpu, .threads = 1});
    const auto four = Tensor<float>::zeros({4}), five = Tensor<float>::zeros({5});
    CHECK_THROWS_AS(adamw_update(own.stream(), GradientUses<float>{five}, four, four, four), Error);
    CHECK_THROWS_AS(adamw_update(own.stream(), GradientUses<float>{four}, four, five, four), Error);
    CHECK_THROWS_AS((GradientUses<float>{four, five}), Error);
    CHECK_THROWS_AS((GradientUses<float>{four, four, four, four, four, four, four, four, four}), Error);
    CHECK_THROWS_WITH_AS(
        adamw_update(own.stream(), GradientUses<float>(std::vector<std::shared_ptr<Gradient<float>>>()), four,
                     four, four),
        doctest::Contains("0 gradients"), Error);
}
