// MoLA: the number of experts by layer.

#include <moegrad/routing/dense_router.hpp>
#include <moegrad/train/adapter_files.hpp>
#include <moegrad/train/run_config_keys.hpp>

#include "io/support.hpp"
#include "support/routing_golden.hpp"
#include "support/routing_models.hpp"

#include <doctest/doctest.h>

using namespace moegrad;

namespace {

AdapterSpec mola_spec(std::vector<Index> experts, Index r = 3) {
    AdapterSpec spec;
    spec.set_method("molora");
    spec.targets = {"attention", "mlp"};
    spec.lora = {.rank = r, .alpha = 2.0 * static_cast<double>(r)};
    spec.experts_per_layer = std::move(experts);
    spec.seed = 9;
    return spec;
}

Llama<double> mola_llama(Index layers) {
    auto config = test::tiny_config(ModelFamily::llama);
    config.num_hidden_layers = layers;
    Llama<double> model(config);
    model.initialize(1);
    return model;
}

std::vector<Index> mola_experts(Decoder<double>& model) {
    std::vector<Index> all;
    for (auto& layer : model.layers()) {
        const Index first = layer.attention.q.adapter->router()->experts();
        for (auto& [name, linear] : model.linears(layer))
            CHECK(linear->adapter->router()->experts() == first);
        all.push_back(first);
    }
    return all;
}

}  // namespace

TEST_CASE("mola: groups of layers have their numbers of experts, through save and load") {
    const auto batch = test::random_tokens({9, 4}, 40, 3);
    for (const auto& [numbers, want] :
         {std::pair<std::vector<Index>, std::vector<Index>>{{2, 3}, {2, 2, 3, 3}},
          {{2, 3, 4, 5}, {2, 3, 4, 5}},
          {{3}, {3, 3, 3, 3}}}) {
        auto model = mola_llama(4), base = mola_llama(4), fresh = mola_llama(4);
        attach(model, mola_spec(numbers));
        CHECK(mola_experts(model) == want);
        CHECK(test::largest_difference(test::model_logits(model, batch), test::model_logits(base, batch)) <=
              1e-12);
        test::disturb(model, 0.1, 1);
        const io_test::TemporaryFolder folder;
        save_adapter(model, mola_spec(numbers), folder.file("adapter"));
        // The file holds float32: what was saved is what is loaded, twice.
        auto again = mola_llama(4);
        CHECK(load_adapter(fresh, folder.file("adapter")).experts_per_layer == numbers);
        save_adapter(fresh, mola_spec(numbers), folder.file("second"));
        load_adapter(again, folder.file("second"));
        CHECK(mola_experts(again) == want);
        CHECK(test::largest_difference(test::model_logits(again, batch), test::model_logits(fresh, batch)) ==
              0);
        CHECK(test::largest_difference(test::model_logits(again, batch), test::model_logits(model, batch)) <
              1e-4);
    }
}

TEST_CASE("mola acceptance: two experts with top-2 are the dense mixture") {
    auto model = mola_llama(2), dense = mola_llama(2);
    attach(model, mola_spec({2}));
    attach(dense, mola_spec({2}));
    test::disturb(model, 0.3, 1);
    test::disturb(dense, 0.3, 1);
    for (auto& layer : dense.layers()) {
        for (auto& [name, linear] : dense.linears(layer)) {
            auto& router = *linear->adapter->router();
            router =
                DenseRouter<double>{.gate = test::gate_of(test::copy_of(router.parameters().at(0)->value()))};
        }
    }
    const auto batch = test::random_tokens({9, 4}, 40, 3);
    // w = softmax of both logits, nothing left out and nothing to renormalise; the slots of a token may stand in another order.
    CHECK(test::largest_difference(test::model_logits(model, batch), test::model_logits(dense, batch)) <=
          1e-12);
    Tape tape(test::routing_context(), Mode::inference);
    Forward<double> forward{tape, batch.token, batch.segments};
    model.hidden(forward);
    for (const auto& record : forward.routings) {
        const auto weight = record.routing.weight.value();
        double uneven = 0;
        for (Index t = 0; t < 13; ++t) {
            CHECK(record.routing.expert.data()[2 * t] + record.routing.expert.data()[2 * t + 1] == 1);
            CHECK(weight.matrix()(t, 0) + weight.matrix()(t, 1) == doctest::Approx(1).epsilon(1e-14));
            uneven = std::max(uneven, weight.matrix()(t, 0) - weight.matrix()(t, 1));
        }
        CHECK(uneven > 0.01);
    }
}

TEST_CASE("mola golden: shares of trainable parameters on Llama-2-7B, 2468 1.5 % and 8888 2.4 %") {
    // The result table of the paper as the reference has it (section 6); of 6,738,415,616 weights, routers left out.
    const auto share = [](const std::vector<Index>& numbers) {
        const Planning planning;
        Llama<float> model(test::llama_2_7b_layers());
        attach(model, mola_spec(numbers, 8));
        Index count = 0;
        for (auto* parameter : trainable_parameters(model)) {
            if (parameter->name().find(".router.") == std::string::npos) count += parameter->size();
        }
        return std::round(1000 * static_cast<double>(count) / 6738415616.0) / 10;
    };
    CHECK(share({2, 4, 6, 8}) == 1.5);
    CHECK(share({8}) == 2.4);
}

TEST_CASE("mola: the key router.experts_per_layer, and what is refused") {
    RunConfig config;
    set_config(config, "adapter.method", "molora", "test");
    set_config(config, "router.experts_per_layer", "2, 4,6,8", "test");
    CHECK(config.adapter.experts_per_layer == std::vector<Index>{2, 4, 6, 8});
    CHECK(config.adapter.experts_at(8, 32) == 4);
    CHECK(config.adapter.experts_at(31, 32) == 8);
    CHECK(config.adapter.most_experts() == 8);
    CHECK(resolved_config(config).find("router.experts_per_layer = \"2,4,6,8\"") != std::string::npos);
    CHECK_THROWS_WITH_AS(config.adapter_for(test::tiny_config(ModelFamily::mixtral)),
                         doctest::Contains("router.experts_per_layer"), Error);
    auto model = mola_llama(3);
    CHECK_THROWS_WITH_AS(attach(model, mola_spec({2, 4})), doctest::Contains("divide the 3 layers"), Error);
    auto small = mola_llama(2);
    CHECK_THROWS_WITH_AS(attach(small, mola_spec({1, 2})), doctest::Contains("1 to 1 (the experts)"), Error);
}
