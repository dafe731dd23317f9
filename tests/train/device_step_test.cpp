// Steps on a GPU against steps on the CPU: the same losses, the same bits every time, nothing changed by a step that is not
// finite. Without CUDA kernels (real or emulated) there is nothing to test here.

#include <doctest/doctest.h>

#include <moegrad/train/checkpoint.hpp>

#include "io/support.hpp"
#include "support/device_bench.hpp"

#include <limits>

// Tests of training are one translation unit: the names below are this file's.
namespace moegrad::device_step_test {

using namespace moegrad::test;
using io_test::expect_error;

namespace {

struct Outcome {
    std::vector<StepReport> reports;
    std::vector<float> state;
    double evaluation = 0, load = 0;
    DeviceUse use;
};

template <class Real>
Outcome run(const DeviceWay& way, Index steps, ModelFamily family = ModelFamily::mixtral,
            const AdapterSpec& spec = device_adamoe()) {
    DeviceBench<Real> bench(way, family, spec);
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
        REQUIRE(a.traces.size() == b.traces.size());
        for (const auto& [name, value] : b.traces) CHECK(std::abs(a.traces.at(name) - value) < 10 * bound);
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
        CHECK(got.reports[n].traces == want.reports[n].traces);
    }
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

TEST_CASE("device step: LoRA experts on a dense model in bf16, which read their input with the router") {
    if (without_cuda()) return;
    AdapterSpec spec = device_adamoe();
    spec.lora.dropout = 0;
    const auto on_gpu = [&](const DeviceWay& way) { return run<bf16>(way, 6, ModelFamily::llama, spec); };
    const Outcome want = run<float>({.device = Device::cpu}, 6, ModelFamily::llama, spec), got = on_gpu({});
    REQUIRE(got.reports.size() == want.reports.size());
    for (std::size_t n = 0; n < want.reports.size(); ++n)
        CHECK(std::abs(got.reports[n].cross_entropy - want.reports[n].cross_entropy) < 0.02);
    CHECK(std::abs(got.evaluation - want.evaluation) < 0.02);
    check_same(on_gpu({}), got);
    check_same(on_gpu({.graphs = false}), got);
    check_same(on_gpu({.activations = Activations::recomputed}), got);
}

TEST_CASE("device step: padding enters no trace") {
    if (without_cuda()) return;
    AdapterSpec spec;
    spec.method = Method::mor;
    spec.lora = {.rank = 2, .alpha = 4};
    const Outcome want = run<float>({.device = Device::cpu}, 3, ModelFamily::mixtral, spec);
    CHECK_FALSE(want.reports[0].traces.empty());
    check_near(run<float>({.micro_batch = 3}, 3, ModelFamily::mixtral, spec), want, 1e-5);
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
    DeviceBench<float> bench({.ahead = true});
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
    DeviceBench<float> bench({});
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

TEST_CASE("device step: no checkpoint while a step is in flight") {
    const io_test::TemporaryFolder folder;
    DeviceBench<float> bench({.device = Device::cpu});
    bench.begin(0);
    expect_error(ErrorCode::state, "no step in flight",
                 [&] { save_checkpoint(folder.path(), *bench.trainer, RunState{}, "id", 2); });
    bench.trainer->finish_step();
    RunState state;
    state.step = 1;
    save_checkpoint(folder.path(), *bench.trainer, state, "id", 2);
    CHECK(checkpoint_steps(folder.path()) == std::vector<Index>{1});
}

TEST_CASE("device step: a weight left on the host is named before anything runs") {
    if (without_cuda()) return;
    DeviceBench<float> bench({});
    auto* weight = bench.model->base_parameters()[2];
    weight->move_to(Device::cpu);
    expect_error(ErrorCode::state, weight->name(), [&] { bench.make_trainer(); });
    expect_error(ErrorCode::state, "move_to(model, Device::cuda)", [&] { bench.make_trainer(); });
    weight->move_to(Device::cuda);
    bench.make_trainer();
    CHECK(std::isfinite(bench.step(0).cross_entropy));
}

}  // namespace moegrad::device_step_test
