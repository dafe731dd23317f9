// FactorLLM: slices that are the dense block, what reaches the router, labels and penalties, sizes, splits.

#include "io/support.hpp"
#include "support/routing_models.hpp"

#include <moegrad/methods/factor_llm.hpp>
#include <moegrad/train/adapter_files.hpp>
#include <moegrad/train/trainable_table.hpp>
#include <moegrad/train/trainer.hpp>

#include <doctest/doctest.h>

using namespace moegrad;

namespace {

AdapterSpec factor_spec(const std::string& options, Index top_k = 0) {
    AdapterSpec spec;
    spec.set_method("factor_llm");
    spec.options = options;
    spec.targets.clear();
    spec.top_k = top_k;
    spec.seed = 9;
    return spec;
}

template <class Real>
Parameter<Real>& factor_router_weight(Decoder<Real>& model) {
    return test::parameter_named(model, "0.mlp.factor.router.weight");
}

template <class Real>
double factor_largest(const Parameter<Real>& parameter) {
    double most = 0;
    const auto gradient = total_gradient(parameter);
    for (const Real value : gradient.values()) most = std::max(most, std::abs(static_cast<double>(value)));
    return most;
}

/// Gradients of 1 x every penalty "pa", and of nothing else.
void factor_prior_backward(Decoder<double>& model, const test::TokenBatch& batch) {
    for (auto* parameter : trainable_parameters(model)) parameter->forget_gradients();
    test::routing_context().scalars().coefficient[0] = 0;
    test::routing_context().scalars().coefficient[1] = 1;
    Tape tape(test::routing_context());
    const std::vector<std::string> names{"pa"};
    Forward<double> forward{tape, batch.token, batch.segments, {}, &names};
    const auto nll = model.loss(forward, model.hidden(forward), batch.target);
    seed(tape, nll, 0);
    seed_penalties(forward);
    tape.backward();
}

/// A slice's output for one row, from the stacks, in plain loops.
std::vector<double> factor_slice(const Experts<double>& slices, Index e, const double* x) {
    const Index D = slices.gate_up.shape()[2], F = slices.width();
    std::vector<double> y(static_cast<std::size_t>(D));
    for (Index f = 0; f < F; ++f) {
        double gate = 0, up = 0;
        for (Index d = 0; d < D; ++d) {
            gate += slices.gate_up.value().slice(e).matrix()(f, d) * x[d];
            up += slices.gate_up.value().slice(e).matrix()(F + f, d) * x[d];
        }
        const double h = gate / (1 + std::exp(-gate)) * up;
        for (Index d = 0; d < D; ++d) {
            y[static_cast<std::size_t>(d)] += h * slices.down.value().slice(e).matrix()(d, f);
        }
    }
    return y;
}

}  // namespace

TEST_CASE("factor_llm golden: trainable sizes of TinyLlama-1.1B with four slices") {
    const Planning planning;
    auto config = family_defaults(ModelFamily::llama);
    config.hidden_size = 2048;
    config.intermediate_size = 5632;
    config.num_hidden_layers = 22;
    config.num_attention_heads = 32;
    config.num_key_value_heads = 4;
    config.head_dim = 64;
    config.vocab_size = 32000;
    Llama<float> model(config);
    attach(model, factor_spec(""));
    Index slices = 0, routers = 0;
    for (const auto* p : trainable_parameters(model)) {
        (p->name().find(".factor.router.") != std::string::npos ? routers : slices) += p->size();
    }
    CHECK(slices == 761266176);
    CHECK(routers == 180312);
    CHECK(count_trainable(model).trained == slices + routers);
}

TEST_CASE("factor_llm: with k = E the dense model, whatever permutation cuts it") {
    const auto batch = test::random_tokens({20, 9}, 40, 3);
    auto base = test::tiny_llama<double>();
    const auto want = test::model_logits(base, batch);
    for (const char* split : {"contiguous", "random", "kmeans"}) {
        for (const char* gate : {"hard", "straight_through"}) {
            for (const Index E : {1, 3, 4, 12}) {
                auto model = test::tiny_llama<double>();
                attach(model, factor_spec(format("experts={}, split={}, gate={}", E, split, gate), E));
                CHECK(test::largest_difference(test::model_logits(model, batch), want) <= 1e-11);
            }
        }
    }
    auto model = test::tiny_llama<double>();
    attach(model, factor_spec("experts=4"));  // half of it is another model
    CHECK(test::largest_difference(test::model_logits(model, batch), want) > 1e-2);
}

TEST_CASE("factor_llm: where the router knows nothing, all gates give the mass of the dense block") {
    const auto batch = test::random_tokens({20, 9}, 40, 3);
    for (const Index K : {1, 2, 4}) {
        std::vector<Tensor<double>> logits;
        for (const char* gate : {"hard", "straight_through", "weighted"}) {
            auto model = test::tiny_llama<double>();
            attach(model, factor_spec(format("gate={}", gate), K));
            for (auto& layer : model.layers()) {
                for (double& value : layer.branches[0].router.parameters()[0]->value().values()) value = 0;
            }
            logits.push_back(test::model_logits(model, batch));
        }
        CHECK(test::largest_difference(logits[1], logits[0]) == 0);
        CHECK(test::largest_difference(logits[2], logits[0]) <= 1e-11);
    }
}

