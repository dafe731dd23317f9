// MixLoRA: identity at the start, reductions, the fast path against a plain loop, the loss, parameter counts.

#include <moegrad/methods/mix_lora.hpp>

#include "support/registered_routers.hpp"
#include "support/routing_models.hpp"

#include <doctest/doctest.h>

using namespace moegrad;

namespace {

AdapterSpec mix_lora_spec(const std::string& options = "", Index r = 3) {
    AdapterSpec spec;
    spec.set_method("mixlora");
    spec.options = options;
    spec.targets = {"attention"};
    spec.lora = {.rank = r, .alpha = 2.0 * static_cast<double>(r)};
    spec.seed = 9;
    return spec;
}

const auto mix_lora_batch = [] { return test::random_tokens({20, 9}, 40, 3); };

/// Of the names that have `part` and not `without`.
Index mix_lora_count(const AdapterSpec& spec, const std::string& without = "nothing") {
    const Planning planning;
    Llama<float> model(test::llama_2_7b_layers());
    attach(model, spec);
    Index count = 0;
    for (auto* parameter : trainable_parameters(model)) {
        if (parameter->name().find(without) == std::string::npos) count += parameter->size();
    }
    return count;
}

double mix_lora_silu(double z) {
    return z / (1 + std::exp(-z));
}

/// y [O] of a Linear with expert e's LoRA, s = 2.
std::vector<double> mix_lora_linear(const Tensor<double>& w, const LoraParameters<double>& lora, Index e,
                                    const std::vector<double>& x) {
    const auto A = lora.A.value().view<3>(), B = lora.B.value().view<3>();
    std::vector<double> y(static_cast<std::size_t>(w.extent(0)));
    for (Index o = 0; o < w.extent(0); ++o) {
        double& sum = y[static_cast<std::size_t>(o)];
        for (Index d = 0; d < w.extent(1); ++d) sum += w.matrix()(o, d) * x[static_cast<std::size_t>(d)];
        for (Index r = 0; r < A.extent(1); ++r) {
            for (Index d = 0; d < w.extent(1); ++d) {
                sum += 2 * B(e, o, r) * A(e, r, d) * x[static_cast<std::size_t>(d)];
            }
        }
    }
    return y;
}

}  // namespace

TEST_CASE("mixlora acceptance: the start is the base, whatever the experts and the top_k") {
    const auto batch = mix_lora_batch();
    auto base = test::tiny_llama<double>();
    const auto want = test::model_logits(base, batch);
    for (const char* options :
         {"", "experts=1, top_k=1", "experts=4, top_k=4", "deviation=1", "router=biased, temperature=2"}) {
        CAPTURE(options);
        auto model = test::tiny_llama<double>();
        attach(model, mix_lora_spec(options));
        CHECK(test::largest_difference(test::model_logits(model, batch), want) <= 1e-12);
        test::disturb(model, 0.1, 1);
        CHECK(test::largest_difference(test::model_logits(model, batch), want) > 1e-3);
    }
}

TEST_CASE("mixlora acceptance: one expert is LoRA on the feed-forward") {
    auto mixture = test::tiny_llama<double>(), plain = test::tiny_llama<double>();
    attach(mixture, mix_lora_spec("experts=1, top_k=1"));
    auto spec = mix_lora_spec();
    spec.set_method("lora");
    spec.options = "";
    spec.targets = {"attention", "mlp"};
    attach(plain, spec);
    test::disturb(plain, 0.1, 4);
    const auto lasting = trainable_parameters(plain);
    for (auto* to : trainable_parameters(mixture)) {
        std::string name = to->name();
        if (const auto at = name.find("mixlora."); at != std::string::npos) name.erase(at, 8);
        for (auto* from : lasting) {
            if (from->name() == name) std::copy_n(from->value().data(), to->size(), to->value().data());
        }
    }
    const auto batch = mix_lora_batch();
    CHECK(test::largest_difference(test::model_logits(mixture, batch), test::model_logits(plain, batch)) <=
          1e-12);
    test::Objective(mixture, batch, 0).backward();
    test::Objective(plain, batch, 0).backward();
    for (const char* part : {"gate_proj.lora_A", "up_proj.lora_B", "down_proj.lora_A"}) {
        const auto a =
            total_gradient(test::parameter_named(mixture, format("0.mlp.mixlora.{}.weight", part)));
        const auto b = total_gradient(test::parameter_named(plain, format("0.mlp.{}.weight", part)));
        CHECK(test::largest_difference(a.reshape(b.shape()), b) <= 1e-12);
    }
}

