// One hash of all trained weights: equal for any number of threads, any way of cutting a step into
// micro-batches, activations kept or recomputed, and run to run; another one as soon as the order of a sum
// changes.

#include <doctest/doctest.h>

#include <moegrad/data/order.hpp>
#include <moegrad/train/adapter_files.hpp>

#include "support/model_small.hpp"

#include <moegrad/methods/builtin_routers.hpp>

using namespace moegrad;
using namespace moegrad::test;

namespace {

/// What is changed on purpose: the samples of a step in another order. The mathematics stays the same.
enum class Plant { none, reversed_samples, swapped_neighbours };

struct Way {
    int threads = 1;
    Index micro_batch = 8;
    Activations activations = Activations::kept;
    Plant plant = Plant::none;
};

struct Outcome {
    std::uint64_t hash = 0;
    double first_loss = 0, last_loss = 0;
    Index clipped = 0;
    double penalties = 0;
    std::vector<double> losses;
};

/// One training run to repeat in many ways: `prepare` makes the model trainable.
struct Study {
    ModelConfig config;
    void (*prepare)(Decoder<float>&);
    Index steps = 50;
    Index longest = 33;
};

std::vector<std::int32_t> planted(std::vector<std::int32_t> picks, Plant plant) {
    if (plant == Plant::reversed_samples) std::reverse(picks.begin(), picks.end());
    if (plant == Plant::swapped_neighbours) std::swap(picks[2], picks[3]);
    return picks;
}

Outcome run(const Study& study, const Way& way) {
    const auto model = small_model<float>(study.config);
    study.prepare(*model);
    model->activations = way.activations;
    Context context({.device = Device::cpu, .threads = way.threads, .fill = Arena::Fill::poison});
    const auto data = ragged_samples(20, study.config.vocab_size, 3, study.longest);
    Trainer<float> trainer(
        context, *model, {"balance", "z"},
        {.adamw = {.weight_decay = 0.01}, .clip = 0.5, .micro_batch = way.micro_batch, .seed = 3});
    SampleOrder order(20, 8, 9);
    Outcome outcome;
    for (Index n = 0; n < study.steps; ++n) {
        const auto report =
            trainer.step(data, planted(order.step(n), way.plant), 5e-3, {{"balance", 0.05}, {"z", 0.01}});
        outcome.losses.push_back(report.cross_entropy);
        outcome.clipped += report.gradient_norm > 0.5;
        for (const auto& [name, value] : report.penalties) outcome.penalties += value;
    }
    outcome.first_loss = outcome.losses.front();
    outcome.last_loss = outcome.losses.back();
    outcome.hash = hash_of(trainer.parameters());
    return outcome;
}

void check_way(const Study& study, const Way& way, const Outcome& want) {
    CAPTURE(way.threads);
    CAPTURE(way.micro_batch);
    CAPTURE(way.activations == Activations::recomputed);
    const Outcome got = run(study, way);
    CHECK(got.hash == want.hash);
    CHECK(got.losses == want.losses);
}

/// Threads 1 to 4 x micro-batches of 8, 4, 2 and 1 samples x kept and recomputed; twice the same; two plants.
void check_all_ways(const Study& study) {
    const Outcome want = run(study, {});
    CHECK(want.last_loss < want.first_loss - 0.1);
    CHECK(want.clipped > 0);
    for (int threads = 1; threads <= 4; ++threads) {
        for (Index micro_batch : {8, 4, 2, 1}) {
            // Every thread count and every cut meets both kinds of activations, in half of the combinations.
            const bool recomputed = (threads + (micro_batch == 4 || micro_batch == 1)) % 2 == 0;
            check_way(study, {threads, micro_batch, recomputed ? Activations::recomputed : Activations::kept},
                      want);
        }
    }
    for (const Plant plant : {Plant::reversed_samples, Plant::swapped_neighbours}) {
        const Outcome other = run(study, {.threads = 2, .plant = plant});
        CHECK(other.hash != want.hash);
        CHECK(std::abs(other.losses[1] - want.losses[1]) < 1e-4);  // a reordering, not another computation
    }
}

AdapterSpec everything_on(Method method) {
    AdapterSpec spec;
    spec.method = method;
    spec.lora = {.rank = 4, .alpha = 8, .dropout = 0.05};
    spec.z_loss = true;
    spec.balance = BalanceLoss::switch_share;
    spec.seed = 21;
    return spec;
}

AdapterSpec adamoe(GateMode gate) {
    AdapterSpec spec = everything_on(Method::adamoe);
    spec.gate = gate;
    spec.null_experts = 4;
    spec.top_k = 3;
    spec.balance = BalanceLoss::adamoe_eq6;
    return spec;
}

}  // namespace

