// PERFT: the acceptance tests of the reference, its starts, its losses, its reductions.

#include <moegrad/methods/perft.hpp>
#include <moegrad/train/trainable_table.hpp>

#include "support/registered_routers.hpp"
#include "support/routing_models.hpp"

#include <doctest/doctest.h>

using namespace moegrad;

namespace {

AdapterSpec perft_spec(const std::string& method, const std::string& options = "", Index r = 3) {
    AdapterSpec spec;
    spec.set_method(method);
    spec.options = options;
    spec.targets = {};
    spec.lora = {.rank = r, .alpha = 2.0 * static_cast<double>(r)};
    spec.seed = 9;
    return spec;
}

Tensor<double> perft_logits(const std::string& method, const std::string& options, double moved = 0,
                            double dropout = 0) {
    auto model = test::tiny_mixtral<double>(4);
    auto spec = perft_spec(method, options);
    spec.lora.dropout = dropout;
    attach(model, spec);
    if (moved > 0) test::disturb(model, moved, 3);
    return test::model_logits(model, test::random_tokens({20, 9}, 40, 3));
}
Tensor<double> perft_base_logits() {
    auto model = test::tiny_mixtral<double>(4);
    return test::model_logits(model, test::random_tokens({20, 9}, 40, 3));
}

/// The gradient of the router's gate in layer 0 after one backward, its largest |value|.
double perft_gate_gradient(const std::string& options, double balance) {
    auto model = test::tiny_mixtral<double>(4);
    auto spec = perft_spec("perft_r", options);
    attach(model, spec);
    test::disturb(model, 0.1, 3);
    test::Objective(model, test::random_tokens({9, 4}, 40, 7), balance).backward();
    double largest = 0;
    const auto gradient =
        total_gradient(test::parameter_named(model, "layers.0.mlp.perft.router.gate.weight"));
    for (double value : gradient.values()) largest = std::max(largest, std::abs(value));
    return largest;
}

}  // namespace

TEST_CASE("perft acceptance: the router of perft_r has a gradient from the cross entropy alone") {
    CHECK(perft_gate_gradient("init=zero_b", 0) > 1e-4);
    CHECK(perft_gate_gradient("init=zero_b, renormalise=false, top_k=1", 0) > 1e-4);
    // The released OLMoE code: only the balance loss reaches it. So with one expert whose weight is always 1.
    CHECK(perft_gate_gradient("init=zero_b, weight_source=base", 0) == 0);
    CHECK(perft_gate_gradient("init=zero_b, weight_source=base", 0.3) > 1e-4);
    CHECK(perft_gate_gradient("init=zero_b, top_k=1", 0) == 0);
}

TEST_CASE(
    "perft acceptance: a Delta that is the same in every expert adds itself times the sum of the weights") {
    const Index E = 4, D = 6, R = 2, T = 7;
    const auto batch = test::random_batch<double>(D, {T}, 5);
    for (const auto weights : {TopKWeights::raw, TopKWeights::renormalized}) {
        auto gate = std::make_shared<Parameter<double>>("gate", Shape{E, D});
        fill_normal(gate->value(), 0.5, 1, 1);
        MoeLayer<double> moe;
        moe.experts = Experts<double>("experts", E, D, 3);
        fill_normal(moe.experts.gate_up.value(), 0.5, 1, 2);
        fill_normal(moe.experts.down.value(), 0.5, 1, 3);
        moe.router = TopKRouter<double>{.gate = Gate<double>(gate), .k = 2, .weights = weights};
        Tape tape(test::routing_context(), Mode::inference);
        const Tensor<std::int32_t> no_tokens;
        Forward<double> forward{tape, no_tokens, batch.segments};
        const Var<double> x(batch.x);
        const auto y_base = moe(forward, x);
        LoraParameters<double> lora("perft", E, D, D, {.rank = R, .alpha = 4}, 1, 1);
        fill_normal(lora.A.value(), 1, 1, 4);
        fill_normal(lora.B.value(), 1, 1, 5);
        for (Index e = 1; e < E; ++e) {
            copy_values(lora.A.value().slice(0), lora.A.value().slice(e));
            copy_values(lora.B.value().slice(0), lora.B.value().slice(e));
        }
        const auto A = lora.A.value().view<3>(), B = lora.B.value().view<3>();
        moe.beside.push_back(std::make_unique<LoraExperts<double>>(lora));
        const auto y = moe(forward, x);
        const auto weight = forward.routings.back().routing.weight.value();
        for (Index t = 0; t < T; ++t) {
            const double sum = weight.matrix()(t, 0) + weight.matrix()(t, 1);
            CHECK((sum < 0.999) == (weights == TopKWeights::raw));
            for (Index o = 0; o < D; ++o) {
                double delta = 0;
                for (Index r = 0; r < R; ++r) {
                    for (Index d = 0; d < D; ++d) {
                        delta += 2 * B(0, o, r) * A(0, r, d) * batch.x.matrix()(t, d);
                    }
                }
                CHECK(y.value().matrix()(t, o) ==
                      doctest::Approx(y_base.value().matrix()(t, o) + sum * delta).epsilon(1e-12));
            }
        }
    }
}

