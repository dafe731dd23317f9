#include <moegrad/data/order.hpp>
#include <moegrad/methods/adapter_tensors.hpp>
#include <moegrad/train/trainer.hpp>

#include <limits>

#include "io/support.hpp"
#include "support/model_small.hpp"

using namespace moegrad;
using namespace moegrad::test;
using io_test::expect_error;

namespace {

const ModelConfig kStepMixtral = small_config(ModelFamily::mixtral);
const ModelConfig kStepLlama = small_config(ModelFamily::llama);
const std::vector<std::int32_t> kPicks{0, 1, 2, 3, 4, 5, 6, 7};

AdapterSpec spec_of(Method method, double dropout = 0) {
    AdapterSpec spec;
    spec.method = method;
    spec.lora = {.rank = 4, .alpha = 8, .dropout = dropout};
    spec.gate = GateMode::full;
    spec.z_loss = true;
    return spec;
}

/// A model with its trainer.
template <class Real>
struct Run {
    std::unique_ptr<Decoder<Real>> model;
    Context context;
    Trainer<Real> trainer;

    Run(const ModelConfig& config, const AdapterSpec& spec, const TrainerOptions& options, int threads = 1)
        : model(attached(config, spec)),
          context({.device = Device::cpu, .threads = threads, .fill = Arena::Fill::poison}),
          trainer(context, *model, {"balance", "z"}, options) {}

    static std::unique_ptr<Decoder<Real>> attached(const ModelConfig& config, const AdapterSpec& spec) {
        auto model = small_model<Real>(config);
        for (auto* parameter : model->base_parameters()) parameter->set_trainable(true);
        attach(*model, spec);  // freezes them
        return model;
    }
    Parameter<Real>& parameter(const std::string& name) {
        for (auto* candidate : trainer.parameters()) {
            if (candidate->name() == name) return *candidate;
        }
        throw Error{ErrorCode::state, name, "a trainable parameter", "none"};
    }
};

}  // namespace

TEST_CASE("trainer: the loss goes down") {
    for (const Method method : {Method::lora, Method::adamoe, Method::mor}) {
        CAPTURE(name(method));
        Run<float> run(kStepMixtral, spec_of(method), {});
        const auto data = ragged_samples(24, 48);
        const double before = run.trainer.evaluate(data);
        SampleOrder order(24, 8, 1);
        for (Index n = 0; n < 60; ++n) run.trainer.step(data, order.step(n), 1e-2, {{"balance", 0.01}});
        CHECK(run.trainer.evaluate(data) < before - 1);
        CHECK(run.trainer.steps_done() == 60);
    }
}

TEST_CASE("trainer: gradients are those of cross entropy plus weighted penalties, whatever the cut") {
    // The objective by finite differences in double; micro-batches of 3, 3 and 2 samples.
    const std::map<std::string, double> coefficients{{"balance", 0.3}, {"z", 0.2}};
    Run<double> run(kStepMixtral, spec_of(Method::adamoe), {.clip = 0, .micro_batch = 3});
    const auto data = ragged_samples(8, 48);
    for (Index n = 0; n < 3; ++n)
        run.trainer.step(data, kPicks, 1e-2, coefficients);  // leaves B = 0 and the ties
    const auto objective = [&] {
        const auto report = run.trainer.step(data, kPicks, 0, coefficients);
        return report.cross_entropy + 0.3 * report.penalties.at("balance") + 0.2 * report.penalties.at("z");
    };
    objective();
    std::map<std::string, Tensor<double>> gradients;
    for (auto* parameter : run.trainer.parameters())
        gradients[parameter->name()] = total_gradient(*parameter);
    for (auto* parameter : run.trainer.parameters()) {
        CAPTURE(parameter->name());
        for (const Index i : {Index{0}, parameter->size() / 2, parameter->size() - 1}) {
            double& weight = parameter->value().values()[static_cast<std::size_t>(i)];
            const double kept = weight;
            weight = kept + 1e-5;
            const double above = objective();
            weight = kept - 1e-5;
            const double below = objective();
            weight = kept;
            const double got = gradients.at(parameter->name()).values()[static_cast<std::size_t>(i)];
            CHECK(got == doctest::Approx((above - below) / 2e-5).epsilon(1e-5).scale(1e-3));
        }
    }
}

