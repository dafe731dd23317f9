// MoLE: what trains, gates that start uniform, one LoRA is that LoRA, masking, the penalty, adapters from folders.

#include "io/support.hpp"
#include "support/routing_models.hpp"

#include <moegrad/methods/mole.hpp>
#include <moegrad/train/adapter_files.hpp>

#include <doctest/doctest.h>

using namespace moegrad;

namespace {

AdapterSpec mole_spec(const std::string& options) {
    AdapterSpec spec;
    spec.set_method("mole");
    spec.options = options;
    spec.lora = {.rank = 3, .alpha = 6};
    spec.targets = {"attention", "mlp"};
    spec.seed = 4;
    return spec;
}

template <class Real = double>
Llama<Real> mole_model(const std::string& options) {
    auto model = test::tiny_llama<Real>();
    attach(model, mole_spec(options));
    return model;
}

/// The gates of layer 0 in a pass, [T, E] by expert.
Tensor<double> mole_gates(Decoder<double>& model, const test::TokenBatch& batch) {
    Tape tape(test::routing_context(), Mode::inference);
    Forward<double> forward{tape, batch.token, batch.segments};
    model.hidden(forward);
    const auto& routing = forward.routings.front().routing;
    return test::copy_of(scatter(tape, routing.weight, routing.expert, routing.weight.extent(1)).value());
}

MoleGate<double> random_gate(Index E, Index D, std::uint64_t seed) {
    auto weight = std::make_shared<Parameter<double>>("gate.weight", Shape{E, E * D});
    fill_normal(weight->value(), 0.5, seed, 0);
    auto cold = std::make_shared<Parameter<double>>("inverse_temperature", Shape{1, 1});
    cold->value().data()[0] = 0.7;
    weight->set_trainable(true);
    cold->set_trainable(true);
    return {.gate = Gate<double>(std::move(weight)), .inverse_temperature = std::move(cold), .layers = 2};
}

/// The penalty and the gates of a batch.
struct GateRun {
    Tensor<double> penalty, gates;
};
GateRun run_gate(MoleGate<double>& gate, const Tensor<double>& x, const Segments& segments,
                 bool backward = false) {
    for (auto* parameter : gate.parameters()) parameter->forget_gradients();
    Tape tape(test::routing_context());
    const auto token = Tensor<std::int32_t>::zeros({x.extent(0)});
    auto routing = gate.route(tape, {.x = tape.input(x), .token = token, .segments = segments});
    GateRun run{test::copy_of(routing.penalties.front().value.value()),
                test::copy_of(scatter(tape, routing.weight, routing.expert, gate.experts()).value())};
    if (!backward) return run;
    for (double& seed : routing.penalties.front().value.gradient()->target().tensor.values()) seed = 1;
    tape.backward();
    return run;
}

}  // namespace

TEST_CASE("mole: only gates and temperatures get a gradient") {
    auto model = mole_model("experts=3");
    const auto trained = trainable_parameters(model);
    REQUIRE(trained.size() == 2 * 2);
    for (const auto* parameter : trained) CHECK(parameter->name().find(".router.") != std::string::npos);
    test::disturb(model, 0.1, 3);
    test::Objective objective(model, test::random_tokens({5, 4}, 40, 2), 0);
    objective.backward();
    for (auto* parameter : all_parameters(model)) {
        CAPTURE(parameter->name());
        const bool gate = parameter->name().find(".router.") != std::string::npos;
        CHECK(parameter->gradients().empty() == !gate);
    }
    CHECK(objective.worst(7) <= 1);
}

TEST_CASE("mole: W_m = 0 gives uniform gates, and layers that are the mean of their runs") {
    auto model = mole_model("experts=4");
    const auto batch = test::random_tokens({5, 3}, 40, 2);
    const auto gates = mole_gates(model, batch);
    for (const double g : gates.values()) CHECK(g == doctest::Approx(0.25).epsilon(1e-14));
    // With the mask on one of two LoRAs the layer is the run with the other.
    const auto x = test::random_batch<double>(model.config().hidden_size, {5, 3}, 6).x;
    const auto layer = [&](const char* options) {
        auto two = mole_model(options);
        Tape tape(test::routing_context(), Mode::inference);
        Forward<double> forward{tape, batch.token, batch.segments};
        return test::copy_of(two.layers()[0](forward, Var<double>(x)).value());
    };
    const auto mean = layer("experts=2"), first = layer("experts=2, mask=1"),
               second = layer("experts=2, mask=0");
    CHECK(test::largest_difference(first, second) > 1e-2);
    for (Index i = 0; i < mean.size(); ++i)
        CHECK(std::abs(mean.data()[i] - (first.data()[i] + second.data()[i]) / 2) <= 1e-12);
}