TEST_CASE("factor_llm: with the cross entropy alone a hard gate's router gradient is exactly 0") {
    for (const char* gate : {"hard", "straight_through", "weighted"}) {
        auto model = test::tiny_llama<double>();
        attach(model, factor_spec(format("pa=false, gate={}", gate)));
        test::Objective(model, test::random_tokens({20}, 40, 5), 0).backward();
        const bool hard = std::string(gate) == "hard";
        CHECK((factor_largest(factor_router_weight(model)) == 0) == hard);
        CHECK((factor_largest(test::parameter_named(model, "0.mlp.factor.router.bias")) == 0) == hard);
        CHECK(factor_largest(test::parameter_named(model, "0.mlp.factor.experts.down_proj")) > 1e-6);
    }
}

TEST_CASE("factor_llm: gradients of slices and of the weighted gate against central differences") {
    for (const char* options : {"gate=weighted", "gate=hard, split=random"}) {
        auto model = test::tiny_llama<double>();
        attach(model, factor_spec(options));
        test::disturb(model, 0.1, 6);
        CHECK(test::Objective(model, test::random_tokens({6, 3}, 40, 7), 0).worst(23) <= 1);
    }
}

TEST_CASE("factor_llm: the prior reaches the router and nothing else, kept or recomputed to the bit") {
    const auto batch = test::random_tokens({12, 7}, 40, 5);
    auto model = test::tiny_llama<double>(), again = test::tiny_llama<double>();
    for (auto* one : {&model, &again}) {
        attach(*one, factor_spec(""));
        test::disturb(*one, 0.1, 6);
    }
    again.activations = Activations::recomputed;
    factor_prior_backward(model, batch);
    factor_prior_backward(again, batch);
    // Of the last layer: penalties of a layer also reach the layers below, through x.
    CHECK(factor_largest(test::parameter_named(model, "1.mlp.factor.router.weight")) > 1e-6);
    CHECK(factor_largest(test::parameter_named(model, "1.mlp.factor.experts.down_proj")) == 0);
    CHECK(factor_largest(test::parameter_named(model, "1.mlp.factor.experts.gate_up_proj")) == 0);
    const auto mine = trainable_parameters(model), theirs = trainable_parameters(again);
    for (std::size_t i = 0; i < mine.size(); ++i) {
        CHECK(test::same_values(total_gradient(*mine[i]), total_gradient(*theirs[i])));
    }
}

TEST_CASE("factor_llm: labels, prior and confidence as the formulas say, slice by slice") {
    constexpr Index T = 9, D = 16, E = 4, K = 2;
    for (const char* label : {"slice_mse", "contribution", "best_subset"}) {
        CAPTURE(label);
        auto model = test::tiny_llama<double>();
        attach(model, factor_spec(format("label={}, confidence=true", label)));
        test::disturb(model, 0.1, 6);  // the slices no longer sum to the dense block
        auto& layer = model.layers()[0];
        auto& set = dynamic_cast<FactorSlices<double>&>(*layer.branches[0].experts);
        const auto batch = test::random_batch<double>(D, {T}, 4);
        const auto token = Tensor<std::int32_t>::zeros({T});
        const std::vector<std::string> names{"pa", "confidence"};
        Tape tape(test::routing_context(), Mode::inference);
        Forward<double> forward{tape, token, batch.segments, {}, &names};
        layer.branches[0](forward, Var<double>(batch.x));
        const auto dense = (*layer.dense)(forward, Var<double>(batch.x)).value();
        const auto& routing = forward.routings.at(0).routing;
        REQUIRE(routing.penalties.size() == 2);
        const auto router = layer.branches[0].router.parameters();
        for (Index t = 0; t < T; ++t) {
            const double* x = batch.x.data() + t * D;
            std::vector<std::vector<double>> o;
            for (Index e = 0; e < E; ++e) o.push_back(factor_slice(set.experts, e, x));
            std::uint32_t best = 0;
            double least = INFINITY;
            for (std::uint32_t mask = 0; mask < 16; ++mask) {
                if (__builtin_popcount(mask) != K) continue;
                double cost = 0;
                for (Index d = 0; d < D; ++d) {
                    double sum = 0;
                    for (std::size_t e = 0; e < 4; ++e) {
                        if ((mask >> e & 1u) == 0) continue;
                        const double y = o[e][static_cast<std::size_t>(d)],
                                     left = y - dense.matrix()(t, d) / 2;
                        sum += y;
                        if (std::string(label) == "slice_mse") cost += left * left;
                        if (std::string(label) == "contribution") cost -= y * y;
                    }
                    const double left = sum - dense.matrix()(t, d);
                    if (std::string(label) == "best_subset") cost += left * left;
                }
                if (cost < least) {
                    least = cost;
                    best = mask;
                }
            }
            double p[E], q[E], p_sum = 0, q_sum = 0, kl = 0, chosen = 0;
            for (Index e = 0; e < E; ++e) {
                double z = router[1]->value().data()[e];
                for (Index d = 0; d < D; ++d) z += router[0]->value().matrix()(e, d) * x[d];
                p_sum += p[e] = std::exp(z);
                q_sum += q[e] = std::exp(static_cast<double>(best >> e & 1u));
            }
            for (Index e = 0; e < E; ++e) kl += p[e] / p_sum * std::log(p[e] / p_sum * q_sum / q[e]);
            for (Index s = 0; s < K; ++s)
                chosen += p[routing.expert.matrix()(t, s)] / p_sum / static_cast<double>(E);
            CHECK(routing.penalties[0].value.value().data()[t] == doctest::Approx(kl).epsilon(1e-9));
            CHECK(routing.penalties[1].value.value().data()[t] == doctest::Approx(chosen).epsilon(1e-9));
        }
    }
}