TEST_CASE("trainer: what a step reports does not depend on the cut") {
    const auto data = ragged_samples(8, 48);
    const auto report_of = [&](Index micro_batch) {
        AdapterSpec spec = spec_of(Method::mor, 0.05);
        spec.balance = BalanceLoss::switch_share;
        Run<float> run(kStepMixtral, spec, {.micro_batch = micro_batch});
        const auto first = run.trainer.step(data, kPicks, 1e-2, {{"z", 0.1}, {"balance", 0.1}});
        CHECK(first.traces.at("main_entropy") ==
              doctest::Approx(std::log(2.0)));  // two sub-routers of equal weight
        run.trainer.step(data, kPicks, 1e-2, {{"z", 0.1}, {"balance", 0.1}});
        return run.trainer.step(data, kPicks, 1e-2, {{"z", 0.1}, {"balance", 0.1}});
    };
    const auto whole = report_of(8);
    CHECK(whole.traces.at("main_entropy") < std::log(2.0));
    CHECK(whole.penalties.at("z") > 0);
    CHECK(whole.penalties.at("balance") >
          1.5);  // about 1 per layer: a mean over sequences, summed over two layers
    CHECK(whole.penalties.at("balance") < 4);
    CHECK(whole.routers.size() == 2);
    CHECK(whole.load() == 2);
    for (const Index micro_batch : {1, 3, 4}) {
        const auto cut = report_of(micro_batch);
        CHECK(cut.cross_entropy == whole.cross_entropy);
        CHECK(cut.gradient_norm == whole.gradient_norm);
        CHECK(cut.penalties == whole.penalties);
        CHECK(cut.traces == whole.traces);
        CHECK(cut.supervised == whole.supervised);
        CHECK(cut.routers.begin()->second.slots() == whole.routers.begin()->second.slots());
    }
}

TEST_CASE("trainer: a weight that is not a number stops the step, is named, and nothing moves") {
    const auto data = ragged_samples(8, 48);
    const std::string layer = "model.layers.1.";
    for (const auto& name : {layer + "self_attn.v_proj.lora_B.weight", layer + "mlp.gate.weight",
                             layer + "mlp.experts.lora_A.weight"}) {
        CAPTURE(name);
        Run<float> run(kStepMixtral, spec_of(Method::lora), {});
        for (Index n = 0; n < 2; ++n) run.trainer.step(data, kPicks, 1e-2);
        run.parameter(name).value().values()[5] = std::numeric_limits<float>::quiet_NaN();
        const auto before = hash_of(run.trainer.parameters());
        expect_error(ErrorCode::value, name, [&] { run.trainer.step(data, kPicks, 1e-2); });
        CHECK(hash_of(run.trainer.parameters()) == before);
        CHECK(run.trainer.steps_done() == 2);
        // And the run can go on once the weight is a number again, as if nothing had been tried.
        run.parameter(name).value().values()[5] = 0;
        CHECK(std::isfinite(run.trainer.step(data, kPicks, 1e-2).gradient_norm));
    }
}

TEST_CASE("trainer: a frozen weight that is not a number is named as well; an overflow names its gradient") {
    const auto data = ragged_samples(8, 48);
    Run<float> run(kStepLlama,
                   [] {
                       AdapterSpec spec = spec_of(Method::lora);
                       spec.gate = GateMode::by_method;
                       spec.targets = {"attention"};
                       return spec;
                   }(),
                   {});
    auto& norm = run.model->layers()[0].post_norm.weight;
    norm.value().values()[2] = std::numeric_limits<float>::infinity();
    expect_error(ErrorCode::value, norm.name(), [&] { run.trainer.step(data, kPicks, 1e-2); });
    norm.value().values()[2] = 3e38f;
    const auto before = hash_of(run.trainer.parameters());
    expect_error(ErrorCode::value, "step 0", [&] { run.trainer.step(data, kPicks, 1e-2); });
    CHECK(hash_of(run.trainer.parameters()) == before);
}

TEST_CASE("trainer: data and settings that cannot be trained on are errors that say which") {
    auto data = ragged_samples(8, 48);
    Run<float> run(kStepMixtral, spec_of(Method::lora), {});
    std::fill(data[3].target.begin(), data[3].target.end(), kIgnoreTarget);
    expect_error(ErrorCode::data, "sample 3", [&] { run.trainer.step(data, kPicks, 1e-2); });
    expect_error(ErrorCode::data, "at least one sample",
                 [&] { run.trainer.step(data, MicroBatches{}, 1e-2); });
    data = ragged_samples(8, 48);
    expect_error(ErrorCode::config, "balence", [&] {
        run.trainer.step(data, kPicks, 1e-2, {{"balence", 0.1}});
    });
    data[2].token[1] = 48;
    CHECK_THROWS_AS(run.trainer.step(data, kPicks, 1e-2), Error);
    CHECK(run.trainer.steps_done() == 0);
    expect_error(ErrorCode::config, "micro_batch",
                 [] { Run<float>(kStepMixtral, spec_of(Method::lora), {.micro_batch = 0}); });
    const auto frozen = small_model<float>(kStepMixtral);
    Context context({.device = Device::cpu, .threads = 1});
    expect_error(ErrorCode::config, "at least one trainable",
                 [&] { Trainer<float>(context, *frozen, {}, {}); });
}

