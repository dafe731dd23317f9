#include <moegrad/train/repro.hpp>
#include <moegrad/train/run.hpp>

#include <doctest/doctest.h>

#include "io/support.hpp"

using namespace moegrad;
using io_test::expect_error;

namespace {

/// A short run on a copy of the small Mixtral that ships.
struct ShortRun {
    io_test::TemporaryFolder folder;
    RunConfig config;

    ShortRun() {
        std::filesystem::copy(MOEGRAD_SOURCE_DIR "/models/tiny-mixtral", folder.file("base"));
        std::string lines;
        for (int i = 0; i < 24; ++i)
            lines += "{\"text\": \"the stone of number " + std::to_string(i % 5) + " is red\"}\n";
        folder.write("train.jsonl", lines);
        config.model = folder.file("base");
        config.train_data = folder.file("train.jsonl");
        config.output = folder.file("run");
        config.max_length = 64;
        config.steps = 4;
        config.batch = 4;
        config.threads = 2;
        config.rate.peak = 3e-3;
        config.adapter.lora.rank = 2;
        config.adapter.lora.dropout = 0.1;
    }
    static void train(const RunConfig& config) {
        run_training<float>(config, [](const std::string&) {});
    }
    /// reproduce(), and every line that it said.
    ReproResult again(std::string& said, bool anyway = false, int threads = -1) const {
        ReproOptions options;
        options.run = config.output;
        options.anyway = anyway;
        options.threads = threads;
        said.clear();
        return reproduce(options, train, [&](const std::string& line) { said += line + "\n"; });
    }
    void flip(const std::string& name, std::size_t from_end) const {
        std::string bytes = io_test::read_text(folder.file(name));
        bytes[bytes.size() - from_end] = static_cast<char>(bytes[bytes.size() - from_end] ^ 1);
        folder.write(name, bytes);
    }
    void replace(const std::string& name, const std::string& from, const std::string& to) const {
        std::string text = io_test::read_text(folder.file(name));
        const std::size_t at = text.find(from);
        REQUIRE(at != std::string::npos);
        folder.write(name, text.replace(at, from.size(), to));
    }
    /// The same in the manifest, whose results get the hash that belongs to them.
    void replace_sealed(const std::string& from, const std::string& to) const {
        const std::string path = folder.file("run/manifest.json");
        const std::string before = *parse_json_file(path).find("results_sha256")->string();
        replace("run/manifest.json", from, to);
        const Json results = *parse_json_file(path).find("results");
        replace("run/manifest.json", before, moegrad::detail::results_sha256(results));
    }
};

}  // namespace

TEST_CASE(
    "repro: a finished run gives its bits again, with another thread count and from another place too") {
    const ShortRun run;
    ShortRun::train(run.config);
    std::string said;
    auto result = run.again(said);
    CAPTURE(said);
    CHECK(result.equal);
    CHECK(result.findings.empty());
    CHECK(result.outputs.size() == 3);
    CHECK(result.tier.find("promised") == 0);
    CHECK(file_exists(run.config.output + "/repro/repro.json"));
    CHECK(run.again(said, false, 3).equal);

    std::filesystem::rename(run.folder.file("base"), run.folder.file("elsewhere"));
    std::filesystem::rename(run.folder.file("train.jsonl"), run.folder.file("moved.jsonl"));
    ReproOptions options;
    options.run = run.config.output;
    options.out = run.folder.file("again");
    options.model = run.folder.file("elsewhere") + "/";
    options.train_data = run.folder.file("moved.jsonl");
    CHECK(reproduce(options, ShortRun::train, [](const std::string&) {}).equal);
    CHECK(file_exists(run.folder.file("again/adapter/adapter_model.safetensors")));
}

