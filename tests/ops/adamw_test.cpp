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
void check_against_reference(Context& own, double bound) {
    const Index n = 9001;
    own.scalars() = {};
    own.scalars().learning_rate = 0.01;
    own.scalars().clip_scale = 0.6;
    const AdamWOptions options{
        .beta1 = 0.85, .beta2 = 0.98, .epsilon = 1e-5, .weight_decay = 0.05, .rate_ratio = 4};
    const auto start = test::random_tensor<Real>({n}, 1);
    const auto zeros = [&] { return Tensor<Real>::zeros({n}, own.device()); };
    const auto w = test::tensor_on(own, test::convert<Real>(start)), m = zeros(), v = zeros();
    const auto copy = Tensor<bf16>::zeros({n}, own.device());
    std::vector<Reference> want;
    for (Real value : start.values()) want.push_back({static_cast<long double>(value)});
    for (std::uint64_t t = 1; t <= 20; ++t) {
        own.scalars().step = t - 1;
        const auto g0 = test::random_tensor<Real>({n}, 10 * t),
                   g1 = test::random_tensor<Real>({n}, 10 * t + 1, 0.1);
        const auto there0 = test::tensor_on(own, g0), there1 = test::tensor_on(own, g1);
        adamw_update(own.stream(), GradientUses<Real>{there0, there1}, w, m, v, options, copy);
        for (std::size_t i = 0; i < want.size(); ++i) {
            want[i].step(static_cast<long double>(g0.values()[i]) + static_cast<long double>(g1.values()[i]),
                         static_cast<long>(t), own.scalars(), options);
        }
    }
    double worst = 0;
    const auto got = host(w);
    const auto rounded = host(copy);
    for (std::size_t i = 0; i < want.size(); ++i) {
        worst = std::max(worst, std::abs(static_cast<double>(got.values()[i] - want[i].w)));
        CHECK(rounded.values()[i].bits == bf16(static_cast<float>(got.values()[i])).bits);
    }
    CHECK(worst < bound);
    test::add_reference_record(adamw_slot, number_of<Real>(), own.device());
}

}  // namespace

TEST_CASE("adamw: twenty steps against the paper's algorithm, two uses, clip, ratio") {
    Context own({.device = Device::cpu, .threads = 3, .fill = Arena::Fill::poison});
    check_against_reference<double>(own, 1e-14);
    test::on_each_device([](Context& context) { check_against_reference<float>(context, 1e-5); });
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

namespace {

/// Weights of several sizes, aligned and not, one of them with two uses and a copy in bf16.
struct Weights {
    std::vector<Tensor<float>> g, w, m, v;
    Tensor<bf16> copy;
    std::vector<AdamWItem<float>> items;

    explicit Weights(Context& context) {
        const auto made = [&](Index n, std::uint64_t seed, Index skip) {
            return test::tensor_on(context, test::random_tensor<float>({n + skip}, seed))
                .rows(skip, n + skip);
        };
        const std::vector<Index> sizes{1, 4096, 4097, 0, 10000, 7};
        for (std::size_t i = 0; i < sizes.size(); ++i) {
            const Index skip = i == 4 ? 1 : 0;
            for (auto* list : {&g, &w, &m})
                list->push_back(made(sizes[i], 10 * i + (list == &g ? 1 : list == &w ? 2 : 3), skip));
            v.push_back(Tensor<float>::zeros({sizes[i]}, context.device()));
        }
        g.push_back(made(sizes[2], 99, 0));
        copy = Tensor<bf16>::zeros({sizes[2]}, context.device());
        for (std::size_t i = 0; i < sizes.size(); ++i) {
            const AdamWOptions options{.rate_ratio = 1 + static_cast<double>(i)};
            items.emplace_back(i == 2 ? GradientUses<float>{g[2], g.back()} : GradientUses<float>{g[i]}, w[i],
                               m[i], v[i], options, i == 2 ? copy : Tensor<bf16>());
        }
    }
    std::vector<Tensor<float>> all() const {
        std::vector<Tensor<float>> values;
        for (const auto* list : {&w, &m, &v, &g})
            for (const auto& t : *list) values.push_back(host(t));
        return values;
    }
};

void set_step(Context& context) {
    context.scalars() = {};
    context.scalars().learning_rate = 0.01;
    context.scalars().step = 4;
}

}  // namespace

TEST_CASE("adamw: a list of weights gets the bits of each alone, and its gradients are zeroed when asked") {
    test::on_each_device([](Context& context) {
        set_step(context);
        Weights alone(context), listed(context), zeroed(context);
        for (std::size_t i = 0; i < alone.items.size(); ++i) {
            adamw_slot.get<float>(context.device())
                .update(context.stream(), alone.items[i], AfterUpdate::keep_gradients);
        }
        adamw_update_all(context.stream(), AdamWList<float>(listed.items, context.device()));
        adamw_update_all(context.stream(), AdamWList<float>(zeroed.items, context.device()),
                         AfterUpdate::zero_gradients);
        adamw_update_all(context.stream(), AdamWList<float>({}, context.device()));
        const auto want = alone.all(), got = listed.all(), last = zeroed.all();
        const std::size_t gradients = want.size() - alone.g.size();
        for (std::size_t i = 0; i < want.size(); ++i) {
            CHECK(test::same_bits(got[i], want[i]));
            if (i < gradients) CHECK(test::same_bits(last[i], want[i]));
            for (Index n = 0; i >= gradients && n < last[i].size(); ++n) CHECK(last[i].data()[n] == 0);
        }
        CHECK(test::same_bits(host(listed.copy), host(alone.copy)));
        CHECK_FALSE(test::same_bits(host(listed.w[4]), host(Weights(context).w[4])));
    });
}

TEST_CASE("adamw: a blocked step writes nothing") {
    test::on_each_device([](Context& context) {
        set_step(context);
        context.scalars().blocked = 1;
        Weights weights(context);
        const auto before = weights.all();
        adamw_update_all(context.stream(), AdamWList<float>(weights.items, context.device()),
                         AfterUpdate::zero_gradients);
        adamw_update(context.stream(), GradientUses<float>{weights.g[1]}, weights.w[1], weights.m[1],
                     weights.v[1]);
        const auto after = weights.all();
        for (std::size_t i = 0; i < before.size(); ++i) CHECK(test::same_bits(after[i], before[i]));
        context.scalars() = {};
    });
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