TEST_CASE("perft acceptance: perft_d with N = 2 is the sum of two perft_s") {
    for (const std::string expert : {"lora", "adapter"}) {
        auto both = test::tiny_mixtral<double>(4), apart = test::tiny_mixtral<double>(4);
        attach(both, perft_spec("perft_d", "experts=2, expert=" + expert));
        attach(apart, perft_spec("perft_s", "expert=" + expert));
        test::disturb(both, 0.2, 3);
        for (std::size_t l = 0; l < 2; ++l) {
            auto& branches = apart.layers()[l].branches;
            auto second = perft_spec("perft_s", "expert=" + expert);
            auto other = test::tiny_mixtral<double>(4);
            attach(other, second);
            branches.push_back(std::move(other.layers()[l].branches.front()));
            const auto from = both.layers()[l].branches.front().experts->parameters();
            for (Index j = 0; j < 2; ++j) {
                const auto to = branches[static_cast<std::size_t>(j)].experts->parameters();
                for (std::size_t p = 0; p < 2; ++p) {
                    copy_values(from[p]->value().slice(j), to[p]->value().slice(0));
                }
            }
        }
        const auto batch = test::random_tokens({20, 9}, 40, 3);
        const auto want = test::model_logits(apart, batch);
        CHECK(test::largest_difference(test::model_logits(both, batch), want) <= 1e-12);
        CHECK(test::largest_difference(want, perft_base_logits()) > 1e-3);
    }
}

TEST_CASE("perft: with zero_b every variant starts as the base to the bit, with perft nearly") {
    const auto base = perft_base_logits();
    for (const std::string method : {"perft_r", "perft_e", "perft_d", "perft_s"}) {
        for (const std::string expert : {"lora", "adapter"}) {
            CAPTURE(method);
            CAPTURE(expert);
            const std::string of = "expert=" + expert;
            CHECK(test::largest_difference(perft_logits(method, of + ", init=zero_b"), base) == 0);
            const double nearly = test::largest_difference(perft_logits(method, of), base);
            CHECK(nearly > 0);
            CHECK(nearly < 1e-3);
            CHECK(test::largest_difference(perft_logits(method, of, 0.1), base) > 1e-3);
        }
    }
    const Tensor<double> by_base = perft_logits("perft_r", "weight_source=base, init=zero_b");
    CHECK(test::largest_difference(by_base, base) == 0);
}

TEST_CASE("perft: the start of the released code, A of deviation sqrt(2 / r) and B of 1e-6") {
    for (const std::string expert : {"lora", "adapter"}) {
        auto model = test::tiny_mixtral<double>(4);
        attach(model, perft_spec("perft_e", "expert=" + expert, 12));
        const auto deviation = [&](const std::string& name) {
            double squares = 0;
            const auto& values = test::parameter_named(model, name).value();
            for (double value : values.values()) squares += value * value;
            return std::sqrt(squares / static_cast<double>(values.size()));
        };
        const bool lora = expert == "lora";
        CHECK(deviation(lora ? "0.mlp.perft.lora_A.weight" : "0.mlp.perft.adapter_w1.weight") ==
              doctest::Approx(std::sqrt(2.0 / 12)).epsilon(0.1));
        CHECK(deviation(lora ? "0.mlp.perft.lora_B.weight" : "0.mlp.perft.adapter_w2.weight") ==
              doctest::Approx(1e-6).epsilon(0.1));
    }
}

TEST_CASE("perft: perft_d with N = 1 is perft_s to the bit") {
    for (const std::string expert : {"lora", "adapter"}) {
        CAPTURE(expert);
        const auto one = perft_logits("perft_d", "experts=1, expert=" + expert, 0.2);
        CHECK(test::largest_difference(one, perft_logits("perft_s", "expert=" + expert, 0.2)) == 0);
        CHECK(test::largest_difference(one, perft_base_logits()) > 1e-3);
    }
}

TEST_CASE("perft: one routed expert is perft_s, and of N = 2 with k' = 2 the weights sum to 1") {
    auto routed = test::tiny_mixtral<double>(4), alone = test::tiny_mixtral<double>(4);
    attach(routed, perft_spec("perft_r", "experts=1, top_k=1"));
    attach(alone, perft_spec("perft_s"));
    test::disturb(alone, 0.1, 3);
    for (std::size_t l = 0; l < 2; ++l) {
        const auto from = alone.layers()[l].branches.front().experts->parameters();
        const auto to = routed.layers()[l].branches.front().experts->parameters();
        for (std::size_t p = 0; p < 2; ++p) copy_values(from[p]->value(), to[p]->value());
    }
    const auto tokens = test::random_tokens({20, 9}, 40, 3);
    CHECK(test::largest_difference(test::model_logits(routed, tokens), test::model_logits(alone, tokens)) ==
          0);
    auto model = test::tiny_mixtral<double>(4);
    attach(model, perft_spec("perft_r", "experts=2, top_k=2"));
    const auto batch = test::random_tokens({5}, 40, 3);
    Tape tape(test::routing_context(), Mode::inference);
    Forward<double> forward{tape, batch.token, batch.segments};
    model.hidden(forward);
    REQUIRE(forward.routings.size() == 4);
    CHECK(forward.routings[1].name == "model.layers.0.mlp.perft");
    const auto weight = forward.routings[1].routing.weight.value();
    for (Index t = 0; t < 5; ++t) {
        CHECK(weight.matrix()(t, 0) + weight.matrix()(t, 1) == doctest::Approx(1).epsilon(1e-14));
    }
}

