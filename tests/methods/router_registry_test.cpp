// Routers registered by name: what adapter.method takes, what a router is made from, and what is refused.

#include "support/registered_routers.hpp"
#include "support/routing_models.hpp"

#include <doctest/doctest.h>

using namespace moegrad;

namespace {

/// What is wrong with a router, chosen by the test.
enum class Fault { none, half_gate, no_gate, unnamed, twice, experts };
Fault registry_fault = Fault::none;

template <class Real>
struct FaultyRouter : test::BiasedRouter<Real> {
    static FaultyRouter make(RouterBuild<Real> build) {
        FaultyRouter mine;
        static_cast<test::BiasedRouter<Real>&>(mine) = test::BiasedRouter<Real>::make(std::move(build));
        if (registry_fault == Fault::unnamed) mine.bias->rename("");
        if (registry_fault == Fault::twice) mine.steps->rename(mine.bias->name());
        return mine;
    }
    Index experts() const { return this->gate.columns() + (registry_fault == Fault::experts ? 1 : 0); }
    std::vector<Parameter<Real>*> parameters() {
        if (registry_fault == Fault::no_gate) return {this->bias.get()};
        if (registry_fault == Fault::half_gate) return {this->gate.weight.get(), this->bias.get()};
        return test::BiasedRouter<Real>::parameters();
    }
};
const RegisterRouter<FaultyRouter> faulty_registered{"faulty"};

AdapterSpec registered_spec(const std::string& router) {
    AdapterSpec spec;
    spec.set_method(router);
    return spec;
}

std::string refusal_of_attach(const AdapterSpec& spec) {
    auto model = test::tiny_mixtral<float>();
    try {
        attach(model, spec);
    } catch (const Error& error) {
        CHECK(error.code == ErrorCode::config);
        return error.what();
    }
    return "";
}

}  // namespace

TEST_CASE("registry: a registered name is a method, an unknown one lists what there is") {
    CHECK(method_named("biased") == Method::registered);
    CHECK(registered_spec("biased").method_name() == "biased");
    CHECK(registered_spec("lora").router == "");
    try {
        method_named("biassed");
        FAIL("no error");
    } catch (const Error& error) {
        CHECK(error.expected.find("mor, biased") != std::string::npos);
        CHECK(error.hint.find("did you mean `biased`?") != std::string::npos);
    }
    CHECK_THROWS_AS(method_named("registered"), Error);  // the enumerator's word is not a name
}

TEST_CASE(
    "registry: registering twice is one, two routers of a name are an error, as is a name that is taken") {
    const auto before = registered_routers();
    const RegisterRouter<test::BiasedRouter> again{"biased"};
    CHECK(registered_routers().size() == before.size());
    const RegisterRouter<FaultyRouter> other{"biased"};
    CHECK_THROWS_AS(method_named("biased"), Error);
    const RegisterRouter<FaultyRouter> taken{"lora"};
    CHECK_THROWS_AS(method_named("lora"), Error);
    registered_routers() = before;
    CHECK(method_named("biased") == Method::registered);
}

TEST_CASE(
    "registry: a Mixtral gets the router in every layer, with the checkpoint's gate and parameters of its "
    "own") {
    auto model = test::tiny_mixtral<float>();
    auto spec = registered_spec("biased");
    spec.options = "temperature=3";
    spec.top_k = 3;
    attach(model, spec);
    for (auto& layer : model.layers()) {
        auto& moe = layer.moe.front();
        auto* mine = moe.router.get<test::BiasedRouter<float>>();
        REQUIRE(mine != nullptr);
        CHECK(mine->gate.weight == moe.gate);
        CHECK_FALSE(moe.gate->trainable());
        CHECK(mine->gate.lora.defined());  // the default of router.mode
        CHECK(mine->temperature == 3);
        CHECK(mine->k == 3);
        CHECK(mine->bias->name() == moe.name + ".router.bias");
    }
    const auto bias = [&](std::size_t layer) {
        return model.layers()[layer].moe.front().router.get<test::BiasedRouter<float>>()->bias->value();
    };
    CHECK(bias(0).data()[0] != bias(1).data()[0]);  // every layer draws for itself
    const auto trained = trainable_parameters(model);
    const auto trains = [&](const std::string& name) {
        return std::any_of(trained.begin(), trained.end(), [&](auto* p) { return p->name() == name; });
    };
    CHECK(trains("model.layers.1.mlp.router.bias"));
    CHECK_FALSE(trains("model.layers.1.mlp.router.steps"));
}

TEST_CASE("registry: router.mode says what trains of the gate") {
    for (const GateMode mode : {GateMode::frozen, GateMode::lora, GateMode::full}) {
        auto model = test::tiny_mixtral<float>();
        auto spec = registered_spec("biased");
        spec.gate = mode;
        attach(model, spec);
        auto* mine = model.layers()[0].moe.front().router.get<test::BiasedRouter<float>>();
        CHECK(mine->gate.weight->trainable() == (mode == GateMode::full));
        CHECK(mine->gate.lora.defined() == (mode == GateMode::lora));
    }
}

TEST_CASE("registry: over the LoRA experts of a dense model") {
    auto model = test::tiny_llama<float>();
    auto spec = registered_spec("biased");
    spec.targets = {"q_proj"};
    spec.experts = 5;
    attach(model, spec);
    auto* adapter = dynamic_cast<MixtureLora<float>*>(model.layers()[1].attention.q.adapter.get());
    REQUIRE(adapter != nullptr);
    auto* mine = adapter->router()->get<test::BiasedRouter<float>>();
    REQUIRE(mine != nullptr);
    CHECK(mine->experts() == 5);
    CHECK(mine->bias->name() == "model.layers.1.self_attn.q_proj.router.bias");
    CHECK(mine->gate.weight->trainable());
}

TEST_CASE("registry: what a router must not do") {
    const auto with = [](Fault fault, GateMode mode = GateMode::by_method) {
        registry_fault = fault;
        auto spec = registered_spec("faulty");
        spec.gate = mode;
        const std::string text = refusal_of_attach(spec);
        registry_fault = Fault::none;
        return text;
    };
    CHECK(with(Fault::none) == "");
    CHECK(with(Fault::half_gate).find("1 of 3") != std::string::npos);
    CHECK(with(Fault::half_gate, GateMode::frozen) == "");  // there is no LoRA to forget
    CHECK(with(Fault::no_gate) == "");
    CHECK(with(Fault::no_gate, GateMode::lora).find("does without it") != std::string::npos);
    CHECK(with(Fault::unnamed).find("a name of its own") != std::string::npos);
    CHECK(with(Fault::twice).find("a name of its own") != std::string::npos);
    CHECK(with(Fault::experts).find("9 experts") != std::string::npos);
    auto spec = registered_spec("biased");
    spec.options = "temprature=2";
    CHECK(refusal_of_attach(spec).find("did you mean `temperature`?") != std::string::npos);
}
