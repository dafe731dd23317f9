// Linear with its adapters: none, LoRA, a mixture of LoRA experts. Reductions to plain LoRA are to the bit.

#include "support/routing_builtin.hpp"
#include "support/routing_golden.hpp"

#include <moegrad/nn/lora.hpp>
#include <moegrad/nn/mixture_lora.hpp>

#include <doctest/doctest.h>

using namespace moegrad;

namespace {

constexpr Index D = 7, O = 5;
const LoraOptions kLora{.rank = 3, .alpha = 6};

template <class Real>
Linear<Real> random_linear(std::uint64_t seed) {
    Linear<Real> linear("model.q_proj.weight", O, D);
    fill_normal(linear.weight.value(), 0.5, seed, 0);
    return linear;
}

template <class Real>
struct LinearOutcome {
    Tensor<Real> y, dx;
    std::vector<Tensor<Real>> gradients;  // of the adapter's parameters that have one
    std::size_t routings = 0;
    test::Outcome<Real> routing{};  // of the adapter's router, where it has one
};

template <class Real>
LinearOutcome<Real> run(Linear<Real>& linear, const test::RouterBatch<Real>& batch) {
    Tape tape(test::routing_context());
    const auto token = Tensor<std::int32_t>::zeros({batch.tokens()});
    const Var<Real> x(batch.x, std::make_shared<Gradient<Real>>(Tensor<Real>::zeros(batch.x.shape())));
    Forward<Real> forward{tape, token, batch.segments};
    const auto y = linear(forward, x);
    LinearOutcome<Real> result{test::copy_of(y.value()), {}, {}, forward.routings.size()};
    if (result.routings > 0) result.routing = test::detail::outcome_of(forward.routings[0].routing);
    test::detail::seed_rows(y, batch.row);
    forward.routings.clear();
    tape.backward();
    result.dx = x.gradient()->tensor();
    if (!linear.adapter) return result;
    for (auto* parameter : linear.adapter->parameters()) {
        for (const auto& gradient : parameter->gradients())
            result.gradients.push_back(test::copy_of(gradient->tensor()));
    }
    return result;
}

template <class Real>
Lora<Real>& add_lora(Linear<Real>& linear, std::uint64_t seed) {
    auto lora = std::make_unique<Lora<Real>>(linear, kLora, seed, 1);
    auto& added = *lora;
    linear.adapter = std::move(lora);
    return added;
}

template <class Real>
MixtureLora<Real>& add_mixture(Linear<Real>& linear, AnyRouter<Real> router, std::uint64_t seed) {
    auto mixture = std::make_unique<MixtureLora<Real>>(linear, 0, std::move(router), kLora, seed, 1);
    auto& added = *mixture;
    linear.adapter = std::move(mixture);
    return added;
}

/// Routers that give every token expert 0 with weight 1.
template <class Real>
std::vector<AnyRouter<Real>> single_expert_routers(std::uint64_t seed) {
    const RouterSize one{.features = D, .experts = 1, .nulls = 0, .slots = 1, .routers = 2};
    std::vector<AnyRouter<Real>> all;
    all.push_back(BuiltinTopK<TopKWeights::renormalized, GateTraining::full>::make<Real>(one, seed));
    all.push_back(BuiltinTopK<TopKWeights::raw, GateTraining::full>::make<Real>(one, seed));
    all.push_back(
        BuiltinNullExpert<NullWeights::over_true, NullMap::zero, GateTraining::full>::make<Real>(one, seed));
    all.push_back(BuiltinMixture<MixtureKind::vote, GateTraining::full>::make<Real>(one, seed));
    return all;
}

}  // namespace

TEST_CASE("Linear: y = x W^T, and the path of its module") {
    auto linear = random_linear<double>(1);
    const auto batch = test::random_batch<double>(D, {6}, 1);
    const auto got = run(linear, batch);
    for (Index t = 0; t < 6; ++t) {
        for (Index o = 0; o < O; ++o) {
            double sum = 0;
            for (Index d = 0; d < D; ++d)
                sum += batch.x.matrix()(t, d) * linear.weight.value().matrix()(o, d);
            CHECK(got.y.matrix()(t, o) == doctest::Approx(sum).epsilon(1e-14));
        }
    }
    CHECK(linear.path() == "model.q_proj");
    CHECK(linear.weight.gradients().empty());
}

TEST_CASE("Lora: B = 0 is the base to the bit; then y = x W^T + s B A x, s = alpha / r or alpha / sqrt(r)") {
    auto base = random_linear<double>(1), tuned = random_linear<double>(1);
    auto& lora = add_lora(tuned, 2);
    const auto batch = test::random_batch<double>(D, {6}, 1);
    const auto plain = run(base, batch);
    CHECK(test::same_values(run(tuned, batch).y, plain.y));
    CHECK(lora.lora().A.name() == "model.q_proj.lora_A.weight");
    fill_normal(lora.lora().B.value(), 1, 3, 0);
    const auto got = run(tuned, batch);
    for (Index t = 0; t < 6; ++t) {
        for (Index o = 0; o < O; ++o) {
            double want = plain.y.matrix()(t, o);
            for (Index r = 0; r < 3; ++r) {
                for (Index d = 0; d < D; ++d) {
                    want += 2 * lora.lora().B.value().matrix()(o, r) * lora.lora().A.value().matrix()(r, d) *
                            batch.x.matrix()(t, d);
                }
            }
            CHECK(got.y.matrix()(t, o) == doctest::Approx(want).epsilon(1e-13));
        }
    }
    LoraOptions options{.rank = 4, .alpha = 8, .scale = LoraOptions::Scale::alpha_over_sqrt_rank};
    CHECK(options.factor() == 4.0);
}