TEST_CASE("repro: what is promised of a run on a GPU") {
    const auto tier = [](const char* changed, bool on_gpu, bool refusal = false) {
        return moegrad::detail::guarantee_tier({{changed, "before", "now", refusal}}, on_gpu);
    };
    CHECK(moegrad::detail::guarantee_tier({}, true).find("promised: the same program on this model of GPU") ==
          0);
    CHECK(moegrad::detail::guarantee_tier({}, false).find("any number of threads") != std::string::npos);
    CHECK(tier("GPU", true).find("none: another model of GPU") == 0);
    CHECK(tier("binary", true).find("intended, not promised") == 0);
    CHECK(tier("config.toml: optim.lr", true, true).find("none: the run begins") == 0);
}

TEST_CASE("repro: a changed data byte, base byte, setting, file or program is named") {
    const ShortRun run;
    ShortRun::train(run.config);
    std::string said;
    const auto refused = [&](ErrorCode code, const std::string& words) {
        expect_error(code, words, [&] { run.again(said); });
    };

    run.flip("train.jsonl", 6);
    refused(ErrorCode::data, "data " + run.config.train_data);
    const auto other = run.again(said, true);  // --anyway
    CHECK_FALSE(other.equal);
    CHECK(other.tier.find("none") == 0);
    CHECK(said.find("first difference at metrics.jsonl:") != std::string::npos);
    run.flip("train.jsonl", 6);

    run.flip("base/model.safetensors", 3);
    refused(ErrorCode::data, "model.safetensors");
    run.flip("base/model.safetensors", 3);
    run.folder.write("base/model.safetensors.index.json", "{}");
    refused(ErrorCode::data, "model.safetensors.index.json");
    std::filesystem::remove(run.folder.file("base/model.safetensors.index.json"));
    std::filesystem::rename(run.folder.file("base/generation_config.json"), run.folder.file("kept"));
    refused(ErrorCode::data, "generation_config.json");
    std::filesystem::rename(run.folder.file("kept"), run.folder.file("base/generation_config.json"));

    run.folder.write("base/LICENSE", "any");
    CHECK(run.again(said).equal);
    CHECK(said.find("warning: model " + run.config.model + "/LICENSE") != std::string::npos);
    run.replace("run/config.toml", "optim.lr = \"0.003\"", "optim.lr = \"0.004\"");
    refused(ErrorCode::config, "optim.lr");
    CHECK_FALSE(run.again(said, true).equal);
    run.replace("run/config.toml", "optim.lr = \"0.004\"", "optim.lr = \"0.003\"");
    run.replace("run/config.toml", "train.batch = \"4\"\n", "");
    refused(ErrorCode::config, "train.batch");
    run.replace("run/config.toml", "train.micro_batch", "train.batch = \"4\"\ntrain.micro_batch");

    run.replace("run/manifest.json", binary_sha256(), std::string(64, 'a'));
    const auto patched = run.again(said);
    CAPTURE(said);
    CHECK(patched.equal);  // the program is another by name only
    CHECK(said.find("warning: binary") != std::string::npos);
    CHECK(patched.tier.find("intended, not promised") == 0);
    const std::string record = io_test::read_text(run.config.output + "/repro/repro.json");
    CHECK(record.find("\"what\": \"binary\"") != std::string::npos);
}

TEST_CASE("repro: another adapter than the one that was sealed is a different hash, by name") {
    const ShortRun run;
    ShortRun::train(run.config);
    const std::string sealed = sha256_file(run.config.output + "/adapter/adapter_model.safetensors");
    run.replace_sealed(sealed, std::string(64, 'b'));
    std::string said;
    const auto result = run.again(said);
    CHECK_FALSE(result.equal);
    CHECK(said.find("DIFFERENT") != std::string::npos);
    CHECK(said.find("warning: output " + run.config.output + "/adapter/adapter_model.safetensors") !=
          std::string::npos);
    for (const auto& one : result.outputs)
        CHECK(one.same() == (one.path != "adapter/adapter_model.safetensors"));
}

