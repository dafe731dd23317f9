// What a kernel of a GPU finds wrong and cannot throw: an expert that does not exist, more rows than the row budget, a
// score that is no number. The update is blocked on the device, that of the step behind it too, and the host says which it was.
// Routers that read on the host are refused where steps are recorded; step memory full of NaN leaves no trace.

#include <doctest/doctest.h>

#include <moegrad/eval/generate.hpp>
#include <moegrad/eval/score_batch.hpp>
#include <moegrad/ops/softmax.hpp>
#include <moegrad/ops/take.hpp>
#include <moegrad/ops/top_k.hpp>
#include <moegrad/routing/gate_router.hpp>
#include <moegrad/train/assay.hpp>

#include "io/support.hpp"
#include "support/device_bench.hpp"
#include "support/device_status.hpp"

#include <cmath>

// Tests of training are one translation unit: the names below are this file's.
namespace moegrad::device_blocked_test {

using namespace moegrad::test;
using io_test::expect_error;

namespace {

/// The K best columns of its gate as experts, whether or not there are so many experts.
template <class Real>
struct ColumnRouter : GateRouter<Real> {
    Routing<Real> route(Tape& tape, const RouteInput<Real>& input) {
        const auto z = this->gate.logits(tape, input.x, input.segments);
        Routing<Real> routing;
        routing.expert = top_k(tape, z.value(), this->k);
        routing.weight = take(tape, softmax(tape, z), routing.expert);
        return routing;
    }
};

/// The same, and it looks at its choice.
struct CuriousRouter : ColumnRouter<float> {
    static constexpr bool reads_on_host = true;

    Routing<float> route(Tape& tape, const RouteInput<float>& input) {
        auto routing = ColumnRouter<float>::route(tape, input);
        *seen += host(routing.expert).size();
        return routing;
    }
    std::shared_ptr<Index> seen = std::make_shared<Index>(0);
};

/// It throws while it is told to.
struct StoppingRouter : ColumnRouter<float> {
    static constexpr bool reads_on_host = true;  // so that it is asked every time

