// What a run does around its steps: rates by group, evaluations, early stop, the best adapter, curves, its end.

#include <moegrad/train/manifest_read.hpp>
#include <moegrad/train/run.hpp>

#include <doctest/doctest.h>

#include <atomic>

#include "io/support.hpp"

using namespace moegrad;
using io_test::expect_error;

namespace {

struct FeatureRun {
    io_test::TemporaryFolder folder;
    RunConfig config;
    std::string said;

    FeatureRun() {
        std::string lines, held;
        for (int i = 0; i < 16; ++i)
            lines += "{\"text\": \"the stone of number " + std::to_string(i % 4) + " is red\"}\n";
        for (int i = 0; i < 4; ++i)
            held += "{\"text\": \"a river of colour " + std::to_string(i) + " was blue\"}\n";
        folder.write("train.jsonl", lines);
        folder.write("eval.jsonl", held);
        config.model = MOEGRAD_SOURCE_DIR "/models/tiny-mixtral";
        config.train_data = folder.file("train.jsonl");
        config.eval_data = folder.file("eval.jsonl");
        config.output = folder.file("run");
        config.max_length = 64;
        config.steps = 12;
        config.batch = 4;
        config.threads = 2;
        config.adapter.lora.rank = 2;
    }
    RunSummary run() {
        said.clear();
        return run_training<float>(config, [&](const std::string& line) { said += line + "\n"; });
    }
    Json manifest() const { return parse_json_file(config.output + "/manifest.json"); }
    std::string file(const std::string& name) const { return config.output + "/" + name; }
};

}  // namespace

TEST_CASE("run: stops when no evaluation is better by eval.min_delta, says why, and keeps the best adapter") {
    FeatureRun run;
    run.config.min_delta = 100;  // no nll is so much lower: the start stays the best
    run.config.eval_every = 1;
    run.config.patience = 3;
    run.config.keep_best = true;
    const auto summary = run.run();
    CAPTURE(run.said);
    CHECK(run.said.find("stopped after 3 of 12 steps: 3 evaluations without") != std::string::npos);
    const Json json = run.manifest();
    const auto view = validate_manifest(json, "manifest.json");
    CHECK(view.steps == 3);
    CHECK(view.exit_status == 0);
    CHECK(view.stopped.find("best at step 0") != std::string::npos);
    CHECK(json.find("results")->find("best")->number() == summary.nll_before);
    CHECK(json.find("results")->find("nll_after")->number() == summary.nll_after);
    // The best adapter is that of the start, whose B are zero: merged it changes nothing.
    const SafetensorsFile best(run.file("adapter-best/adapter_model.safetensors"));
    for (const auto& tensor : best.tensors()) {
        if (tensor.name.find("lora_B") == std::string::npos) continue;
        std::vector<float> values(static_cast<std::size_t>(tensor.shape[0] * tensor.shape[1]));
        best.read(tensor, std::span<float>(values));
        CHECK(std::all_of(values.begin(), values.end(), [](float value) { return value == 0; }));
    }
    std::size_t evaluations = 0;  // one per step and one before: the last is not written twice
    const std::string metrics = io_test::read_text(run.file("metrics.jsonl"));
    for (std::size_t at = metrics.find("eval_nll"); at != std::string::npos;
         at = metrics.find("eval_nll", at + 1))
        ++evaluations;
    CHECK(evaluations == 4);
}

TEST_CASE("run: the best adapter gives the best nll again; the evaluation holds no penalty") {
    FeatureRun run;
    run.config.adapter.method = Method::adamoe;
    run.config.rate.peak = 0.02;
    run.config.eval_every = 2;
    run.config.keep_best = true;
    const auto summary = run.run();
    const Json json = run.manifest();
    const double best = *json.find("results")->find("best")->number();
    CHECK(best <= summary.nll_after);
    CHECK(best < summary.nll_before);
    auto model = load_model<float>(run.config.model);
    load_adapter(*model, run.file("adapter-best"));
    Context context({.threads = 1});
    Trainer<float> trainer(context, *model, {"balance"}, {});  // no coefficient is ever set
    const auto data = load_text_data(run.config, load_tokenizer(run.config.model));
    CHECK(trainer.evaluate(data.eval) == best);
    CHECK_FALSE(std::filesystem::exists(run.file("adapter-best.writing-") + std::to_string(::getpid())));
}

