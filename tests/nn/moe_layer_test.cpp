// MoeLayer and Experts: against a loop over tokens, against an independent autograd, and the properties that hold for
// any router: order, split, relabelling, idle experts, identical experts.

#include <moegrad/testing/router_scope.hpp>
#include "support/routing_builtin.hpp"
#include "support/routing_layers.hpp"

#include <doctest/doctest.h>

using namespace moegrad;

namespace {

template <class Real>
AnyRouter<Real> fixed(const Tensor<std::int32_t>& expert, Index E, std::uint64_t seed) {
    auto weight = std::make_shared<Parameter<Real>>("weight", expert.shape());
    weight->set_trainable(true);
    fill_normal(weight->value(), 1, seed, 0);
    return test::FixedRouter<Real>{expert, std::move(weight), E};
}

/// Gradient buffers full of NaN, as if the step before had left them so.
template <class Real>
void spoil_gradients(Experts<Real>& experts) {
    for (auto* parameter : experts.parameters()) {
        parameter->set_trainable(true);
        for (Real& value : parameter->use().gradient()->target().tensor.values()) value = NAN;
        parameter->forget_gradients();
    }
}

template <class Real>
std::vector<Tensor<Real>> expert_gradients(const Experts<Real>& experts) {
    std::vector<Tensor<Real>> all;
    for (auto* parameter : const_cast<Experts<Real>&>(experts).parameters()) {
        all.push_back(parameter->gradients().at(0)->tensor());
    }
    return all;
}

}  // namespace

TEST_CASE("MoeLayer: equals the loop over tokens, for every built-in router, with and without LoRA") {
    Random random(5);
    for (const auto& router : test::builtin_router_cases()) {
        CAPTURE(router.name);
        for (std::uint64_t seed = 0; seed < 40; ++seed) {
            const RouterSize size = test::random_size(router, random);
            auto layer = test::random_layer<double>(size.experts, size.features, 3, seed, seed % 2 == 1);
            layer.router = router.make<double>(size, seed);
            const auto batch =
                test::random_batch<double>(size.features, {static_cast<Index>(seed % 7)}, seed);
            const auto got = test::run_layer(layer, batch);
            CHECK(test::largest_difference(got.y, test::plain_loop(layer.experts, batch.x, got.routing)) <=
                  1e-12);
        }
    }
}

TEST_CASE(
    "MoeLayer golden: Mixtral block, values and every gradient, one expert idle, with and without LoRA") {
    for (const std::string key : {"moe_block.", "moe_block_lora."}) {
        const bool lora = key == "moe_block_lora.";
        const auto read = [&](const std::string& name) { return test::golden(key + name); };
        const auto w1 = read("w1"), w2 = read("w2"), w3 = read("w3");
        const Index E = w1.extent(0), F = w1.extent(1), D = w1.extent(2);
        auto layer = test::random_layer<double>(E, D, F, 0, false);
        for (Index e = 0; e < E; ++e) {
            auto* both = layer.experts.gate_up.value().slice(e).data();
            std::copy_n(w1.slice(e).data(), F * D, both);
            std::copy_n(w3.slice(e).data(), F * D, both + F * D);
            std::copy_n(w2.slice(e).data(), D * F, layer.experts.down.value().slice(e).data());
        }
        if (lora) {
            const auto adapter = [&](LoraParameters<double>& into, const std::string& name, Index out,
                                     Index in) {
                const auto A = read(name + "_a"), B = read(name + "_b");
                into = LoraParameters<double>(name, E, out, in, {.rank = A.extent(1), .alpha = 1}, 0, 1);
                into.scale = 0.5;
                std::copy(A.values().begin(), A.values().end(), into.A.value().values().begin());
                std::copy(B.values().begin(), B.values().end(), into.B.value().values().begin());
            };
            adapter(layer.experts.gate_up_lora, "gate_up", 2 * F, D);
            adapter(layer.experts.down_lora, "down", D, F);
        }
        test::train_experts(layer.experts);
        const auto gate = test::parameter_of(read("gate"));
        layer.router = TopKRouter<double>{.gate = Gate<double>(gate), .k = 2};
        const auto batch = test::batch_of(read("x"));
        Tape tape(test::routing_context());
        const auto token = Tensor<std::int32_t>::zeros({batch.tokens()});
        const Var<double> x(batch.x,
                            std::make_shared<Gradient<double>>(Tensor<double>::zeros(batch.x.shape())));
        Forward<double> forward{tape, token, batch.segments};
        const auto y = layer(forward, x);
        CHECK(test::same_values(test::copy_of(forward.routings[0].routing.expert),
                                test::golden_choice(key + "expert")));
        CHECK(test::largest_difference(forward.routings[0].routing.weight.value(), read("weight")) <= 1e-12);
        CHECK(test::largest_difference(y.value(), read("y")) <= 1e-12);
        const auto dy = read("dy");
        std::copy(dy.values().begin(), dy.values().end(), y.gradient()->target().tensor.values().begin());
        tape.backward();
        CHECK(test::largest_difference(x.gradient()->tensor(), read("dx")) <= 1e-12);
        CHECK(test::largest_difference(gate->gradients().at(0)->tensor(), read("dgate")) <= 1e-12);
        const auto gradients = expert_gradients(layer.experts);
        for (Index e = 0; e < E; ++e) {
            const auto both = gradients[0].slice(e);
            CHECK(test::largest_difference(test::copy_of(both.rows(0, F)), read("dw1").slice(e)) <= 1e-12);
            CHECK(test::largest_difference(test::copy_of(both.rows(F, 2 * F)), read("dw3").slice(e)) <=
                  1e-12);
            CHECK(test::largest_difference(gradients[1].slice(e), read("dw2").slice(e)) <= 1e-12);
        }
        if (!lora) continue;
        const char* names[] = {"dgate_up_a", "dgate_up_b", "ddown_a", "ddown_b"};
        for (std::size_t n = 0; n < 4; ++n)
            CHECK(test::largest_difference(gradients[2 + n], read(names[n])) <= 1e-12);
    }
}