TEST_CASE("mixlora acceptance: the fast path is the sum over experts of the whole feed-forward each") {
    const Index D = 6, F = 5, E = 4, K = 2, T = 9;
    const auto batch = test::random_batch<double>(D, {T}, 2);
    FeedForward<double> dense("mlp", D, F);
    std::uint64_t stream = 0;
    for (auto* linear : {&dense.gate, &dense.up, &dense.down})
        fill_normal(linear->weight.value(), 0.5, 3, ++stream);
    const auto lora = [&](const Linear<double>& linear) {
        const Shape& W = linear.weight.shape();
        LoraParameters<double> one(linear.path(), E, W[0], W[1], {.rank = 2, .alpha = 4}, 1, 1);
        fill_normal(one.A.value(), 0.5, 3, ++stream);
        fill_normal(one.B.value(), 0.5, 3, ++stream);
        return one;
    };
    const MixLoraExperts<double>::Adapters adapters{lora(dense.gate), lora(dense.up), lora(dense.down)};
    MixLoraExperts<double> set(dense, adapters);
    auto expert = Tensor<std::int32_t>::zeros({T, K});
    const auto weight = test::random_batch<double>(K, {T}, 4).x;
    for (Index i = 0; i < T * K; ++i) {
        expert.data()[i] = static_cast<std::int32_t>(i % 5 == 4 ? -1 : (i + i / 3) % E);
    }
    Tape tape(test::routing_context(), Mode::inference);
    const Tensor<std::int32_t> no_tokens;
    Forward<double> forward{tape, no_tokens, batch.segments};
    const auto y = set.forward(forward, Var<double>(batch.x), expert, Var<double>(weight)).value();
    for (Index t = 0; t < T; ++t) {
        std::vector<double> want(static_cast<std::size_t>(D)), x(static_cast<std::size_t>(D));
        std::copy_n(batch.x.data() + t * D, D, x.data());
        for (Index k = 0; k < K; ++k) {
            const Index e = expert.data()[t * K + k];
            if (e < 0) continue;
            auto h = mix_lora_linear(dense.gate.weight.value(), adapters.gate, e, x);
            const auto v = mix_lora_linear(dense.up.weight.value(), adapters.up, e, x);
            for (std::size_t f = 0; f < h.size(); ++f) h[f] = mix_lora_silu(h[f]) * v[f];
            const auto out = mix_lora_linear(dense.down.weight.value(), adapters.down, e, h);
            for (std::size_t d = 0; d < want.size(); ++d) want[d] += weight.matrix()(t, k) * out[d];
        }
        for (Index d = 0; d < D; ++d) {
            CHECK(y.matrix()(t, d) == doctest::Approx(want[static_cast<std::size_t>(d)]).epsilon(1e-12));
        }
    }
}

TEST_CASE("mixlora: gradients on a Llama against central differences, the balance loss included") {
    for (const char* options :
         {"experts=4", "experts=3, top_k=1", "experts=4, router=biased, temperature=2"}) {
        CAPTURE(options);
        auto model = test::tiny_llama<double>();
        attach(model, mix_lora_spec(options, 2));
        test::disturb(model, 0.1, 6);
        CHECK(test::Objective(model, test::random_tokens({9, 4}, 40, 7), 0.3).worst(7) <= 1);
    }
}

TEST_CASE("mixlora golden: a uniform router has the balance value k, with the code's coefficient") {
    auto model = test::tiny_llama<double>();
    attach(model, mix_lora_spec());
    for (auto& layer : model.layers()) {
        for (auto* parameter : layer.branches.front().router.parameters()) {
            std::fill_n(parameter->value().data(), parameter->size(), 0.0);
        }
        const auto usual = layer.branches.front().router.coefficients();
        CHECK(usual == std::vector<PenaltyCoefficient>{{"balance", 0.001}});
    }
    const auto batch = mix_lora_batch();
    Tape tape(test::routing_context(), Mode::inference);
    Forward<double> forward{tape, batch.token, batch.segments};
    model.hidden(forward);
    REQUIRE(forward.routings.size() == 2);
    for (const auto& record : forward.routings) {
        REQUIRE(record.routing.penalties.size() == 1);
        // Section 14 of the reference: uniform router -> k in slot form.
        for (double value : record.routing.penalties.front().value.value().values()) {
            CHECK(value == doctest::Approx(2).epsilon(1e-12));
        }
    }
}

TEST_CASE("mixlora golden: parameters on Llama-2-7B, section 5 of the reference") {
    const auto millions = [](Index count) { return std::round(static_cast<double>(count) / 1e5) / 10; };
    CHECK(millions(mix_lora_count(mix_lora_spec("", 16))) == 203.4);
    auto lora = mix_lora_spec("", 80);
    lora.set_method("lora");
    lora.targets = {"attention", "mlp"};
    CHECK(millions(mix_lora_count(lora)) == 199.9);
    // The reference counts MoLA without its routers.
    auto mola = lora;
    mola.set_method("molora");
    mola.lora.rank = 10;
    mola.experts = 8;
    CHECK(mix_lora_count(mola, ".router.") == mix_lora_count(lora));
}

TEST_CASE("mixlora: a feed-forward of experts, and LoRA of its own on a feed-forward, are refused") {
    auto mixtral = test::tiny_mixtral<double>();
    CHECK_THROWS_WITH_AS(attach(mixtral, mix_lora_spec()), doctest::Contains("a dense model for mixlora"),
                         Error);
    auto llama = test::tiny_llama<double>();
    auto spec = mix_lora_spec();
    spec.targets = {"attention", "up_proj"};
    CHECK_THROWS_WITH_AS(attach(llama, spec), doctest::Contains("a Linear of the feed-forward"), Error);
}