TEST_CASE("perft: gradients on a Mixtral against central differences, balance losses included") {
    const std::pair<const char*, const char*> cases[] = {
        {"perft_r", "init=zero_b, experts=3"},
        {"perft_r", "init=zero_b, experts=3, renormalise=false, expert=adapter"},
        {"perft_r", "init=zero_b, experts=3, weight_source=base"},
        {"perft_r", "init=zero_b, experts=3, router=biased, temperature=2"},
        {"perft_e", "init=zero_b"},
        {"perft_e", "init=zero_b, expert=adapter, base_balance=false"},
        {"perft_d", "init=zero_b, experts=3"},
        {"perft_d", "init=zero_b, expert=adapter"}};
    for (const auto& [method, options] : cases) {
        CAPTURE(method);
        CAPTURE(options);
        auto model = test::tiny_mixtral<double>(4);
        attach(model, perft_spec(method, options, 2));
        test::disturb(model, 0.1, 6);
        CHECK(test::Objective(model, test::random_tokens({9, 4}, 40, 7), 0.3).worst(7) <= 1);
    }
}

TEST_CASE("perft: balance losses of both routers, of the base by a switch, with the paper's coefficient") {
    const auto penalties = [](const std::string& method, const std::string& options, BalanceLoss balance) {
        auto model = test::tiny_mixtral<double>(4);
        auto spec = perft_spec(method, options);
        spec.balance = balance;
        attach(model, spec);
        for (auto& moe : model.layers()[0].moe) {
            const bool off = options.find("base_balance=false") != std::string::npos;
            CHECK(moe.router.coefficients() == (off ? std::vector<PenaltyCoefficient>{}
                                                    : std::vector<PenaltyCoefficient>{{"balance", 0.02}}));
        }
        const auto batch = test::random_tokens({5}, 40, 3);
        Tape tape(test::routing_context(), Mode::inference);
        Forward<double> forward{tape, batch.token, batch.segments};
        model.hidden(forward);
        std::string found;
        for (const auto& record : forward.routings) {
            if (record.layer == 0 && !record.routing.penalties.empty()) found += record.name.substr(14) + " ";
        }
        return found;
    };
    using enum BalanceLoss;
    CHECK(penalties("perft_r", "", by_method) == ".mlp .mlp.perft ");
    CHECK(penalties("perft_r", "base_balance=false", by_method) == ".mlp.perft ");
    CHECK(penalties("perft_r", "weight_source=base", by_method) == ".mlp.perft .mlp ");
    CHECK(penalties("perft_r", "", none) == "");
    CHECK(penalties("perft_e", "", by_method) == ".mlp ");
    CHECK(penalties("perft_d", "base_balance=false", by_method) == "");
}

TEST_CASE("perft: experts beside those of the base are no adapter of attention alone") {
    auto model = test::tiny_mixtral<double>(4), attention = test::tiny_mixtral<double>(4);
    attach(model, perft_spec("perft_s"));
    attach(attention, AdapterSpec{.targets = {"attention"}});
    CHECK(attention_only_warning(count_trainable(model)).empty());
    CHECK_FALSE(attention_only_warning(count_trainable(attention)).empty());
}

TEST_CASE("perft: what does not fit is an error that says what would") {
    const auto refused = [](const std::string& method, const std::string& options, bool dense = false) {
        try {
            auto spec = perft_spec(method, options);
            if (dense) {
                auto model = test::tiny_llama<double>();
                attach(model, spec);
            } else {
                auto model = test::tiny_mixtral<double>(4);
                attach(model, spec);
            }
        } catch (const Error& error) {
            return error.place + ": " + error.expected;
        }
        return std::string("accepted");
    };
    CHECK(refused("perft_r", "expert=mlp") == "router.options: expert: lora or adapter");
    CHECK(refused("perft_r", "top_k=5") == "router.options: top_k: 1 to 4 (the experts)");
    CHECK(refused("perft_r", "router=topk") == "router.options: router: top_k, or a registered router");
    CHECK(refused("perft_r", "weight_source=base, top_k=3").find("at most 2, the layer's slots") !=
          std::string::npos);
    CHECK(refused("perft_s", "experts=2").find("what router perft_s reads") != std::string::npos);
    CHECK(refused("perft_e", "", true) == "adapter.method: a mixture of experts for perft_e");
    for (const char* method : {"perft_r", "perft_d", "perft_s"})
        CHECK(refused(method, "", true) == "accepted");
}