TEST_CASE("MoeLayer: permuted and repeated tokens give permuted rows, to the bit") {
    Random random(7);
    for (const auto& router : test::builtin_router_cases()) {
        CAPTURE(router.name);
        for (std::uint64_t seed = 0; seed < 60; ++seed) {
            const RouterSize size = test::random_size(router, random);
            auto layer = test::random_layer<float>(size.experts, size.features, 5, seed, true);
            layer.router = router.make<float>(size, seed);
            if (layer.router.scope() != RouterScope::token) continue;
            const Index T = 1 + static_cast<Index>(random.next_below(9));
            const auto batch = test::random_batch<float>(size.features, {T}, seed);
            std::vector<Index> order;
            for (Index t = 0; t < T + 2; ++t) {
                order.push_back(static_cast<Index>(random.next_below(static_cast<std::uint64_t>(T))));
            }
            const auto whole = test::run_layer(layer, batch),
                       got = test::run_layer(layer, test::picked(batch, order));
            for (std::size_t t = 0; t < order.size(); ++t) {
                const auto row = static_cast<Index>(t);
                CHECK(test::same_values(got.y.rows(row, row + 1), whole.y.rows(order[t], order[t] + 1)));
                CHECK(test::same_values(got.dx.rows(row, row + 1), whole.dx.rows(order[t], order[t] + 1)));
            }
        }
    }
}

TEST_CASE("MoeLayer: two micro-batches are one batch, threads do not matter, to the bit") {
    for (const auto& router : test::builtin_router_cases()) {
        CAPTURE(router.name);
        const RouterSize size{.features = 19, .experts = 5, .nulls = 3, .slots = 3, .routers = 2};
        std::vector<std::vector<Tensor<float>>> results;
        for (int way = 0; way < 5; ++way) {
            auto layer = test::random_layer<float>(size.experts, size.features, 13, 3, true);
            layer.router = router.make<float>(size, 3);
            if (layer.router.scope() == RouterScope::batch) break;
            test::train_experts(layer.experts);
            test::train_everything(layer.router);
            const auto batch = test::random_batch<float>(size.features, {30, 21, 40}, 3);
            auto y = Tensor<float>::zeros(batch.x.shape());
            const Index cut = way == 4 ? 1 : 3;
            for (const auto& [from, to] : {std::pair{Index{0}, cut}, std::pair{cut, Index{3}}}) {
                if (from == to) continue;
                const auto piece = test::segments_of(batch, from, to);
                const auto got = test::run_layer(layer, piece, way == 4 ? 2 : way + 1);
                std::copy_n(got.y.data(), got.y.size(), y.data() + piece.row[0] * size.features);
            }
            std::vector<Tensor<float>> all{y};
            for (auto& gradient : expert_gradients(layer.experts)) all.push_back(gradient);
            for (auto& gradient : test::parameter_gradients(layer.router)) all.push_back(gradient);
            results.push_back(std::move(all));
            CHECK(test::same_list(results.front(), results.back()));
        }
    }
}

TEST_CASE("MoeLayer: relabelled experts, weights and router rows together, leave the output to the bit") {
    for (std::uint64_t seed = 0; seed < 300; ++seed) {
        Random random(seed);
        const Index E = 2 + static_cast<Index>(seed % 5), D = 4, F = 3;
        const RouterSize size{.features = D, .experts = E, .slots = 2};
        auto a = test::random_layer<float>(E, D, F, seed), b = test::random_layer<float>(E, D, F, seed);
        auto gate = detail::random_gate<float>("gate", E, size, GateTraining::full, seed, 0);
        auto moved = detail::random_gate<float>("gate", E, size, GateTraining::full, seed, 0);
        std::vector<Index> order(static_cast<std::size_t>(E));
        std::iota(order.begin(), order.end(), Index{0});
        shuffle(std::span<Index>(order), random);
        for (Index e = 0; e < E; ++e) {
            const Index to = order[static_cast<std::size_t>(e)];
            std::copy_n(gate.weight->value().data() + e * D, D, moved.weight->value().data() + to * D);
            std::copy_n(a.experts.gate_up.value().slice(e).data(), 2 * F * D,
                        b.experts.gate_up.value().slice(to).data());
            std::copy_n(a.experts.down.value().slice(e).data(), D * F,
                        b.experts.down.value().slice(to).data());
        }
        a.router = TopKRouter<float>{.gate = gate};
        b.router = TopKRouter<float>{.gate = moved};
        const auto batch = test::random_batch<float>(D, {6}, seed);
        CHECK(test::same_values(test::run_layer(a, batch).y, test::run_layer(b, batch).y));
    }
}