TEST_CASE(
    "MixtureLora: one expert of weight 1 is plain LoRA to the bit, for every router (AdaMoE with E = 1, M = "
    "0)") {
    for (std::uint64_t seed = 0; seed < 100; ++seed) {
        auto plain = random_linear<float>(seed);
        auto& lora = add_lora(plain, seed);
        fill_normal(lora.lora().B.value(), 1, seed, 9);
        const auto batch = test::random_batch<float>(D, {static_cast<Index>(seed % 9)}, seed);
        const auto want = run(plain, batch);
        for (auto& router : single_expert_routers<float>(seed)) {
            auto mixed = random_linear<float>(seed);
            auto& mixture = add_mixture(mixed, std::move(router), seed);
            CHECK(test::same_values(mixture.lora().A.value().reshape({3, D}), lora.lora().A.value()));
            fill_normal(mixture.lora().B.value(), 1, seed, 9);
            const auto got = run(mixed, batch);
            CHECK(got.routings == 1);
            CHECK(test::same_values(got.y, want.y));
            CHECK(test::same_values(got.dx, want.dx));
            for (std::size_t n = 0; n < 2; ++n) {
                const auto a = got.gradients[n].values(), b = want.gradients[n].values();
                CHECK(std::equal(a.begin(), a.end(), b.begin(), b.end()));
            }
        }
    }
}

TEST_CASE("MixtureLora: the weighted sum of the chosen experts, for every built-in router") {
    Random random(1);
    for (const auto& router : test::builtin_router_cases()) {
        CAPTURE(router.name);
        for (std::uint64_t seed = 0; seed < 20; ++seed) {
            RouterSize size{.features = D, .experts = 4, .nulls = 3, .slots = 1, .routers = 2};
            size.slots = 1 + static_cast<Index>(random.next_below(4));
            const auto batch = test::random_batch<double>(D, {5}, seed);
            auto base = random_linear<double>(seed), mixed = random_linear<double>(seed);
            auto& lora = add_mixture(mixed, router.make<double>(size, seed), seed).lora();
            fill_normal(lora.B.value(), 1, seed, 9);
            auto want = run(base, batch).y;
            if (router.name.find("identity") != std::string::npos) {
                CHECK_THROWS_WITH_AS(run(mixed, batch), doctest::Contains("passthrough"), Error);
                continue;
            }
            const auto got = run(mixed, batch);
            const auto& routing = got.routing;
            for (Index t = 0; t < 5; ++t) {
                for (Index k = 0; k < routing.expert.extent(1); ++k) {
                    const Index e = routing.expert.matrix()(t, k);
                    if (e < 0) continue;
                    const auto A = lora.A.value().slice(e), B = lora.B.value().slice(e);
                    for (Index r = 0; r < 3; ++r) {
                        double u = 0;
                        for (Index d = 0; d < D; ++d) u += A.matrix()(r, d) * batch.x.matrix()(t, d);
                        for (Index o = 0; o < O; ++o) {
                            want.matrix()(t, o) += routing.weight.matrix()(t, k) * 2 * u * B.matrix()(o, r);
                        }
                    }
                }
            }
            CHECK(test::largest_difference(got.y, want) <= 1e-12);
        }
    }
}

TEST_CASE("MixtureLora: a token with nulls only keeps the frozen base output to the bit") {
    auto base = random_linear<double>(1), mixed = random_linear<double>(1);
    // Feature 0 decides: true logits follow it, null logits oppose it.
    auto gate = Tensor<double>::zeros({2, D}), gate2 = Tensor<double>::zeros({2, D});
    for (Index r = 0; r < 2; ++r) {
        gate.matrix()(r, 0) = 1;
        gate2.matrix()(r, 0) = -1;
    }
    NullExpertRouter<double> nulls{.gate = test::gate_of(gate), .gate2 = test::gate_of(gate2), .k = 2};
    auto& mixture = add_mixture<double>(mixed, std::move(nulls), 1);
    fill_normal(mixture.lora().B.value(), 1, 1, 9);
    auto batch = test::random_batch<double>(D, {4}, 1);
    for (Index t = 0; t < 4; ++t) batch.x.matrix()(t, 0) = t < 2 ? -1 : 1;
    const auto want = run(base, batch).y, got = run(mixed, batch).y;
    for (Index t = 0; t < 4; ++t)
        CHECK(test::same_values(got.rows(t, t + 1), want.rows(t, t + 1)) == (t < 2));
}
