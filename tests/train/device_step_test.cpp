// Steps on a GPU against steps on the CPU: the same losses, the same bits every time, nothing changed by a step that is not
// finite. Without CUDA kernels (real or emulated) there is nothing to test here.

#include <doctest/doctest.h>

#include <moegrad/data/order.hpp>
#include <moegrad/train/adapter_files.hpp>
#include <moegrad/train/trainer.hpp>

#include "io/support.hpp"
#include "support/model_small.hpp"

#include <limits>

// Tests of training are one translation unit: the names below are this file's.
namespace moegrad::device_step_test {

using namespace moegrad::test;
using io_test::expect_error;

namespace {

struct Way {
    Device device = Device::cuda;
    Index micro_batch = 8;
    Activations activations = Activations::kept;
    bool graphs = true, ahead = false;
};

AdapterSpec adamoe() {
    AdapterSpec spec;
    spec.method = Method::adamoe;
    spec.lora = {.rank = 4, .alpha = 8, .dropout = 0.05};
    spec.gate = GateMode::full;
    spec.null_experts = 4;
    spec.top_k = 3;
    spec.balance = BalanceLoss::adamoe_eq6;
    spec.z_loss = true;
    spec.seed = 21;
    return spec;
}

template <class Real>
struct Bench {
    explicit Bench(const Way& way, ModelFamily family = ModelFamily::mixtral)
        : model(small_model<Real>(small_config(family))),
          context({.device = way.device, .threads = 2, .fill = Arena::Fill::poison}),
          data(ragged_samples(20, 48, 3, 33)) {
        AdapterSpec spec = adamoe();
        if (family == ModelFamily::llama) spec.targets = {"attention", "mlp"};
        attach(*model, spec);
        model->activations = way.activations;
        move_to(*model, way.device);
        trainer.emplace(context, *model, std::vector<std::string>{"balance", "z"},
                        TrainerOptions{.adamw = {.weight_decay = 0.01},
                                       .clip = 0.5,
                                       .micro_batch = way.micro_batch,
                                       .seed = 3,
                                       .graphs = way.graphs});
    }
    void begin(Index n) {
        trainer->begin_step(data, micro_batches(order.step(n), micro_batch), 5e-3,
                            {{"balance", 0.05}, {"z", 0.01}});
    }

