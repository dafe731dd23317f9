// (IA)3 and MoV: identity at the start, the golden numbers of PEFT, gradients, and MoV of one expert is (IA)3.

#include "support/routing_models.hpp"

#include <moegrad/methods/ia3.hpp>

#include <doctest/doctest.h>

using namespace moegrad;

namespace {

AdapterSpec ia3_spec(const std::string& method, const std::string& options = "") {
    AdapterSpec spec;
    spec.set_method(method);
    spec.options = options;
    spec.targets = *find_model_method(method)->targets;
    spec.seed = 4;
    return spec;
}

struct Ia3Run {
    Tensor<double> y, dx, dl;
};

/// y of an adapted Linear for x, and the gradients for dy.
Ia3Run run_rescaled(Linear<double>& linear, const Tensor<double>& input, const Tensor<double>& dy) {
    Tape tape(test::routing_context());
    const auto token = Tensor<std::int32_t>::zeros({input.extent(0)});
    const auto segments = Segments::of_lengths({input.extent(0)});
    Forward<double> forward{tape, token, segments};
    const auto x = tape.input(input);
    const auto y = linear(forward, x);
    copy_values(dy, y.gradient()->target().tensor);
    Ia3Run run{test::copy_of(y.value()), {}, {}};
    forward.routings.clear();
    tape.backward();
    run.dx = test::copy_of(x.gradient()->tensor());
    run.dl = test::copy_of(total_gradient(*linear.adapter->parameters().front()));
    return run;
}

void check_values(const Tensor<double>& got, std::initializer_list<double> want) {
    REQUIRE(got.size() == static_cast<Index>(want.size()));
    Index i = 0;
    for (const double value : want) CHECK(got.data()[i++] == doctest::Approx(value).epsilon(1e-14));
}

void put_values(const Tensor<double>& to, std::initializer_list<double> values) {
    std::copy(values.begin(), values.end(), to.values().begin());
}

}  // namespace

TEST_CASE("ia3 golden: PEFT 0.21.2, keys and the feed-forward's hidden") {
    // peft.IA3Config(target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"]) in float64.
    Linear<double> k("k_proj.weight", 2, 3), down("down_proj.weight", 3, 2);
    put_values(k.weight.value(), {-0.75, -0.125, 0.5, -0.5, 0.125, 0.75});
    put_values(down.weight.value(), {-0.75, 0.125, -0.625, 0.25, -0.5, 0.375});
    k.adapter = std::make_unique<Ia3<double>>(k, RescaledSide::output);
    down.adapter = std::make_unique<Ia3<double>>(down, RescaledSide::input);
    auto* lk = k.adapter->parameters().front();
    auto* ld = down.adapter->parameters().front();
    CHECK(lk->name() == "k_proj.ia3_l");
    CHECK(lk->shape() == Shape{2, 1});
    CHECK(ld->shape() == Shape{1, 2});
    put_values(lk->value(), {1.25, -0.5});
    put_values(ld->value(), {0.75, 1.5});
    const auto a = run_rescaled(k, Tensor<double>::from({2, 3}, {-0.75, 0.0, 0.75, -0.25, 0.5, -0.5}),
                                Tensor<double>::from({2, 2}, {-1.25, 0.0, 1.25, -0.25}));
    check_values(a.y, {1.171875, -0.46875, -0.15625, 0.09375});
    check_values(a.dl, {-1.328125, 0.046875});
    check_values(a.dx, {1.171875, 0.1953125, -0.78125, -1.234375, -0.1796875, 0.875});
    const auto b = run_rescaled(down, Tensor<double>::from({2, 2}, {0.5, -0.25, 1, 0.75}),
                                Tensor<double>::from({2, 3}, {-1.25, 0.0, 1.25, -0.25, 1.0, -0.5}));
    check_values(b.y, {-0.328125, -0.328125, -0.328125, -0.421875, -0.1875, 0.046875});
    check_values(b.dl, {-0.03125, -0.0546875});
    check_values(b.dx, {0.234375, 0.46875, -0.140625, 0.046875});
}

TEST_CASE("ia3, mov: the usual targets, and the first forward is the base's") {
    for (const char* method : {"ia3", "mov"}) {
        CAPTURE(method);
        const auto spec = ia3_spec(method);
        CHECK(spec.targets == std::vector<std::string>{"k_proj", "v_proj", "down_proj"});
        auto base = test::tiny_llama<double>(), model = test::tiny_llama<double>();
        attach(model, spec);
        const auto batch = test::random_tokens({5, 3}, 40, 2);
        const double bound = std::string(method) == "ia3" ? 0 : 1e-13;
        CHECK(test::largest_difference(test::model_logits<double>(base, batch),
                                       test::model_logits<double>(model, batch)) <= bound);
        CHECK(trainable_parameters(model).size() == (std::string(method) == "ia3" ? 6 : 12));
    }
}