TEST_CASE("mole: one LoRA is that LoRA, and the paper's sum adds the layer without it") {
    auto model = mole_model("experts=1, lora_seed=9");
    auto plain = test::tiny_llama<double>();
    AdapterSpec spec = mole_spec("");
    spec.set_method("lora");
    spec.options = "";
    attach(plain, spec);
    auto from = adapter_tensors(model), to = adapter_tensors(plain);
    for (auto& tensor : to) {
        for (const auto& other : from) {
            std::string name = other.name;
            if (const auto at = name.find(".experts.0"); at != std::string::npos) name.erase(at, 10);
            if (name == tensor.name) tensor.write(other.read());
        }
    }
    const auto batch = test::random_tokens({5, 3}, 40, 2);
    const auto want = test::model_logits<double>(plain, batch);
    CHECK(test::largest_difference(test::model_logits<double>(model, batch), want) == 0);
    auto base = test::tiny_llama<double>();
    CHECK(test::largest_difference(test::model_logits<double>(base, batch), want) > 1e-3);
    auto paper = mole_model("experts=1, lora_seed=9, sum=paper");
    CHECK(test::largest_difference(test::model_logits<double>(paper, batch), want) > 1e-3);
}

TEST_CASE("mole: masking one LoRA renormalises the others to sum 1") {
    auto all = mole_model("experts=3"), masked = mole_model("experts=3, mask=1");
    test::disturb(all, 0.2, 3);
    test::disturb(masked, 0.2, 3);
    const auto batch = test::random_tokens({6}, 40, 2);
    const auto a = mole_gates(all, batch), b = mole_gates(masked, batch);
    for (Index t = 0; t < 6; ++t) {
        const double left = 1 - a.view<2>()(t, 1);
        CHECK(b.view<2>()(t, 1) == 0);
        CHECK(b.view<2>()(t, 0) == doctest::Approx(a.view<2>()(t, 0) / left).epsilon(1e-12));
        CHECK(b.view<2>()(t, 0) + b.view<2>()(t, 2) == doctest::Approx(1).epsilon(1e-14));
    }
    CHECK(all.layers()[0].hook->router()->coefficients() == std::vector<PenaltyCoefficient>{{"mole", 0.5}});
    CHECK(masked.layers()[0].hook->router()->coefficients().empty());  // it has no penalty
    CHECK_THROWS_WITH_AS(mole_model("experts=2, mask=0-1"), doctest::Contains("not every one"), Error);
}

TEST_CASE("mole: the penalty is -log prod G over the layers, with its gradient; padding changes nothing") {
    const Index E = 3, D = 2;
    auto gate = random_gate(E, D, 1);
    auto x = Tensor<double>::zeros({7, E * D});
    fill_normal(x, 1, 2, 0);
    const auto segments = Segments::of_lengths({4, 3});
    const auto run = run_gate(gate, x, segments, true);
    for (const auto& [s, t] : {std::pair<Index, Index>{0, 0}, {1, 5}}) {
        double want = 0;
        for (Index e = 0; e < E; ++e) want -= std::log(run.gates.view<2>()(t, e)) / 2;
        CHECK(run.penalty.data()[s] == doctest::Approx(want).epsilon(1e-12));
    }
    // Every token of a sequence has its gates.
    for (Index e = 0; e < E; ++e) CHECK(run.gates.view<2>()(4, e) == run.gates.view<2>()(6, e));
    std::vector<Tensor<double>> gradients;
    for (auto* parameter : gate.parameters()) gradients.push_back(test::copy_of(total_gradient(*parameter)));
    for (std::size_t n = 0; n < gradients.size(); ++n) {
        auto* parameter = gate.parameters()[n];
        const auto& gradient = gradients[n];
        for (Index i = 0; i < gradient.size(); i += 2) {
            double& number = parameter->value().data()[i];
            const double kept = number;
            const auto total = [&](double moved) {
                number = moved;
                const auto values = run_gate(gate, x, segments).penalty;
                number = kept;
                return values.data()[0] + values.data()[1];
            };
            const double numeric = (total(kept + 1e-5) - total(kept - 1e-5)) / 2e-5;
            CHECK(std::abs(gradient.data()[i] - numeric) < 1e-8 + 1e-6 * std::abs(numeric));
        }
    }
    // A row of padding inside a sequence, and a sequence of padding.
    auto padded = Segments::of_lengths({5, 3, 2});
    for (const Index t : {2, 8, 9}) padded.valid.data()[t] = 0;
    auto wide = Tensor<double>::zeros({10, E * D});
    Index from = 0;
    for (Index t = 0; t < 8; ++t) {
        if (t == 2) continue;
        std::copy_n(x.view<2>().row(from++), E * D, wide.view<2>().row(t));
    }
    const auto again = run_gate(gate, wide, padded);
    CHECK(again.penalty.data()[0] == run.penalty.data()[0]);
    CHECK(again.penalty.data()[1] == run.penalty.data()[1]);
    CHECK(again.penalty.data()[2] == 0);
    for (Index e = 0; e < E; ++e) CHECK(again.gates.view<2>()(2, e) == 0);
}

