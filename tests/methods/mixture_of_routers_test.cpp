// Mixture of Routers A to D: published vectors, vectors of an independent autograd, reductions, and a Mixtral at init.
// J = 2, E = 3, K = 2;  W_0 = [[1, 0], [0, 1], [-1, .5]],  W_1 = [[-.5, 1], [1, -1], [0, .5]],
// W_m = [[.5, -.5], [0, 1]],  theta = [.3, -.2];  tokens [1, -1] and [.5, 2].

#include <moegrad/testing/router_conformance.hpp>
#include "support/routing_models.hpp"

#include <moegrad/data/dataset.hpp>
#include <moegrad/train/trainer.hpp>

#include <doctest/doctest.h>

using namespace moegrad;
using test::golden;

namespace {

constexpr MixtureKind kKinds[] = {MixtureKind::probabilities, MixtureKind::logits, MixtureKind::vote,
                                  MixtureKind::free_weights};
constexpr const char* kNames[] = {"a", "b", "c", "d"};
std::string name_of(MixtureKind kind) {
    return kNames[static_cast<int>(kind)];
}

/// sub [J, E, D]; main [J, D], or theta [J].
MixtureRouter<double> router_of(MixtureKind kind, const Tensor<double>& sub, const Tensor<double>& main,
                                Index K) {
    MixtureRouter<double> router{.sub = {}, .main = {}, .kind = kind, .k = K};
    for (Index j = 0; j < sub.extent(0); ++j)
        router.sub.push_back(test::gate_of(test::copy_of(sub.slice(j))));
    router.main =
        test::parameter_of(main.shape().rank() == 1 ? main.reshape({main.extent(0), 1}) : main, "main");
    return router;
}

MixtureRouter<double> golden_router(const std::string& key, MixtureKind kind, Index K) {
    const char* main = kind == MixtureKind::free_weights ? ".theta" : ".main";
    return router_of(kind, golden(key + ".sub"), golden(key + main), K);
}

Tensor<double> published_tokens() {
    return Tensor<double>::from({2, 2}, {1, -1, 0.5, 2});
}

AnyRouter<double> published_router(MixtureKind kind, Index K = 2) {
    const auto sub = Tensor<double>::from({2, 3, 2}, {1, 0, 0, 1, -1, 0.5, -0.5, 1, 1, -1, 0, 0.5});
    const auto main = kind == MixtureKind::free_weights ? Tensor<double>::from({2}, {0.3, -0.2})
                                                        : Tensor<double>::from({2, 2}, {0.5, -0.5, 0, 1});
    return router_of(kind, sub, main, K);
}

void check_vector(MixtureKind kind, std::initializer_list<std::pair<int, double>> want) {
    auto router = published_router(kind);
    const auto outcome = test::decide(router, test::batch_of(published_tokens()));
    std::size_t i = 0;
    for (const auto& [expert, weight] : want) {
        CHECK(outcome.expert.values()[i] == expert);
        CHECK(std::abs(outcome.weight.values()[i++] - weight) <= 1e-6);
    }
}

/// With every expert chosen the weights are P itself, and a gradient of the weights is one of P: what renormalising
/// subtracts is the same for all experts, and P sums to 1 whatever the parameters are.
Tensor<double> gradient_from_probability(AnyRouter<double>& all_chosen,
                                         const test::RouterBatch<double>& batch, const Tensor<double>& dP) {
    const auto outcome = test::decide(all_chosen, batch);
    auto dweight = Tensor<double>::zeros(outcome.weight.shape());
    for (Index t = 0; t < batch.tokens(); ++t) {
        for (Index k = 0; k < dP.extent(1); ++k) {
            dweight.matrix()(t, k) = dP.matrix()(t, outcome.expert.matrix()(t, k));
        }
    }
    return test::task_gradient(all_chosen, batch, dweight);
}

void check_choice(AnyRouter<double>& router, const std::string& key, const test::RouterBatch<double>& batch) {
    const auto outcome = test::decide(router, batch);
    CHECK(test::same_values(outcome.expert, test::golden_choice(key + ".expert")));
    CHECK(test::largest_difference(outcome.weight, golden(key + ".weight")) <= 1e-12);
}

void check_gradients(AnyRouter<double>& router, const std::string& key, MixtureKind kind,
                     const Tensor<double>& dx) {
    CHECK(test::largest_difference(dx, golden(key + ".dx")) <= 1e-12);
    const auto gradients = test::parameter_gradients(router);
    const auto dsub = golden(key + ".dsub");
    for (Index j = 0; j < dsub.extent(0); ++j) {
        CHECK(test::largest_difference(gradients[static_cast<std::size_t>(j)], dsub.slice(j)) <= 1e-12);
    }
    const bool free = kind == MixtureKind::free_weights;
    const auto dmain = golden(key + (free ? ".dtheta" : ".dmain"));
    CHECK(test::largest_difference(gradients.back(), free ? dmain.reshape({dmain.extent(0), 1}) : dmain) <=
          1e-12);
}

}  // namespace

