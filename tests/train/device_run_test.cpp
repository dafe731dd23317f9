// `train` on a GPU: a run that was stopped goes on to the bits of one that was not, whatever was in flight; another GPU or
// cut would give others and is refused. Without CUDA kernels (real or emulated) there is nothing to test here.

#include <doctest/doctest.h>

#include <moegrad/train/manifest_read.hpp>
#include <moegrad/train/run.hpp>

#include <atomic>

#include "io/support.hpp"

using namespace moegrad;
using io_test::expect_error;

namespace {

struct DeviceRun {
    io_test::TemporaryFolder folder;
    RunConfig config;
    std::string said;
    std::atomic<bool> stop{false};
    std::string stop_at;  // the beginning of the line after which it stops

    DeviceRun() {
        std::string lines;
        for (int i = 0; i < 12; ++i) lines += "{\"text\": \"stone " + std::to_string(i % 5) + " is red\"}\n";
        folder.write("train.jsonl", lines);
        config.model = MOEGRAD_SOURCE_DIR "/models/tiny-mixtral";
        config.train_data = config.eval_data = folder.file("train.jsonl");
        config.eval_samples = 2;
        config.eval_every = 3;
        config.max_length = 32;
        config.steps = 6;
        config.batch = 2;
        config.log_every = 1;
        config.threads = 1;
        config.device = Device::cuda;
        config.adapter.lora.rank = 2;
        config.adapter.lora.dropout = 0.1;
    }
    RunSummary run(const std::string& output, bool resume = false) {
        config.output = folder.file(output);
        said.clear();
        stop = false;
        const auto say = [&](const std::string& line) {
            said += line + "\n";
            if (!stop_at.empty() && line.starts_with(stop_at)) stop = true;
        };
        return run_training<float>(config, say, {.resume = resume, .stop = &stop});
    }
    std::string adapter(const std::string& output) const {
        return sha256_file(folder.file(output + "/adapter/adapter_model.safetensors"));
    }
    std::string metrics(const std::string& output) const {
        return io_test::read_text(folder.file(output + "/metrics.jsonl"));
    }
};

}  // namespace

TEST_CASE("device run: stopped with a step in flight and resumed, it ends in the same bits") {
    if (!has_cuda()) return;
    DeviceRun run;
    const auto whole = run.run("whole");
    CAPTURE(run.said);
    CHECK(whole.nll_after < whole.nll_before);
    CHECK(run.said.find("GPU: ") != std::string::npos);
    CHECK(run.said.find("0 synchronising calls and 0 allocations") != std::string::npos);

    run.stop_at = "step 3/6";  // with step 4 in flight
    CHECK(run.run("parts").interrupted);
    run.stop_at = "";
    run.config.graphs = false;
    const auto rest = run.run("parts", true);
    CHECK(run.adapter("parts") == run.adapter("whole"));
    CHECK(run.metrics("parts") == run.metrics("whole"));
    CHECK(rest.nll_after == whole.nll_after);

    const Json manifest = parse_json_file(run.folder.file("whole/manifest.json"));
    CHECK(*manifest.find("machine")->find("gpu")->string() == device_name());
}

TEST_CASE("device run: what a GPU cannot do is said before anything is loaded") {
    DeviceRun run;
    if (!has_cuda()) {
        expect_error(ErrorCode::unsupported, "train.device", [&] { run.run("none"); });
        return;
    }
    run.config.dtype = Number::float64;
    expect_error(ErrorCode::config, "float32 or bfloat16 on a GPU", [&] { run.run("wide"); });
    run.config.device = Device::cpu;
    run.config.dtype = Number::bfloat16;
    expect_error(ErrorCode::config, "float32 or float64 on the CPU", [&] { run.run("narrow"); });
}

TEST_CASE("device run: the GPU, the number type and the cut are part of what a checkpoint belongs to") {
    RunConfig config;
    config.device = Device::cuda;
    CHECK_FALSE(may_change_at_resume("train.micro_batch", config));
    CHECK_FALSE(may_change_at_resume("model.dtype", config));
    CHECK_FALSE(may_change_at_resume("train.device", config));
    CHECK(may_change_at_resume("train.graphs", config));
    config.device = Device::cpu;
    CHECK(may_change_at_resume("train.micro_batch", config));
}