TEST_CASE("repro: settings are read back as the run had them, whatever is in them") {
    const io_test::TemporaryFolder folder;
    RunConfig config;
    config.prompt = "a \"quoted\" = \"text\" \\ with\ttabs\nand lines \u00e9";
    const Settings settings =
        moegrad::detail::read_settings(folder.write("config.toml", resolved_config(config)));
    REQUIRE(settings.size() == config_fields().size());
    for (std::size_t i = 0; i < settings.size(); ++i) {
        CHECK(settings[i].first == config_fields()[i].key);
        CHECK(settings[i].second == config_fields()[i].get(config));
    }
    const std::string bad = folder.write("bad.toml", "train.steps = \"4\"\ntrain.batch = 4\n");
    expect_error(ErrorCode::config, "bad.toml:2", [&] { moegrad::detail::read_settings(bad); });
}

TEST_CASE("repro: a run without an end, a run that failed, a folder that is no run") {
    const ShortRun run;
    std::string said;
    expect_error(ErrorCode::file, "manifest.json", [&] { run.again(said); });
    ShortRun::train(run.config);
    run.replace_sealed("\"exit_status\": 0", "\"exit_status\": 1");
    expect_error(ErrorCode::state, "exit status 0", [&] { run.again(said); });
    run.replace_sealed("\"exit_status\": 1", "\"exit_status\": 130");
    run.replace_sealed("\"stopped\": \"\"", "\"stopped\": \"interrupted\"");
    expect_error(ErrorCode::state, "one interrupted at step 4", [&] { run.again(said); });
    expect_error(ErrorCode::state, "train --resume --out " + run.config.output, [&] { run.again(said); });
    run.replace("run/manifest.json", "\"sealed\": true", "\"sealed\": false");
    expect_error(ErrorCode::state, "finished", [&] { run.again(said); });
}

TEST_CASE("repro: it writes into no folder that is the run, of the run, or of anything else") {
    const ShortRun run;
    ShortRun::train(run.config);
    const auto files = [&] {
        std::string all;
        for (const auto& one : output_files(run.config.output)) all += one.path + one.sha256;
        return all;
    };
    const std::string before = files();
    const auto refused = [&](const std::string& out, const std::string& words) {
        const ReproOptions options{.run = run.config.output, .out = out};
        expect_error(ErrorCode::state, words,
                     [&] { reproduce(options, ShortRun::train, [](const std::string&) {}); });
    };
    refused(run.config.output, "the run itself");
    refused(run.config.output + "/repro/../", "the run itself");
    std::filesystem::create_directory_symlink(run.config.output, run.folder.file("link"));
    refused(run.folder.file("link"), "the run itself");
    refused(run.folder.path(), "one that holds the run");
    refused(run.config.output + "/checkpoints", "checkpoints of the run");
    refused(run.config.output + "/adapter", "adapter of the run");
    refused(run.folder.file("base"), "a folder with other files");  // as another run would be
    refused(run.folder.file("train.jsonl"), "a file");
    CHECK(files() == before);
    std::filesystem::create_directories(run.folder.file("empty"));
    const ReproOptions options{.run = run.config.output, .out = run.folder.file("empty")};
    for (int i = 0; i < 2; ++i)  // the second into the folder of the first
        CHECK(reproduce(options, ShortRun::train, [](const std::string&) {}).good());
}

TEST_CASE("repro: outputs that changed since the end are no equal run, nor are other numbers") {
    const ShortRun run;
    ShortRun::train(run.config);
    run.flip("run/adapter/adapter_model.safetensors", 2);
    std::filesystem::remove(run.folder.file("run/metrics.jsonl"));
    std::string said;
    auto result = run.again(said);
    CHECK(result.equal);
    CHECK_FALSE(result.good());
    CHECK(result.verdict() == "equal to what was sealed; but 2 outputs of " + run.config.output +
                                  " changed since: adapter/adapter_model.safetensors, metrics.jsonl");
    run.replace_sealed("\"steps\": 4", "\"steps\": 5");
    CHECK_FALSE(run.again(said).equal);
    CHECK(said.find("DIFFERENT  steps: 4 was 5") != std::string::npos);
}
