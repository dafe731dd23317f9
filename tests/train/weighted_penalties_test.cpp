// What penalties add to the objective, step by step: from formulas, as a line of metrics.jsonl, and with steps in flight on a
// GPU whose coefficients differ.

#include <doctest/doctest.h>

#include <moegrad/io/json.hpp>
#include <moegrad/train/progress.hpp>

#include "io/support.hpp"
#include "support/device_bench.hpp"

namespace moegrad::weighted_penalties_test {

using namespace moegrad::test;

TEST_CASE("weighted penalties: with gates of zeros, z-loss and balance are those of their formulas") {
    const ModelConfig config = small_config(ModelFamily::mixtral);
    const auto model = small_model<double>(config);
    for (auto& layer : model->layers()) {
        for (double& value : layer.moe.front().gate->value().values()) value = 0;
    }
    AdapterSpec spec;
    spec.lora = {.rank = 2, .alpha = 4};
    spec.balance = BalanceLoss::switch_share;
    spec.z_loss = true;
    attach(*model, spec);
    Context context({.threads = 1});
    Trainer<double> trainer(context, *model, {"balance", "z"}, {.micro_batch = 3});
    const auto step = [&](const std::map<std::string, double>& coefficients) {
        return trainer.step(ragged_samples(8, 48), std::vector<std::int32_t>{0, 1, 2, 3, 4, 5, 6, 7}, 1e-3,
                            coefficients);
    };
    // All logits 0: (log sum exp)^2 = (ln E)^2 in each layer; probabilities 1/E.
    const double layers = 2, z = layers * std::pow(std::log(4.0), 2);
    const StepReport both = step({{"balance", 0.5}, {"z", 7}});
    CHECK(both.weighted().at("z") == doctest::Approx(7 * z).epsilon(1e-12));
    CHECK(both.weighted().at("balance") == doctest::Approx(0.5 * layers).epsilon(1e-12));
    const StepReport one = step({{"z", 0.25}});  // and nothing of the step before
    CHECK(one.weighted().at("z") == doctest::Approx(0.25 * z).epsilon(1e-12));
    CHECK(one.weighted().at("balance") == 0);
    CHECK(one.penalties.at("balance") == doctest::Approx(layers).epsilon(1e-12));
    CHECK(step({}).weighted() == std::map<std::string, double>{{"balance", 0}, {"z", 0}});
}

TEST_CASE("weighted penalties: metrics.jsonl has them beside the loss and the raw values") {
    const io_test::TemporaryFolder folder;
    RunState state;
    RunLog log(folder.file("run"), "", 2, state);
    StepReport report;
    report.cross_entropy = 1.5;
    report.penalties = {{"balance", 2}, {"entropy", 0.5}, {"z", 4}};
    report.coefficients = {{"balance", 0.25}, {"z", 0.125}};
    log.step(report, 1);
    report.step = 1;
    report.penalties.clear();
    log.step(report, 1);
    log.save();
    const std::string lines = io_test::read_text(folder.file("run/metrics.jsonl"));
    const std::size_t end = lines.find('\n');
    const Json first = parse_json(lines.substr(0, end), "metrics.jsonl");
    const auto number = [](const JsonRef& object, const char* key) { return object.at(key).number(-9, 9); };
    const JsonRef line(first, "metrics.jsonl"), weighted = line.at("weighted");
    CHECK(number(line, "ce") == 1.5);
    CHECK(number(line, "balance") == 2);
    CHECK(number(weighted, "balance") == 0.5);
    CHECK(number(weighted, "z") == 0.5);
    CHECK(number(weighted, "entropy") == 0);
    CHECK(weighted.members().size() == 3);
    CHECK(lines.substr(end).find("weighted") == std::string::npos);  // a step without penalties
}

TEST_CASE("weighted penalties: on a GPU each step in flight has its own coefficients, at no call more") {
    if (without_cuda()) return;
    DeviceBench<float> there({.device = Device::cuda}), here({.device = Device::cpu});
    const auto coefficients = [](Index n) {
        return std::map<std::string, double>{{"balance", 0.05 / static_cast<double>(n + 1)}, {"z", 0.01}};
    };
    const auto begin = [&](DeviceBench<float>& bench, Index n) {
        bench.trainer->begin_step(bench.data, micro_batches(bench.order.step(n), bench.micro_batch), 5e-3,
                                  coefficients(n));
    };
    begin(there, 0);
    for (Index n = 0; n < 6; ++n) {
        if (n + 1 < 6) begin(there, n + 1);
        CHECK(there.trainer->in_flight() == (n + 1 < 6 ? 2 : 1));
        begin(here, n);
        const StepReport got = *there.trainer->finish_step(), want = *here.trainer->finish_step();
        CHECK(got.coefficients == coefficients(n));
        for (const auto& [name, value] : want.weighted()) {
            CHECK(want.weighted().at(name) == want.penalties.at(name) * coefficients(n).at(name));
            CHECK(got.weighted().at(name) == doctest::Approx(value).epsilon(1e-4));
        }
    }
    CHECK(there.trainer->use().steady_steps > 0);
    CHECK(there.trainer->use().most.synchronising == 0);
}

}  // namespace moegrad::weighted_penalties_test
