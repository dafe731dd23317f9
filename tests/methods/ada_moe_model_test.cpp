// AdaMoE in a model: the copied gate, identity at the start, what gets a gradient, null tokens, Mo-LoRA.

#include "support/routing_models.hpp"

#include <moegrad/train/model_files.hpp>

#include <doctest/doctest.h>

using namespace moegrad;

namespace {

AdapterSpec ada_moe(Index nulls, Index k) {
    AdapterSpec spec{.method = Method::adamoe, .targets = {"attention", "experts"}, .seed = 9};
    spec.top_k = k;
    spec.null_experts = nulls;
    return spec;
}

AdapterSpec mo_lora(Method method) {
    AdapterSpec spec{.method = method, .lora = {.rank = 2, .alpha = 4}, .targets = {"all"}, .seed = 9};
    spec.experts = 4;
    spec.null_experts = 5;
    spec.top_k = 4;
    return spec;
}

}  // namespace

TEST_CASE("AdaMoE: gate2 copied, ties give ceil(k / (1 + j)) true experts for the whole grid of the paper") {
    const std::pair<Index, Index> grid[] = {{8, 3},  {16, 4}, {24, 5}, {32, 6}, {40, 7},
                                            {40, 8}, {48, 8}, {32, 4}, {32, 5}, {40, 6}};
    constexpr Index E = 8, D = 16;
    for (const auto& setting : grid) {
        const Index M = setting.first, k = setting.second;
        CAPTURE(M);
        CAPTURE(k);
        const RouterSize size{.features = D, .experts = E, .nulls = M, .slots = k};
        auto gate = detail::random_gate<float>("gate", E, size, GateTraining::full, 4, 0);
        NullExpertRouter<float> nulls{.gate = gate, .gate2 = {}, .k = k};
        nulls.gate2 = Gate<float>(copy_gate(*gate.weight, M, "gate2"));
        for (Index m = 0; m < M; ++m) {  // whole copies, one below the other
            const auto& rows = gate.weight->value();
            CHECK(test::same_values(nulls.gate2.weight->value().rows(m, m + 1), rows.rows(m % E, m % E + 1)));
        }
        AnyRouter<float> router = std::move(nulls), plain = TopKRouter<float>{.gate = gate, .k = 2};
        const auto batch = test::random_batch<float>(D, {64}, 4);
        const auto got = test::decide(router, batch), top2 = test::decide(plain, batch);
        const Index j = M / E, expected = (k + j) / (1 + j);
        CHECK(got.stats.load() == static_cast<double>(expected));
        CHECK(expected == ((j + 2 <= k && k <= 2 * j + 2) ? 2 : 1));
        for (Index t = 0; t < 64; ++t) {
            Index used = 0;
            for (Index s = 0; s < k; ++s) {
                const std::int32_t e = got.expert.matrix()(t, s);
                if (e < 0) continue;
                CHECK(e == top2.expert.matrix()(t, used));
                if (expected == 2) {
                    CHECK(std::abs(got.weight.matrix()(t, s) - top2.weight.matrix()(t, used)) <= 1e-6f);
                }
                ++used;
            }
        }
    }
}

TEST_CASE("AdaMoE golden: at the start, two copies of the gate and k = 5") {
    const auto gate = test::gate_of(test::golden("adamoe_at_init.gate"));
    NullExpertRouter<double> nulls{.gate = gate, .gate2 = {}, .k = 5};
    nulls.gate2 = Gate<double>(copy_gate(*gate.weight, 8, "gate2"));
    AnyRouter<double> router = std::move(nulls);
    const auto outcome = test::decide(router, test::batch_of(test::golden("adamoe_at_init.x")));
    const auto choice = test::golden_choice("adamoe_at_init.expert");
    for (std::size_t i = 0; i < choice.values().size(); ++i) {
        CHECK(outcome.expert.values()[i] == (choice.values()[i] < 4 ? choice.values()[i] : kNull));
    }
    CHECK(test::largest_difference(outcome.weight, test::golden("adamoe_at_init.weight")) <= 1e-12);
}

TEST_CASE("AdaMoE: (8, 3) on 8 experts starts as the plain top-2 model") {
    auto plain = test::tiny_mixtral<double>(), tuned = test::tiny_mixtral<double>();
    attach(tuned, ada_moe(8, 3));
    const auto batch = test::random_tokens({20, 9}, 40, 3);
    RoutingTotals totals;
    const auto want = test::model_logits(plain, batch), got = test::model_logits(tuned, batch, &totals);
    CHECK(test::largest_difference(got, want) <= 1e-12);
    CHECK(totals.load() == 2.0);
    // (32, 4) starts at one expert: a different model, and the comparison above sees it.
    auto other = test::tiny_mixtral<double>();
    attach(other, ada_moe(32, 4));
    CHECK(test::largest_difference(test::model_logits(other, batch), want) > 1e-2);
}

TEST_CASE("AdaMoE: (8, 3) on the shared Mixtral starts as plain top-2") {
    const std::string folder = test::shared_input("golden/mixtral");
    if (folder.empty()) return;
    auto plain = load_model<double>(folder), tuned = load_model<double>(folder);
    attach(*tuned, ada_moe(8, 3));
    const auto batch = test::random_tokens({31, 32}, plain->config().vocab_size, 3);
    RoutingTotals totals;
    const auto want = test::model_logits(*plain, batch);
    CHECK(test::largest_difference(test::model_logits(*tuned, batch, &totals), want) <= 1e-5);
    CHECK(totals.load() == 2.0);
}