TEST_CASE("MoR vectors: A, probability mixture") {
    check_vector(MixtureKind::probabilities, {{0, 0.779909}, {1, 0.220091}, {0, 0.675623}, {2, 0.324377}});
    auto router = published_router(MixtureKind::probabilities, 3);
    const auto outcome = test::decide(router, test::batch_of(published_tokens()));
    for (Index k = 0; k < 3; ++k) {
        const double P[] = {0.726731, 0.205084, 0.068185};
        CHECK(std::abs(outcome.weight.data()[k] - P[outcome.expert.data()[k]]) <= 1e-6);
    }
}
TEST_CASE("MoR vectors: B, logit mixture") {
    check_vector(MixtureKind::logits, {{0, 0.793210}, {1, 0.206790}, {0, 0.669281}, {2, 0.330719}});
}
TEST_CASE("MoR vectors: C, vote") {
    check_vector(MixtureKind::vote, {{0, 0.782883}, {1, 0.217117}, {0, 0.682877}, {2, 0.317123}});
}
TEST_CASE("MoR vectors: D, free weights") {
    check_vector(MixtureKind::free_weights, {{0, 0.560698}, {1, 0.439302}, {1, 0.559932}, {0, 0.440068}});
}

// methods.md, section 3, prints [.265932, -.270288] "to be confirmed". It cannot be: a row of dW_m is a number times
// x0 = [1, -1], so its entries are opposite. Autograd in float64 and central differences agree on 0.248504.
TEST_CASE("MoR vectors: A, gradient of the main router from dL/dP = [1, -2, .5] at x0") {
    auto router = published_router(MixtureKind::probabilities, 3);
    const auto batch = test::batch_of(Tensor<double>::from({1, 2}, {1, -1}));
    gradient_from_probability(router, batch, Tensor<double>::from({1, 3}, {1, -2, 0.5}));
    const auto main = test::parameter_gradients(router).back();
    const double want[] = {0.248504, -0.248504, -0.248504, 0.248504};
    for (std::size_t i = 0; i < 4; ++i) CHECK(std::abs(main.values()[i] - want[i]) <= 1e-6);
}

TEST_CASE("MoR golden: the published vectors with all digits, and gradients from dL/dP") {
    for (MixtureKind kind : kKinds) {
        const std::string key = "published_mor_" + name_of(kind);
        CAPTURE(key);
        const auto batch = test::batch_of(golden(key + ".x"));
        AnyRouter<double> router = golden_router(key, kind, 2);
        check_choice(router, key, batch);
        if (kind == MixtureKind::vote) continue;  // its P depends on K
        AnyRouter<double> all = golden_router(key, kind, 3);
        check_gradients(all, key, kind, gradient_from_probability(all, batch, golden(key + ".dprobability")));
    }
}

TEST_CASE("MoR golden: J = 3, E = 6, weights and gradients from dL/dweight; of P alone") {
    for (MixtureKind kind : kKinds) {
        const std::string key = "mor_" + name_of(kind);
        CAPTURE(key);
        const auto batch = test::batch_of(golden(key + ".x"));
        AnyRouter<double> router = golden_router(key, kind, 2);
        check_choice(router, key, batch);
        check_gradients(router, key, kind, test::task_gradient(router, batch, golden(key + ".dweight")));
        if (kind == MixtureKind::vote) continue;
        AnyRouter<double> all = golden_router(key, kind, 6);
        const auto dx = gradient_from_probability(all, batch, golden(key + "_score.dprobability"));
        check_gradients(all, key + "_score", kind, dx);
    }
}

TEST_CASE("MoR: with one sub-router all four are the plain router") {
    for (MixtureKind kind : kKinds) {
        for (std::uint64_t seed = 0; seed < 100; ++seed) {
            const Index E = 2 + static_cast<Index>(seed % 5), K = 1 + static_cast<Index>(seed % 2);
            const RouterSize size{.features = 5, .experts = E, .slots = K};
            const auto gate = detail::random_gate<double>("gate", E, size, GateTraining::full, seed, 0);
            MixtureRouter<double> one{.sub = {gate}, .main = {}, .kind = kind, .k = K};
            const Index columns = kind == MixtureKind::free_weights ? 1 : 5;
            one.main = test::parameter_of(test::random_batch<double>(columns, {1}, seed).x);
            AnyRouter<double> mixture = std::move(one), plain = TopKRouter<double>{.gate = gate, .k = K};
            const auto batch = test::random_batch<double>(5, {9}, seed);
            const auto dweight = test::random_batch<double>(K, {9}, seed + 1).x;
            const auto a = test::decide(plain, batch), b = test::decide(mixture, batch);
            CHECK(test::same_values(a.expert, b.expert));
            CHECK(test::largest_difference(a.weight, b.weight) <= 1e-14);
            const auto da = test::task_gradient(plain, batch, dweight);
            CHECK(test::largest_difference(test::task_gradient(mixture, batch, dweight), da) <= 1e-13);
        }
    }
}