TEST_CASE("ia3, mov: every gradient of a model against central differences") {
    for (const char* method : {"ia3", "mov"}) {
        for (const char* options : {"", "experts=3, top_k=2"}) {
            if (std::string(method) == "ia3" && options[0] != 0) continue;
            CAPTURE(method);
            CAPTURE(options);
            auto model = test::tiny_llama<double>();
            attach(model, ia3_spec(method, options));
            test::disturb(model, 0.2, 3);
            test::Objective objective(model, test::random_tokens({5, 4}, 40, 2), 0);
            CHECK(objective.worst(3) <= 1);
        }
    }
}

TEST_CASE("mov: one expert is (IA)3, and the factors are the mixture of the vectors") {
    const Index T = 3, D = 4, O = 2, E = 3;
    Linear<double> linear("v_proj.weight", O, D);
    fill_normal(linear.weight.value(), 0.5, 1, 0);
    auto x = Tensor<double>::zeros({T, D}), dy = Tensor<double>::zeros({T, O});
    fill_normal(x, 1, 2, 0);
    fill_normal(dy, 1, 3, 0);
    const auto mixed = [&](Index experts) {
        auto gate = std::make_shared<Parameter<double>>("router.gate.weight", Shape{experts, D});
        gate->set_trainable(true);
        fill_normal(gate->value(), 0.7, 4, 0);
        linear.adapter = std::make_unique<Mov<double>>(
            linear, RescaledSide::output, 0,
            TopKRouter<double>{.gate = Gate<double>(std::move(gate)), .k = experts}, 1);
        fill_normal(linear.adapter->parameters()[0]->value(), 1, 5, 0);
        return run_rescaled(linear, x, dy);
    };
    const auto one = mixed(1);
    linear.adapter = std::make_unique<Ia3<double>>(linear, RescaledSide::output);
    fill_normal(linear.adapter->parameters()[0]->value(), 1, 5, 0);
    const auto plain = run_rescaled(linear, x, dy);
    CHECK(test::largest_difference(one.y, plain.y) == 0);
    CHECK(test::largest_difference(one.dx, plain.dx) == 0);
    for (Index o = 0; o < O; ++o)
        CHECK(one.dl.data()[o] == doctest::Approx(plain.dl.data()[o]).epsilon(1e-14));

    const auto several = mixed(E);
    const auto l = linear.adapter->parameters()[0]->value().view<2>(),
               g = linear.adapter->parameters()[1]->value().view<2>();
    for (Index t = 0; t < T; ++t) {
        double p[E] = {}, sum = 0;
        for (Index e = 0; e < E; ++e) {
            double z = 0;
            for (Index d = 0; d < D; ++d) z += g(e, d) * x.view<2>()(t, d);
            sum += p[e] = std::exp(z);
        }
        for (Index o = 0; o < O; ++o) {
            double base = 0, factor = 0;
            for (Index d = 0; d < D; ++d) base += linear.weight.value().view<2>()(o, d) * x.view<2>()(t, d);
            for (Index e = 0; e < E; ++e) factor += p[e] / sum * l(o, e);
            CHECK(several.y.view<2>()(t, o) == doctest::Approx(factor * base).epsilon(1e-12));
        }
    }
}

TEST_CASE("ia3, mov: experts of a Mixtral and options that make no sense are refused") {
    auto mixtral = test::tiny_mixtral<float>();
    auto spec = ia3_spec("ia3");
    spec.targets = {"k_proj", "experts"};
    CHECK_THROWS_WITH_AS(attach(mixtral, spec), doctest::Contains("Linears for method ia3"), Error);
    for (const char* options : {"experts=0", "experts=2, top_k=3", "top_k=0"}) {
        auto llama = test::tiny_llama<float>();
        CHECK_THROWS_WITH_AS(attach(llama, ia3_spec("mov", options)), doctest::Contains("experts from 1"),
                             Error);
    }
    auto attention = test::tiny_mixtral<float>();
    spec.targets = {"k_proj", "v_proj"};
    attach(attention, spec);
    CHECK(trainable_parameters(attention).size() == 4);
}