TEST_CASE("AdaMoE: the task loss sends gate2 exactly nothing under option 2, something under option 1") {
    for (GateMode mode : {GateMode::full, GateMode::lora}) {
        for (NullWeights weights : {NullWeights::over_true, NullWeights::over_all}) {
            auto model = test::tiny_mixtral<double>();
            auto spec = ada_moe(8, 4);
            spec.gate = mode;
            spec.null_weights = weights;
            attach(model, spec);
            test::disturb(model, 0.1, 4);
            test::Objective(model, test::random_tokens({20}, 40, 5), 0).backward();
            const auto largest = [&](const std::string& name) {
                double most = 0;
                const auto gradient = total_gradient(test::parameter_named(model, name));
                for (double value : gradient.values()) most = std::max(most, std::abs(value));
                return most;
            };
            const std::string ending = mode == GateMode::full ? ".weight" : ".lora_B.weight";
            CHECK(largest("0.mlp.gate" + ending) > 1e-6);
            if (weights == NullWeights::over_true) {
                CHECK(largest("0.mlp.gate2" + ending) == 0.0);
            } else {
                CHECK(largest("0.mlp.gate2" + ending) > 1e-6);
            }
        }
    }
}

TEST_CASE("AdaMoE: gradients of gates, their LoRA and the experts' against central differences") {
    auto model = test::tiny_mixtral<double>(4);
    auto spec = ada_moe(4, 3);
    spec.lora = {.rank = 2, .alpha = 4};
    attach(model, spec);
    test::disturb(model, 0.1, 6);
    CHECK(test::Objective(model, test::random_tokens({9, 4}, 40, 7), 0.3).worst(7) <= 1);
}

TEST_CASE("AdaMoE: all-null tokens leave the block with exactly 0, identity nulls add weight * x") {
    constexpr Index D = 4, T = 6;
    for (NullMap map : {NullMap::zero, NullMap::identity}) {
        auto model = test::tiny_mixtral<double>(4);
        auto& moe = model.layers()[0].moe[0];
        auto nulls = test::null_router_on_logits(4, 4, 3);
        // Logits: the first eight features of x. Tokens 0 and 1 want nulls only.
        auto gate = Tensor<double>::zeros({8, 16});
        for (Index r = 0; r < 8; ++r) gate.matrix()(r, r) = 1;
        nulls.gate = test::gate_of(test::copy_of(gate.rows(0, D)));
        nulls.gate2 = test::gate_of(test::copy_of(gate.rows(D, 8)));
        nulls.weights = map == NullMap::zero ? NullWeights::over_true : NullWeights::over_all;
        nulls.null_map = map;
        moe.router = std::move(nulls);
        const auto batch = test::random_batch<double>(16, {T}, 8);
        for (Index t = 0; t < 2; ++t) {
            for (Index c = 4; c < 8; ++c) batch.x.matrix()(t, c) = 10 + static_cast<double>(c);
        }
        Tape tape(test::routing_context(), Mode::inference);
        const auto token = Tensor<std::int32_t>::zeros({T});
        Forward<double> forward{tape, token, batch.segments};
        const auto y = moe(forward, Var<double>(batch.x)).value();
        for (Index t = 0; t < 2; ++t) {
            CHECK(forward.routings[0].routing.expert.matrix()(t, 0) == kNull);
            for (Index d = 0; d < 16; ++d) {
                // Only nulls: their weights sum to 1 and the identity gives x itself.
                const double want = map == NullMap::zero ? 0.0 : batch.x.matrix()(t, d);
                if (map == NullMap::zero) CHECK(y.matrix()(t, d) == 0.0);
                CHECK(y.matrix()(t, d) == doctest::Approx(want).epsilon(1e-14));
            }
        }
    }
}

TEST_CASE("AdaMoE: what attach gives by default, and what it refuses") {
    auto model = test::tiny_mixtral<double>(4);
    attach(model, ada_moe(0, 0));
    auto* router = model.layers()[0].moe[0].router.get<NullExpertRouter<double>>();
    REQUIRE(router != nullptr);
    CHECK(router->nulls() == 4);
    CHECK(router->k == 3);
    CHECK(router->weights == NullWeights::over_true);
    CHECK(router->penalties.balance == BalanceLoss::adamoe_eq6);
    CHECK_FALSE(router->gate.weight->trainable());
    CHECK(router->gate.lora.defined());
    CHECK(router->gate2.lora.A.name() == "model.layers.0.mlp.gate2.lora_A.weight");
    auto wrong = test::tiny_mixtral<double>(4);
    CHECK_THROWS_WITH_AS(attach(wrong, ada_moe(6, 3)), doctest::Contains("multiple of the 4 experts"), Error);
}

TEST_CASE("Mo-LoRA: the model is the base at the start, to the bit") {
    const auto batch = test::random_tokens({12, 7}, 40, 3);
    for (Method method : {Method::adamoe, Method::molora, Method::mor}) {
        auto base = test::tiny_llama<double>(), tuned = test::tiny_llama<double>();
        attach(tuned, mo_lora(method));
        CHECK(test::same_values(test::model_logits(tuned, batch), test::model_logits(base, batch)));
        test::parameter_named(tuned, "q_proj.lora_B.weight").value().data()[0] = 1;
        CHECK(!test::same_values(test::model_logits(tuned, batch), test::model_logits(base, batch)));
    }
}

TEST_CASE("Mo-LoRA: gradients of routers and experts against central differences") {
    for (Method method : {Method::adamoe, Method::molora, Method::mor}) {
        auto model = test::tiny_llama<double>();
        auto spec = mo_lora(method);
        spec.balance = BalanceLoss::adamoe_eq6;
        spec.top_k = method == Method::adamoe ? 4 : 2;
        attach(model, spec);
        test::disturb(model, 0.1, 6);
        CHECK(test::Objective(model, test::random_tokens({6, 3}, 40, 7), 0.3).worst(23) <= 1);
    }
}