TEST_CASE("run: curves have the steps done and nothing of an earlier run; rates by group change the result") {
    FeatureRun run;
    run.config.steps = 3;
    run.config.tensorboard = true;
    run.config.eval_every = 2;
    run.run();
    run.run();
    const auto names = moegrad::detail::plain_files(run.file("events"));
    REQUIRE(names.size() == 1);
    const std::string events = io_test::read_text(run.file("events/" + names[0]));
    for (const char* tag : {"train/ce", "train/lr", "train/grad_norm", "eval/nll", "moe/cv_mean", "moe/load",
                            "moe/layer_1/cv", "moe/dead_expert_frac_mean", "train/tokens_per_second"})
        CHECK_MESSAGE(events.find(tag) != std::string::npos, tag);
    const std::string plain = sha256_file(run.file("adapter/adapter_model.safetensors"));
    run.config.rates = "lora_B=16";
    run.run();
    CHECK(sha256_file(run.file("adapter/adapter_model.safetensors")) != plain);
    run.config.rates = "null_gate=2";
    expect_error(ErrorCode::config, "optim.rates: \"null_gate\"", [&] { run.run(); });
}

TEST_CASE("run: a mixture that trains attention alone gets one numbered warning") {
    FeatureRun run;
    run.config.steps = 1;
    run.config.adapter.targets = {"attention"};
    run.run();
    CAPTURE(run.said);
    CHECK(run.said.find("warning 1: no expert and no router of this mixture trains") != std::string::npos);
    CHECK(run.manifest().find("results")->find("warnings")->integer() == 1);
    run.config.adapter.targets = {"attention", "experts"};
    run.run();
    CHECK(run.said.find("warning") == std::string::npos);
    CHECK(run.manifest().find("results")->find("warnings")->integer() == 0);
}

TEST_CASE("run: a loss that is no number ends the run before the update; what was good is still there") {
    FeatureRun run;
    run.config.rates = "lora_B=1e36";  // finite in the first step, where B is zero
    run.config.checkpoint_every = 1;
    run.config.eval_data.clear();
    run.config.holdout = 0;
    expect_error(ErrorCode::value, "finite", [&] { run.run(); });
    const auto view = read_run_manifest(run.config.output);
    CHECK(view.sealed);
    CHECK(view.exit_status == 1);
    CHECK(view.error.find("finite") != std::string::npos);
    CHECK(view.steps == 1);
    // metrics.jsonl has the steps before, the newest checkpoint is of the last of them, and no adapter was written.
    const std::string metrics = io_test::read_text(run.file("metrics.jsonl"));
    CHECK(std::count(metrics.begin(), metrics.end(), '\n') == view.steps);
    CHECK(std::filesystem::exists(run.file(format("checkpoints/step-{:06}", view.steps))));
    CHECK_FALSE(std::filesystem::exists(run.file("adapter")));
}

TEST_CASE("run: stopped and gone on, with another thread count, it ends as if it had never stopped") {
    FeatureRun whole, cut;
    for (FeatureRun* one : {&whole, &cut}) {
        one->config.adapter.lora.dropout = 0.2;
        one->config.eval_every = 2;
        one->config.patience = 2;
        one->config.min_delta = 1;  // the first evaluations gain more, later ones do not
        one->config.rate.peak = 2e-3;
        one->config.keep_best = true;
        one->config.tensorboard = true;
        one->config.checkpoint_every = 3;
    }
    whole.run();
    std::atomic<bool> stop{false};
    const auto summary = run_training<float>(
        cut.config, [&](const std::string& line) { stop = stop || line.starts_with("eval at step 4"); },
        {.stop = &stop});
    CHECK(summary.interrupted);
    CHECK(read_run_manifest(cut.config.output).exit_status == 130);
    cut.config.threads = 3;
    run_training<float>(cut.config, [](const std::string&) {}, {.resume = true});
    for (const char* name :
         {"adapter/adapter_model.safetensors", "adapter-best/adapter_model.safetensors", "metrics.jsonl"})
        CHECK_MESSAGE(sha256_file(cut.file(name)) == sha256_file(whole.file(name)), name);
    const auto before = read_run_manifest(whole.config.output), after = read_run_manifest(cut.config.output);
    CHECK(after.exit_status == 0);
    CHECK(after.stopped == before.stopped);
    CHECK(after.steps == before.steps);
    REQUIRE(after.resumes.size() == 1);
    CHECK(after.resumes[0].find("step")->integer() == 4);
    CHECK(moegrad::detail::plain_files(cut.file("events")).size() == 2);
}

TEST_CASE("run: what would be read by nobody is refused") {
    FeatureRun run;
    run.config.patience = 2;
    expect_error(ErrorCode::config, "eval.patience", [&] { run.run(); });
    run.config.patience = 0;
    run.config.keep_best = true;
    run.config.eval_data.clear();
    run.config.holdout = 0;
    expect_error(ErrorCode::config, "checkpoint.best", [&] { run.run(); });
    run.config.keep_best = false;
    run.config.rate.decay = 3;
    expect_error(ErrorCode::config, "schedule.decay", [&] { run.run(); });
}