    std::unique_ptr<Decoder<Real>> model;
    Context context;
    Dataset data;
    std::optional<Trainer<Real>> trainer;
    SampleOrder order{20, 8, 9};
    Index micro_batch = 8;
};

/// All that an update may change, on the host.
template <class Real>
std::vector<float> state_of(const Trainer<Real>& trainer) {
    std::vector<float> all;
    for (auto* parameter : trainer.parameters()) {
        for (const auto& tensor :
             {parameter->value(), parameter->first_moment(), parameter->second_moment()}) {
            const auto values = host(tensor);
            all.insert(all.end(), values.values().begin(), values.values().end());
        }
    }
    return all;
}

struct Outcome {
    std::vector<StepReport> reports;
    std::vector<float> state;
    double evaluation = 0, load = 0;
    DeviceUse use;
};

template <class Real>
Outcome run(const Way& way, Index steps, ModelFamily family = ModelFamily::mixtral) {
    Bench<Real> bench(way, family);
    bench.micro_batch = way.micro_batch;
    Outcome outcome;
    for (Index n = 0; n < steps; ++n) {
        bench.begin(n);
        const bool waits = !way.ahead || bench.trainer->in_flight() == bench.trainer->depth();
        if (waits) outcome.reports.push_back(*bench.trainer->finish_step());
    }
    while (auto report = bench.trainer->finish_step()) outcome.reports.push_back(*report);
    outcome.state = state_of(*bench.trainer);
    std::map<std::string, RoutingTotals> routers;
    outcome.evaluation = bench.trainer->evaluate(bench.data, &routers);
    for (const auto& [name, totals] : routers) outcome.load += totals.load();
    outcome.use = bench.trainer->use();
    return outcome;
}

void check_near(const Outcome& got, const Outcome& want, double bound) {
    REQUIRE(got.reports.size() == want.reports.size());
    for (std::size_t n = 0; n < want.reports.size(); ++n) {
        const StepReport &a = got.reports[n], &b = want.reports[n];
        CAPTURE(n);
        CHECK(std::abs(a.cross_entropy - b.cross_entropy) < bound);
        CHECK(std::abs(a.gradient_norm - b.gradient_norm) < 10 * bound * b.gradient_norm);
        CHECK(a.supervised == b.supervised);
        REQUIRE(a.penalties.size() == b.penalties.size());
        for (const auto& [name, value] : b.penalties) {
            CHECK(std::abs(a.penalties.at(name) - value) < 10 * bound * value);
        }
        REQUIRE(a.routers.size() == b.routers.size());
        for (const auto& [name, totals] : b.routers) {
            CHECK(a.routers.at(name).tokens() == totals.tokens());
            CHECK(std::abs(a.routers.at(name).entropy() - totals.entropy()) < 10 * bound);
        }
    }
    CHECK(std::abs(got.evaluation - want.evaluation) < bound);
}

void check_same(const Outcome& got, const Outcome& want) {
    CHECK(got.state == want.state);
    CHECK(got.evaluation == want.evaluation);
    REQUIRE(got.reports.size() == want.reports.size());
    for (std::size_t n = 0; n < want.reports.size(); ++n) {
        CHECK(got.reports[n].cross_entropy == want.reports[n].cross_entropy);
        CHECK(got.reports[n].gradient_norm == want.reports[n].gradient_norm);
        CHECK(got.reports[n].penalties == want.reports[n].penalties);
    }
}

bool without_cuda() {
    if (has_cuda()) return false;
    MESSAGE("no CUDA kernels, real or emulated, are linked: nothing is tested");
    return true;
}

}  // namespace

TEST_CASE("device step: 20 steps in float follow the CPU") {
    if (without_cuda()) return;
    const Outcome want = run<float>({.device = Device::cpu}, 20);
    const Outcome got = run<float>({}, 20);
    check_near(got, want, 1e-5);
    CHECK(std::abs(got.load - want.load) < 1e-2);  // routes at near ties may differ
    if (!got.use.plain) CHECK(got.use.graphs >= 2);
    CHECK(got.use.steady_steps > 0);
    CHECK(got.use.most.allocations == 0);
    CHECK(got.use.most.synchronising == 0);
}

TEST_CASE("device step: the same bits again, ahead, without graphs") {
    if (without_cuda()) return;
    const Outcome want = run<float>({}, 5);
    check_same(run<float>({}, 5), want);
    check_same(run<float>({.ahead = true}, 5), want);
    check_same(run<float>({.graphs = false}, 5), want);
}

TEST_CASE("device step: the cut and recomputing change roundings at most") {
    if (without_cuda()) return;
    const Outcome want = run<float>({}, 4);
    check_near(run<float>({.micro_batch = 3}, 4), want, 1e-5);
    check_near(run<float>({.micro_batch = 2, .activations = Activations::recomputed}, 4), want, 1e-5);
}

TEST_CASE("device step: LoRA experts on a dense model") {
    if (without_cuda()) return;
    check_near(run<float>({}, 4, ModelFamily::llama),
               run<float>({.device = Device::cpu}, 4, ModelFamily::llama), 1e-5);
}

TEST_CASE("device step: a bf16 model stays near the float one") {
    if (without_cuda()) return;
    const Outcome want = run<float>({.device = Device::cpu}, 6), got = run<bf16>({}, 6);
    REQUIRE(got.reports.size() == want.reports.size());
    for (std::size_t n = 0; n < want.reports.size(); ++n) {
        CHECK(std::abs(got.reports[n].cross_entropy - want.reports[n].cross_entropy) < 0.02);
    }
    CHECK(std::abs(got.evaluation - want.evaluation) < 0.02);
    check_same(run<bf16>({}, 6), got);
}

TEST_CASE("device step: a weight that is no number blocks this step and the one behind it") {
    if (without_cuda()) return;
    Bench<float> bench({.ahead = true});
    for (Index n = 0; n < 2; ++n) {
        bench.begin(n);
        bench.trainer->finish_step();
    }
    auto* victim = bench.model->base_parameters()[3];
    const auto values = host(victim->value());
    const float before = values.data()[5];
    values.data()[5] = std::numeric_limits<float>::quiet_NaN();
    copy_values(values, victim->value());
    const auto state = state_of(*bench.trainer);
    bench.begin(2);
    bench.begin(3);
    expect_error(ErrorCode::value, victim->name() + ", element 5", [&] { bench.trainer->finish_step(); });
    CHECK(state_of(*bench.trainer) == state);
    CHECK(bench.trainer->steps_done() == 2);
    CHECK(bench.trainer->in_flight() == 0);

    // Healed, it goes on as if nothing had been.
    values.data()[5] = before;
    copy_values(values, victim->value());
    std::vector<double> losses;
    for (Index n = 2; n < 4; ++n) {
        bench.begin(n);
        losses.push_back(bench.trainer->finish_step()->cross_entropy);
    }
    const Outcome want = run<float>({}, 4);
    CHECK(losses == std::vector<double>{want.reports[2].cross_entropy, want.reports[3].cross_entropy});
}

TEST_CASE("device step: ids that a GPU could not check are refused before they are sent") {
    if (without_cuda()) return;
    Bench<float> bench({});
    bench.data[3].token[1] = 48;
    expect_error(ErrorCode::data, "token ids in [0, 48)", [&] {
        bench.trainer->step(bench.data, std::vector<std::int32_t>{2, 3}, 1e-3);
    });
    bench.data[3].token[1] = 47;
    bench.data[3].target[1] = -1;
    expect_error(ErrorCode::data, "target -1", [&] {
        bench.trainer->step(bench.data, std::vector<std::int32_t>{2, 3}, 1e-3);
    });
    bench.data[3].target[1] = 47;
    expect_error(ErrorCode::state, "finish_step", [&] {
        for (Index n = 0; n < 3; ++n) bench.begin(n);
    });
}

}  // namespace moegrad::device_step_test