TEST_CASE("MoeLayer: identical experts give their common output times the sum of the weights") {
    for (std::uint64_t seed = 0; seed < 200; ++seed) {
        const Index E = 1 + static_cast<Index>(seed % 6);
        const RouterSize size{.features = 4, .experts = E, .slots = 1 + static_cast<Index>(seed) % E};
        auto layer = test::random_layer<double>(E, 4, 3, seed);
        for (Index e = 1; e < E; ++e) {
            std::copy_n(layer.experts.gate_up.value().data(), 24,
                        layer.experts.gate_up.value().slice(e).data());
            std::copy_n(layer.experts.down.value().data(), 12, layer.experts.down.value().slice(e).data());
        }
        layer.router = BuiltinTopK<TopKWeights::renormalized, GateTraining::full>::make<double>(size, seed);
        const auto batch = test::random_batch<double>(4, {3}, seed);
        const auto y = test::run_layer(layer, batch).y;
        for (Index t = 0; t < 3; ++t) {
            const auto* x = batch.x.matrix().row(t);
            const auto want = test::expert_output(layer.experts, 0, {x, x + 4});
            for (Index d = 0; d < 4; ++d) {
                CHECK(std::abs(y.matrix()(t, d) - want[static_cast<std::size_t>(d)]) <= 1e-13);
            }
        }
    }
}

TEST_CASE("MoeLayer: idle experts, all masks of five: gradients written, exactly 0; the others not") {
    constexpr Index E = 5, D = 4, T = 9;
    for (unsigned mask = 0; mask < 32; ++mask) {
        std::vector<std::int32_t> used;
        for (std::int32_t e = 0; e < E; ++e) {
            if (mask >> e & 1) used.push_back(e);
        }
        for (Index tokens : {T, Index{0}}) {
            auto layer = test::random_layer<float>(E, D, 3, mask, true);
            auto expert = Tensor<std::int32_t>::zeros({tokens, 2});
            for (Index i = 0; i < expert.size(); ++i) {
                const bool second = i % 2 == 1;
                expert.data()[i] = used.empty() || (second && used.size() == 1)
                                       ? kUnused
                                       : used[static_cast<std::size_t>(i / 2 + second) % used.size()];
            }
            layer.router = fixed<float>(expert, E, mask);
            spoil_gradients(layer.experts);
            const auto batch = test::random_batch<float>(D, {tokens}, mask);
            const auto got = test::run_layer(layer, batch);
            CHECK(got.y.shape() == Shape{tokens, D});
            for (const auto& gradient : expert_gradients(layer.experts)) {
                for (std::int32_t e = 0; e < E; ++e) {
                    const auto values = gradient.slice(e).values();
                    const bool zero =
                        std::all_of(values.begin(), values.end(), [](float v) { return v == 0.0f; });
                    CHECK(zero == (tokens == 0 || !(mask >> e & 1)));
                }
            }
            if (!used.empty()) continue;
            for (float value : got.y.values()) CHECK(value == 0.0f);
        }
    }
}

TEST_CASE("MoeLayer: a router that names an expert the layer does not have is an error") {
    auto layer = test::random_layer<float>(3, 4, 3, 1);
    layer.router = fixed<float>(Tensor<std::int32_t>::from({1, 1}, {3}), 4, 1);
    CHECK_THROWS_WITH_AS(test::run_layer(layer, test::random_batch<float>(4, {1}, 1)),
                         doctest::Contains("below 3"), Error);
}

TEST_CASE("MoeLayer: a row budget that suffices changes no bit, one that does not is an error") {
    const auto router = test::builtin_router_cases().front();
    const RouterSize size{.features = 7, .experts = 4, .nulls = 0, .slots = 2, .routers = 1};
    auto layer = test::random_layer<float>(size.experts, size.features, 5, 3, true);
    layer.router = router.make<float>(size, 3);
    const auto batch = test::random_batch<float>(size.features, {9, 4}, 3);
    const auto all = test::run_layer(layer, batch);
    const auto chosen = all.routing.expert.values();
    const auto used = std::count_if(chosen.begin(), chosen.end(), [](std::int32_t e) { return e >= 0; });
    REQUIRE(used > 0);
    layer.row_budget = (static_cast<double>(used) - 0.5) / 13;
    CHECK(test::same_values(test::run_layer(layer, batch).y, all.y));
    layer.row_budget = (static_cast<double>(used) - 1.5) / 13;
    CHECK_THROWS_WITH_AS(test::run_layer(layer, batch), doctest::Contains("row budget"), Error);
}