TEST_CASE("factor_llm: a step moves slices and routers, the base stays; saved and loaded to the bit") {
    auto base = test::tiny_llama<float>(), model = test::tiny_llama<float>(),
         again = test::tiny_llama<float>();
    const auto spec = factor_spec("split=random, confidence=true");
    attach(model, spec);
    const auto start = test::copy_of(factor_router_weight(model).value());
    Dataset data;
    for (std::uint64_t n = 0; n < 4; ++n) {
        const auto sample = test::random_tokens({24}, 40, n);
        data.push_back(language_sample({sample.token.values().begin(), sample.token.values().end()}));
    }
    Context context({.device = Device::cpu, .threads = 1});
    Trainer<float> trainer(context, model, {"pa", "confidence"}, {});
    const std::vector<std::int32_t> picks{0, 1, 2, 3};
    trainer.step(data, picks, 1e-3, {{"pa", 0.05}, {"confidence", 0.01}});
    CHECK(!test::same_values(factor_router_weight(model).value(), start));
    const auto mine = model.base_parameters(), theirs = base.base_parameters();
    for (std::size_t i = 0; i < mine.size(); ++i)
        CHECK(test::same_values(mine[i]->value(), theirs[i]->value()));
    const io_test::TemporaryFolder folder;
    save_adapter(model, spec, folder.path());
    load_adapter(again, folder.path());
    const auto batch = test::random_tokens({20, 9}, 40, 3);
    CHECK(test::same_values(test::model_logits(again, batch), test::model_logits(model, batch)));
}

TEST_CASE("factor_llm: balanced k-means finds planted groups, and every split is one permutation") {
    constexpr Index F = 24, D = 5, E = 4;
    auto gate = Tensor<float>::zeros({F, D}), up = Tensor<float>::zeros({F, D});
    Random random(4);
    for (Index f = 0; f < F; ++f) {
        for (Index d = 0; d < D; ++d) {
            gate.data()[f * D + d] = static_cast<float>(0.1 * random.next_normal() + (f % E == d ? 5 : 0));
            up.data()[f * D + d] = static_cast<float>(0.1 * random.next_normal() + (f % E == d ? -5 : 0));
        }
    }
    for (const FactorSplit split : {FactorSplit::contiguous, FactorSplit::random, FactorSplit::kmeans}) {
        auto order = slice_permutation(split, gate, up, E, 3, 0);
        if (split == FactorSplit::kmeans) {
            for (std::size_t i = 0; i < order.size(); ++i) CHECK(order[i] % E == order[i / 6 * 6] % E);
        }
        const bool moved = !std::is_sorted(order.begin(), order.end());
        CHECK(moved == (split != FactorSplit::contiguous));
        std::sort(order.begin(), order.end());
        for (Index f = 0; f < F; ++f) CHECK(order[static_cast<std::size_t>(f)] == f);
    }
}

TEST_CASE("factor_llm: what does not fit is refused") {
    for (const char* options :
         {"experts=5", "experts=0", "gate=soft", "split=topk", "label=kl", "experts=12, label=mse"}) {
        CAPTURE(options);
        auto model = test::tiny_llama<float>();
        CHECK_THROWS_AS(attach(model, factor_spec(options)), Error);
    }
    auto model = test::tiny_llama<float>();
    CHECK_THROWS_AS(attach(model, factor_spec("", 5)), Error);
    auto adapted = test::tiny_llama<float>();
    auto spec = factor_spec("");
    spec.targets = {"mlp"};
    CHECK_THROWS_WITH_AS(attach(adapted, spec), doctest::Contains("slices train in full"), Error);
    auto mixture = test::tiny_mixtral<float>();
    CHECK_THROWS_WITH_AS(attach(mixture, factor_spec("")), doctest::Contains("a dense model"), Error);
}