TEST_CASE("trainer: frozen weights keep their bits for 200 steps") {
    Run<float> run(kStepMixtral,
                   [] {
                       AdapterSpec spec = spec_of(Method::adamoe, 0.05);
                       spec.gate = GateMode::lora;
                       return spec;
                   }(),
                   {.adamw = {.weight_decay = 0.1}});
    const auto frozen = [&] {
        auto all = run.model->base_parameters();
        for (auto& layer : run.model->layers()) {
            all.push_back(layer.moe[0].router.get<NullExpertRouter<float>>()->gate2.weight.get());
        }
        return all;
    };
    const auto base = hash_of(frozen());
    const auto before = values_of(run.trainer.parameters());
    const auto data = ragged_samples(24, 48);
    SampleOrder order(24, 8, 1);
    for (Index n = 0; n < 200; ++n) run.trainer.step(data, order.step(n), 1e-2, {{"balance", 0.01}});
    CHECK(hash_of(frozen()) == base);
    for (const auto* parameter : frozen()) CHECK(parameter->gradients().empty());
    const auto after = values_of(run.trainer.parameters());
    std::size_t moved = 0;
    for (std::size_t i = 0; i < after.size(); ++i) moved += after[i] != before[i];
    CHECK(moved == after.size());
}

TEST_CASE("trainer: clipping begins above the largest norm, not at it") {
    const auto data = ragged_samples(8, 48);
    const auto moments_at = [&](double clip) {
        Run<double> run(kStepMixtral, spec_of(Method::lora), {.clip = clip});
        const auto report = run.trainer.step(data, kPicks, 1e-2);
        std::vector<double> all{report.gradient_norm};
        for (auto* parameter : run.trainer.parameters()) {
            const auto m = parameter->first_moment().values();
            all.insert(all.end(), m.begin(), m.end());
        }
        return all;
    };
    const auto free = moments_at(0);
    const double norm = free[0];
    CHECK(moments_at(norm) == free);  // the norm reported is that before clipping
    CHECK(moments_at(norm * (1 + 1e-9)) == free);
    auto half = moments_at(norm / 2);
    for (std::size_t i = 1; i < half.size(); ++i) half[i] *= 2;
    CHECK(half == free);
    CHECK(moments_at(norm * (1 - 1e-12)) != free);
}

TEST_CASE("trainer: evaluation drops nothing and adds no penalty") {
    const auto data = ragged_samples(8, 48);
    Run<float> run(kStepMixtral, spec_of(Method::adamoe, 0.5), {});
    for (Index n = 0; n < 5; ++n)
        run.trainer.step(data, kPicks, 1e-2, {{"balance", 1}});  // B is zero at first
    std::map<std::string, RoutingTotals> routers;
    const double nll = run.trainer.evaluate(data, &routers);
    CHECK(routers.size() == 2);
    const auto in_training = [&] {
        return run.trainer.step(data, kPicks, 0, {{"balance", 1}}).cross_entropy;
    };
    CHECK(std::abs(in_training() - nll) > 1e-3);
    clear_dropout(*run.model);
    CHECK(run.trainer.evaluate(data) == nll);
    // One sample after another here, eight in a batch there: the same bits of every token.
    CHECK(in_training() == doctest::Approx(nll).epsilon(1e-12));
}

TEST_CASE("trainer: a warm loop asks for no memory and keeps none") {
    for (const auto activations : {Activations::kept, Activations::recomputed}) {
        Run<float> run(kStepMixtral, spec_of(Method::adamoe, 0.05), {.micro_batch = 4}, 2);
        run.model->activations = activations;
        const auto data = ragged_samples(8, 48);
        for (Index n = 0; n < 2; ++n) run.trainer.step(data, kPicks, 1e-3, {{"balance", 0.01}});
        auto& arena = run.context.arena();
        const auto peak = arena.peak();
        const int asked = arena.system_allocations();
        CHECK(peak > 0);
        CHECK(asked == 1);
        for (Index n = 0; n < 5; ++n) {
            run.trainer.step(data, kPicks, 1e-3, {{"balance", 0.01}});
            CHECK(arena.in_use() == 0);
            CHECK(arena.peak() == peak);
            CHECK(arena.system_allocations() == asked);
        }
    }
}

TEST_CASE("trainer: recomputing activations needs less step memory") {
    ModelConfig config = kStepMixtral;
    config.num_hidden_layers = 6;
    const auto data = ragged_samples(8, 48);
    const auto peak = [&](Activations activations) {
        Run<float> run(config, spec_of(Method::lora), {});
        run.model->activations = activations;
        run.trainer.step(data, kPicks, 1e-3);
        return run.context.arena().peak();
    };
    CHECK(peak(Activations::recomputed) * 2 < peak(Activations::kept));
}