TEST_CASE("MoR: gradients of A to D against central differences") {
    for (MixtureKind kind : kKinds) {
        const std::string key = "mor_" + name_of(kind);
        AnyRouter<double> router = golden_router(key, kind, 2);
        test::Report report;
        test::GradientCheck(router, test::batch_of(golden(key + ".x")), report).run();
        INFO(report.text());
        CHECK(report.passed());
    }
}

TEST_CASE("MoR: the entropy of the main router is traced: ln J when uniform, 0 when collapsed") {
    const auto x = golden("mor_a.x"), main = golden("mor_a.main");
    const auto entropies = [&](double scale) {
        auto mixture = golden_router("mor_a", MixtureKind::probabilities, 2);
        for (double& value : mixture.main->value().values()) value *= scale;
        AnyRouter<double> router = std::move(mixture);
        return test::decide(router, test::batch_of(x)).traces.at(0);
    };
    const auto uniform = entropies(0), plain = entropies(1), collapsed = entropies(1000);
    for (Index t = 0; t < x.extent(0); ++t) {
        double z[3] = {}, sum = 0, want = 0;
        for (Index j = 0; j < 3; ++j) {
            for (Index d = 0; d < 4; ++d) z[j] += main.matrix()(j, d) * x.matrix()(t, d);
            sum += std::exp(z[j]);
        }
        for (double logit : z) want -= std::exp(logit) / sum * (logit - std::log(sum));
        CHECK(uniform.data()[t] == doctest::Approx(std::log(3.0)).epsilon(1e-14));
        CHECK(plain.data()[t] == doctest::Approx(want).epsilon(1e-12));
        CHECK(collapsed.data()[t] < 1e-6);
    }
    // D has one vector for all tokens.
    AnyRouter<double> free = golden_router("mor_d", MixtureKind::free_weights, 2);
    const auto trace = test::decide(free, test::batch_of(golden("mor_d.x"))).traces.at(0);
    for (double value : trace.values()) CHECK(value == trace.data()[0]);
}

TEST_CASE("MoR: a Mixtral starts as it was, in all four variants") {
    const auto batch = test::random_tokens({20, 9}, 40, 3);
    auto base = test::tiny_mixtral<double>();
    const auto want = test::model_logits(base, batch);
    for (MixtureKind kind : kKinds) {
        for (Index J : {1, 2, 4}) {
            auto model = test::tiny_mixtral<double>();
            AdapterSpec spec{.method = Method::mor, .targets = {"attention", "experts"}, .seed = 9};
            spec.mixture = kind;
            spec.routers = J;
            attach(model, spec);
            CHECK(test::largest_difference(test::model_logits(model, batch), want) <= 1e-12);
            test::disturb(model, 0.05, 1);
            CHECK(test::largest_difference(test::model_logits(model, batch), want) > 1e-3);
        }
    }
}

TEST_CASE("MoR: gradients on a Mixtral, with a frozen and a trained gate, against central differences") {
    for (GateMode gate : {GateMode::frozen, GateMode::full}) {
        auto model = test::tiny_mixtral<double>(4);
        AdapterSpec spec{
            .method = Method::mor, .lora = {.rank = 2, .alpha = 4}, .targets = {"experts"}, .seed = 9};
        spec.gate = gate;
        spec.balance = BalanceLoss::switch_share;
        attach(model, spec);
        test::disturb(model, 0.1, 6);
        CHECK(test::Objective(model, test::random_tokens({9, 4}, 40, 7), 0.3).worst(7) <= 1);
    }
}

TEST_CASE("MoR: the A_j break the symmetry of equal sub-routers") {
    auto model = test::tiny_mixtral<double>();
    AdapterSpec spec{.method = Method::mor, .targets = {"experts"}, .seed = 9};
    attach(model, spec);
    Dataset data;
    for (std::uint64_t n = 0; n < 4; ++n) {
        const auto sample = test::random_tokens({24}, 40, n);
        data.push_back(language_sample({sample.token.values().begin(), sample.token.values().end()}));
    }
    const std::vector<std::int32_t> picks{0, 1, 2, 3};
    Context context({.device = Device::cpu, .threads = 1});
    Trainer<double> trainer(context, model, {}, {});
    const auto first = trainer.step(data, picks, 1e-2);
    CHECK(first.traces.at("main_entropy") == doctest::Approx(std::log(2.0)).epsilon(1e-6));
    StepReport last;
    for (int n = 0; n < 10; ++n) last = trainer.step(data, picks, 1e-2);
    const auto& b0 = test::parameter_named(model, "0.mlp.router.sub.0.lora_B.weight").value();
    const auto& b1 = test::parameter_named(model, "0.mlp.router.sub.1.lora_B.weight").value();
    CHECK(test::largest_difference(b0, b1) > 1e-3);
    CHECK(last.traces.at("main_entropy") < first.traces.at("main_entropy") - 1e-4);
    CHECK(last.cross_entropy < first.cross_entropy);
}