TEST_CASE("mole: adapters from folders, what they must be, and a round trip without them") {
    const auto batch = test::random_tokens({5, 3}, 40, 2);
    std::vector<Tensor<float>> want;
    std::string saved_gates;
    const io_test::TemporaryFolder out;
    Tensor<float> before;
    {
        const io_test::TemporaryFolder first, second;
        for (const auto* folder : {&first, &second}) {
            auto model = test::tiny_llama<float>();
            AdapterSpec spec = mole_spec("");
            spec.set_method("lora");
            spec.options = "";
            attach(model, spec);
            for (auto& tensor : adapter_tensors(model)) {
                auto values = tensor.read();
                Random random(want.size() + 1, std::hash<std::string>()(tensor.name));
                for (float& value : values) value += 0.3f * static_cast<float>(random.next_normal());
                tensor.write(values);
            }
            save_adapter(model, spec, folder->path());
            want.push_back(test::model_logits<float>(model, batch));
        }
        auto single = mole_model<float>("adapters=" + second.path());
        CHECK(test::largest_difference(test::model_logits<float>(single, batch), want[1]) == 0);
        const std::string both = "adapters=" + first.path() + ";" + second.path();
        auto model = mole_model<float>(both);
        save_adapter(model, mole_spec(both), out.path());
        before = test::model_logits<float>(model, batch);
        auto spec = mole_spec(both);
        spec.lora.rank = 2;
        auto refused = test::tiny_llama<float>();
        CHECK_THROWS_WITH_AS(attach(refused, spec), doctest::Contains("rank 2"), Error);
        spec = mole_spec(both);
        spec.targets = {"attention"};
        auto fewer = test::tiny_llama<float>();
        CHECK_THROWS_WITH_AS(attach(fewer, spec), doctest::Contains("16 tensors"), Error);
    }
    // The folders are gone: the saved adapter has all of it, and a new one has nothing that passes for a number.
    auto model = test::tiny_llama<float>();
    load_adapter(model, out.path());
    CHECK(test::largest_difference(test::model_logits<float>(model, batch), before) == 0);
    auto gone = mole_model<float>("adapters=/nowhere/at/all");
    CHECK_THROWS_WITH_AS(test::model_logits<float>(gone, batch), doctest::Contains("NaN for token 0"), Error);
}

TEST_CASE("mole: adapters whose config changes the maths are refused by what does") {
    const io_test::TemporaryFolder folder;
    const auto refused = [&](const std::string& more) {
        folder.write("adapter_config.json", R"({"peft_type":"LORA","r":3,"lora_alpha":6)" + more + "}");
        try {
            moegrad::detail::require_mole_lora(folder.path(), {.rank = 3, .alpha = 6});
        } catch (const Error& error) {
            return std::string(error.what());
        }
        return std::string();
    };
    CHECK(refused("").empty());
    CHECK(refused(R"(,"fan_in_fan_out":false,"rank_pattern":{},"alpha_pattern":null)").empty());
    CHECK(refused(R"(,"fan_in_fan_out":true)").find("with fan_in_fan_out") != std::string::npos);
    CHECK(refused(R"(,"rank_pattern":{"q_proj":4})").find("with rank_pattern") != std::string::npos);
    CHECK(refused(R"(,"alpha_pattern":{"q_proj":4})").find("with alpha_pattern") != std::string::npos);
    CHECK(refused(R"(,"use_dora":true)").find("with use_dora") != std::string::npos);
}

TEST_CASE("mole: what it refuses") {
    CHECK_THROWS_WITH_AS(mole_model("sum=both"), doctest::Contains("experts or paper"), Error);
    CHECK_THROWS_WITH_AS(mole_model("experts=0"), doctest::Contains("at least 1"), Error);
    auto mixtral = test::tiny_mixtral<float>();
    auto spec = mole_spec("");
    spec.targets = {"attention", "experts"};
    CHECK_THROWS_WITH_AS(attach(mixtral, spec), doctest::Contains("Linears for method mole"), Error);
    auto attention = test::tiny_mixtral<float>();
    spec.targets = {"attention"};
    attach(attention, spec);
    const auto batch = test::random_tokens({5, 3}, 40, 2);
    CHECK(std::isfinite(test::model_logits<float>(attention, batch).data()[0]));
}