    Routing<float> route(Tape& tape, const RouteInput<float>& input) {
        if (*stop) throw Error{ErrorCode::state, "stopping router", "to go on", "told to stop"};
        return ColumnRouter<float>::route(tape, input);
    }
    std::shared_ptr<bool> stop = std::make_shared<bool>(false);
};

/// A frozen gate [C, 16] on the GPU.
Gate<float> frozen_gate(Index C) {
    auto weight = std::make_shared<Parameter<float>>("mine", Shape{C, 16});
    fill_normal(weight->value(), 0.5, 7, 0);
    weight->move_to(Device::cuda);
    return Gate<float>(std::move(weight));
}

/// Step 0 and the step behind it are begun; the first says `what`, and nothing changes.
void check_blocked(DeviceBench<float>& bench, ErrorCode code, const char* what) {
    const auto before = state_of(*bench.trainer);
    bench.begin(0);
    bench.begin(1);
    expect_error(code, what, [&] { bench.trainer->finish_step(); });
    CHECK(state_of(*bench.trainer) == before);
    CHECK(bench.trainer->steps_done() == 0);
    CHECK(bench.trainer->in_flight() == 0);
    if (device_reports()) CHECK_FALSE(take_status().any());
}

template <class Real>
void check_finite(const DeviceWay& way) {
    DeviceBench<Real> bench(way);
    for (Index n = 0; n < 4; ++n) {
        const StepReport report = bench.step(n);
        CHECK(std::isfinite(report.cross_entropy));
        CHECK(std::isfinite(report.gradient_norm));
        for (const auto& [name, value] : report.penalties) CHECK(std::isfinite(value));
        for (const auto& [name, value] : report.traces) CHECK(std::isfinite(value));
        for (const auto& [name, totals] : report.routers) CHECK(std::isfinite(totals.entropy()));
    }
    const auto state = state_of(*bench.trainer);
    CHECK(std::all_of(state.begin(), state.end(), [](float value) { return std::isfinite(value); }));
    CHECK(std::isfinite(bench.trainer->evaluate(bench.data)));
}

}  // namespace

TEST_CASE("device blocked: an expert that does not exist") {
    if (without_cuda()) return;
    DeviceBench<float> bench({.ahead = true});
    bench.model->layers()[1].moe[0].router = ColumnRouter<float>{{frozen_gate(5), 2}};  // of 4 experts
    bench.make_trainer();
    check_blocked(bench, ErrorCode::value, "one out of range, found by a kernel");
}

TEST_CASE("device blocked: more rows than the row budget holds; with room for all of them it goes on") {
    if (without_cuda()) return;
    DeviceBench<float> bench({.ahead = true});
    auto& layer = bench.model->layers()[0].moe[0];
    layer.router = ColumnRouter<float>{{frozen_gate(4), 2}};
    layer.row_budget = 1.5;  // of 2 rows per token
    bench.make_trainer();
    check_blocked(bench, ErrorCode::memory, "raise the row budget");
    layer.row_budget = 2;
    bench.make_trainer();
    for (Index n = 0; n < 3; ++n) CHECK(std::isfinite(bench.step(n).cross_entropy));
}

TEST_CASE("device blocked: scores that are no number, of weights that are") {
    if (without_cuda()) return;
    DeviceBench<float> bench({.ahead = true});
    for (auto* parameter : bench.model->layers()[0].moe[0].router.parameters()) {
        auto values = Tensor<float>::zeros(parameter->shape());
        for (float& value : values.values()) value = 3e38f;  // sums of both signs overflow
        copy_values(values, parameter->value());
    }
    check_blocked(bench, ErrorCode::value, "finite loss and gradients");
}

TEST_CASE("device blocked: a router that reads on the host is refused by name before the device is asked") {
    if (without_cuda()) return;
    DeviceBench<float> bench({});
    const CuriousRouter curious{{{frozen_gate(4), 2}}};
    bench.model->layers()[1].moe[0].router = curious;
    bench.trainer.reset();  // which gives memory back
    const DeviceCounts before = device_counts();
    expect_error(ErrorCode::unsupported, "the router of model.layers.1", [&] { bench.make_trainer(); });
    expect_error(ErrorCode::unsupported, "set train.graphs = false", [&] { bench.make_trainer(); });
    const DeviceCounts calls = device_counts() - before;
    CHECK(calls.allocations == 0);
    CHECK(calls.synchronising == 0);
    bench.graphs = false;
    bench.make_trainer();
    for (Index n = 0; n < 3; ++n) CHECK(std::isfinite(bench.step(n).cross_entropy));
    CHECK(*curious.seen > 0);
}

TEST_CASE("device blocked: a step that could not be begun takes nothing from the one in front of it") {
    if (without_cuda()) return;
    const auto steps = [](bool stumbles) {
        DeviceBench<float> bench({.graphs = false});
        const StoppingRouter router{{{frozen_gate(4), 2}}};
        bench.model->layers()[1].moe[0].router = router;
        bench.make_trainer();
        bench.begin(0);
        if (stumbles) {
            *router.stop = true;
            expect_error(ErrorCode::state, "told to stop", [&] { bench.begin(1); });
            *router.stop = false;
            CHECK(bench.trainer->in_flight() == 1);
        }
        CHECK(bench.trainer->finish_step()->step == 0);
        CHECK(bench.trainer->steps_done() == 1);
        bench.begin(1);
        bench.trainer->finish_step();
        return state_of(*bench.trainer);
    };
    CHECK(steps(true) == steps(false));
}

TEST_CASE("device blocked: a gate that is no number is an error of evaluations and texts, as on the CPU") {
    for (const Device device : {Device::cpu, Device::cuda}) {
        if (device == Device::cuda && without_cuda()) return;
        DeviceBench<float> bench({.device = device});
        auto* gate = bench.model->layers()[0].moe[0].router.parameters()[0];
        const auto values = host(gate->value());
        values.data()[3] = NAN;
        copy_values(values, gate->value());
        Context& context = bench.context;
        auto& model = *bench.model;
        const std::vector<std::int32_t> ids{1, 7, 30, 12};
        const auto is_refused = [](auto body) { expect_error(ErrorCode::value, "no", body); };
        is_refused([&] { bench.trainer->evaluate(bench.data); });
        is_refused([&] { nll_of_documents(context, model, bench.data); });
        is_refused([&] {
            generate_all(context, model, std::span<const std::vector<std::int32_t>>(&ids, 1),
                         GenerateOptions{.max_new_tokens = 2}, [](std::size_t, std::int32_t) {});
        });
        ScoreBatch batch;
        batch.new_group();
        const Index row = batch.place(ids, false);
        is_refused([&] { batch.run(context, model); });  // nothing asked but the routers
        batch.ask(row, 4);
        is_refused([&] { batch.run(context, model); });
        if (device_reports()) CHECK_FALSE(take_status().any());
    }
}

TEST_CASE("device blocked: step memory that holds NaN before leaves none in weights, moments and reports") {
    if (without_cuda()) return;
    check_finite<float>({});
    check_finite<bf16>({});
    check_finite<bf16>({.micro_batch = 3, .activations = Activations::recomputed});
}

}  // namespace moegrad::device_blocked_test
