// Tasks of samples from the data to a router and back: steps on the CPU and on a GPU, where recorded steps must read the
// tasks of the batch that is replayed; scores and generation with a task each.

#include <doctest/doctest.h>

#include <moegrad/eval/generate.hpp>
#include <moegrad/eval/score_batch.hpp>
#include <moegrad/train/adapter_files.hpp>
#include <moegrad/train/trainer.hpp>

#include "io/support.hpp"
#include "support/model_small.hpp"

#include <moegrad/methods/builtin_routers.hpp>

namespace moegrad::task_training_test {

using namespace moegrad::test;

namespace {

AdapterSpec task_spec() {
    AdapterSpec spec;
    spec.set_method("task");
    spec.options = "tasks=3, width=8";
    spec.targets = {"q_proj", "mlp"};
    spec.lora = {.rank = 3, .alpha = 12};
    return spec;
}

/// Eight samples of one length, so that micro-batches have one shape.
Dataset even_samples(Index vocabulary) {
    return ragged_samples(8, vocabulary, 12, 12);
}

struct TaskRun {
    std::unique_ptr<Decoder<float>> model;
    std::vector<double> losses;
    double evaluation = 0;
};

/// Six steps; `moving`: the tasks of the same samples differ from step to step.
TaskRun train_with_tasks(Device device, bool moving, Index micro_batch = 4) {
    const ModelConfig config = small_config(ModelFamily::llama);
    Dataset data = even_samples(config.vocab_size);
    TaskRun run{small_model<float>(config), {}, 0};
    attach(*run.model, task_spec());
    Context context({.device = device, .threads = 1});
    move_to(*run.model, device);
    Trainer<float> trainer(context, *run.model, {"balance", "z"}, {.micro_batch = micro_batch, .seed = 3});
    for (Index n = 0; n < 6; ++n) {
        for (std::size_t i = 0; i < data.size(); ++i)
            data[i].task = static_cast<std::int32_t>((i + (moving ? static_cast<std::size_t>(n) : 0)) % 3);
        const auto report = trainer.step(data, std::vector<std::int32_t>{0, 1, 2, 3, 4, 5, 6, 7}, 3e-2, {});
        run.losses.push_back(report.cross_entropy);
    }
    run.evaluation = trainer.evaluate(data);
    move_to(*run.model, Device::cpu);
    return run;
}

double largest_gap(const std::vector<double>& a, const std::vector<double>& b) {
    double gap = 0;
    for (std::size_t i = 0; i < a.size(); ++i) gap = std::max(gap, std::abs(a[i] - b[i]));
    return gap;
}

}  // namespace

TEST_CASE("tasks: a step sees the tasks of its samples, however it is cut, recorded or not") {
    const TaskRun moving = train_with_tasks(Device::cpu, true), still = train_with_tasks(Device::cpu, false);
    CHECK(largest_gap(moving.losses, still.losses) > 1e-3);
    const TaskRun cut = train_with_tasks(Device::cpu, true, 2);
    CHECK(cut.losses == moving.losses);
    CHECK(cut.evaluation == moving.evaluation);
    CHECK(hash_of(trainable_parameters(*cut.model)) == hash_of(trainable_parameters(*moving.model)));
    if (!has_cuda()) return;
    const TaskRun there = train_with_tasks(Device::cuda, true);
    CHECK(largest_gap(there.losses, moving.losses) < 1e-4);
    CHECK(std::abs(there.evaluation - moving.evaluation) < 1e-4);
}

TEST_CASE("tasks: scores and generated texts are those of the text's task; without one they are refused") {
    const TaskRun run = train_with_tasks(Device::cpu, true);
    const io_test::TemporaryFolder folder;
    save_adapter(*run.model, task_spec(), folder.file("adapter"));
    const auto model = small_model<float>(small_config(ModelFamily::llama));
    CHECK(load_adapter(*model, folder.file("adapter")).options == "tasks=3, width=8");
    Context context({.device = Device::cpu, .threads = 1});
    const std::vector<std::int32_t> text{5, 28, 47, 46, 41};
    const auto scores = [&](std::initializer_list<std::int32_t> tasks) {
        ScoreBatch batch;
        for (const std::int32_t task : tasks) {
            batch.new_group(0, task);
            batch.ask(batch.place(text, true) + 4, 16);
        }
        return batch.run(context, *model).log_probability;
    };
    const auto all = scores({0, 1, 2});
    CHECK(all[0] != all[1]);
    CHECK(all[1] != all[2]);
    for (const std::int32_t task : {0, 1, 2}) CHECK(scores({task})[0] == all[static_cast<std::size_t>(task)]);
    CHECK_THROWS_WITH_AS(scores({kNoTask}), doctest::Contains("a task for every sample"), Error);
    CHECK_THROWS_WITH_AS(scores({1, kNoTask}), doctest::Contains("none for the sample"), Error);

    const std::vector<std::vector<std::int32_t>> prompts{text, text, text};
    const auto written = [&](std::vector<std::int32_t> tasks, bool cache) {
        const GenerateOptions options{
            .max_new_tokens = 8, .temperature = 1, .seed = 4, .cache = cache, .tasks = std::move(tasks)};
        return generate_all(context, *model, std::span(prompts), options, [](std::size_t, std::int32_t) {});
    };
    CHECK(written({0, 1, 2}, true) == written({0, 1, 2}, false));
    CHECK(written({0, 1, 2}, true)[2] == written({1, 0, 2}, true)[2]);
    CHECK(written({0, 0, 0}, true) != written({2, 2, 2}, true));
    CHECK_THROWS_AS(written({}, true), Error);
}

}  // namespace moegrad::task_training_test