TEST_CASE("determinism: AdaMoE, gate trained in full") {
    check_all_ways(
        {small_config(ModelFamily::mixtral), [](Decoder<float>& m) { attach(m, adamoe(GateMode::full)); }});
}

TEST_CASE("determinism: AdaMoE, gate with LoRA") {
    check_all_ways(
        {small_config(ModelFamily::mixtral), [](Decoder<float>& m) { attach(m, adamoe(GateMode::lora)); }});
}

TEST_CASE("determinism: Mixture of Routers") {
    check_all_ways({small_config(ModelFamily::mixtral), [](Decoder<float>& m) {
                        AdapterSpec spec = everything_on(Method::mor);
                        spec.gate = GateMode::full;
                        attach(m, spec);
                    }});
}

TEST_CASE("determinism: second experts dropped at random") {
    check_all_ways({small_config(ModelFamily::mixtral), [](Decoder<float>& m) {
                        AdapterSpec spec = everything_on(Method::registered);
                        spec.set_method("random_drop");
                        spec.options = "load=1.4";
                        spec.gate = GateMode::full;
                        attach(m, spec);
                    }});
}

TEST_CASE("determinism: Mo-LoRA with null experts on a dense model") {
    check_all_ways({small_config(ModelFamily::llama), [](Decoder<float>& m) {
                        AdapterSpec spec = adamoe(GateMode::by_method);
                        spec.targets = {"attention", "mlp"};
                        attach(m, spec);
                    }});
}

TEST_CASE("determinism: pretraining, everything trainable, tied embeddings") {
    ModelConfig config = small_config(ModelFamily::mixtral);
    config.tie_word_embeddings = true;
    check_all_ways({config, [](Decoder<float>& m) {
                        for (auto* parameter : m.base_parameters()) parameter->set_trainable(true);
                    }});
}

TEST_CASE("determinism: products large enough that every thread takes a share") {
    ModelConfig config = small_config(ModelFamily::mixtral, 96, 160);
    config.vocab_size = 300;
    check_all_ways({config, [](Decoder<float>& m) { attach(m, adamoe(GateMode::full)); }, 4, 90});
}

TEST_CASE("determinism: gradients of micro-batches that are added afterwards have other bits") {
    // What a trainer would do that keeps a gradient per micro-batch. One chain through all micro-batches
    // equals the chain through the whole step; two chains that are added do not.
    const auto model = small_model<float>(small_config(ModelFamily::llama));
    for (auto* parameter : model->base_parameters()) parameter->set_trainable(true);
    const auto parameters = trainable_parameters(*model);
    const auto data = ragged_samples(8, 48);
    Context context({.device = Device::cpu, .threads = 1});
    const auto run_on = [&](std::vector<std::int32_t> picks) {
        const Batch batch = make_batch(data, picks);
        Tape tape(context);
        Forward<float> forward{tape, batch.token, batch.segments};
        const auto nll = model->loss(forward, model->hidden(forward), batch.target);
        seed(tape, nll, 0);
        tape.backward();
    };
    const auto gradients = [&] {
        std::vector<float> all;
        for (const auto* parameter : parameters) {
            const auto total = total_gradient(*parameter);
            all.insert(all.end(), total.values().begin(), total.values().end());
        }
        for (auto* parameter : parameters) parameter->forget_gradients();
        return all;
    };
    run_on({0, 1, 2, 3, 4, 5, 6, 7});
    const auto whole = gradients();
    run_on({0, 1, 2, 3});
    run_on({4, 5, 6, 7});
    CHECK(gradients() == whole);
    run_on({0, 1, 2, 3});
    auto apart = gradients();
    run_on({4, 5, 6, 7});
    const auto second = gradients();
    for (std::size_t i = 0; i < apart.size(); ++i) apart[i] += second[i];
    CHECK(apart != whole);
}
