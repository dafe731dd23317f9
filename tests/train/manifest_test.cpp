#include <moegrad/train/manifest_read.hpp>
#include <moegrad/train/run_record.hpp>

#include <doctest/doctest.h>

#include "io/support.hpp"

using namespace moegrad;
using io_test::expect_error;

namespace {

/// A run folder with a sealed manifest of made-up inputs and outputs.
struct SealedRun {
    io_test::TemporaryFolder folder;
    RunConfig config;

    SealedRun() {
        std::filesystem::create_directories(folder.file("model"));
        std::filesystem::create_directories(folder.file("run/adapter"));
        folder.write("model/config.json", "{}");
        folder.write("model/model.safetensors", "weights");
        folder.write("model/tokenizer.json", "words");
        folder.write("model/.hidden", "not an input");
        folder.write("data.jsonl", "{\"text\": \"a\"}\n{\"text\": \"b\"}");
        folder.write("run/adapter/adapter_model.safetensors", "values");
        folder.write("run/metrics.jsonl", "{\"step\":0}\n");
        config.model = folder.file("model");
        config.train_data = folder.file("data.jsonl");
        config.output = folder.file("run");
        config.seed = 0xffff'ffff'ffff'ffff;
    }
    std::string path() const { return folder.file("run/manifest.json"); }
    Json seal() {
        RunRecord record(config, 3, 4, false, 0);
        static_cast<void>(record.warning("a"));
        RunResults results;
        results.state.step = 7;
        results.state.best = 1.25;
        results.evaluated = true;
        results.nll_after = 1.5;
        record.seal(results);
        return parse_json_file(path());
    }
};

/// The same without the member that `path` names; array items by number.
Json without_member(const Json& json, const std::vector<std::string>& path, std::size_t depth = 0) {
    if (const auto* members = json.members()) {
        Json copy = Json::object();
        for (const auto& member : *members) {
            const bool here = member.key == path[depth];
            if (here && depth + 1 == path.size()) continue;
            copy.add(member.key, here ? without_member(member.value, path, depth + 1) : member.value);
        }
        return copy;
    }
    Json::Array copy;
    for (std::size_t i = 0; i < json.array()->size(); ++i) {
        const Json& item = (*json.array())[i];
        copy.push_back(std::to_string(i) == path[depth] ? without_member(item, path, depth + 1) : item);
    }
    return Json(std::move(copy));
}

/// Every member at any depth.
void collect_members(const Json& json, std::vector<std::string>& path,
                     std::vector<std::vector<std::string>>& all) {
    const auto visit = [&](const std::string& key, const Json& value, bool member) {
        path.push_back(key);
        if (member) all.push_back(path);
        collect_members(value, path, all);
        path.pop_back();
    };
    if (json.members())
        for (const auto& member : *json.members()) visit(member.key, member.value, true);
    if (json.array())
        for (std::size_t i = 0; i < json.array()->size(); ++i)
            visit(std::to_string(i), (*json.array())[i], false);
}

}  // namespace

TEST_CASE("manifest: says what went in before the first step and what came out at the end") {
    SealedRun run;
    {
        const RunRecord record(run.config, 3, 4, false, 0);
        const auto open = read_run_manifest(run.config.output);
        CHECK_FALSE(open.sealed);
        CHECK(open.inputs.size() == 4);
    }
    const Json json = run.seal();
    const auto view = validate_manifest(json, "manifest.json");
    CHECK(view.sealed);
    CHECK(view.threads == 3);
    CHECK(view.exit_status == 0);
    CHECK(view.steps == 7);
    CHECK(view.binary_sha256 == sha256_file("/proc/self/exe"));
    CHECK(view.settings.size() == config_fields().size());
    REQUIRE(view.inputs.size() == 4);
    CHECK(view.inputs[1].role == "model");
    CHECK(view.inputs[1].sha256 == sha256_hex(std::string_view("weights")));
    CHECK(view.inputs[2].role == "tokenizer");
    CHECK(view.inputs[3].role == "data");
    CHECK(view.inputs[3].rows == 2);
    CHECK(view.inputs[3].bytes == 27);
    REQUIRE(view.outputs.size() == 2);
    CHECK(view.outputs[0].path == "adapter/adapter_model.safetensors");
    CHECK(view.outputs[0].sha256 == sha256_hex(std::string_view("values")));
    const JsonRef root(json, "manifest");
    CHECK(root.at("identity").at("seed").value().unsigned_integer() == 0xffff'ffff'ffff'ffffu);
    CHECK(root.at("results").at("warnings").value().integer() == 1);
    CHECK(root.at("results").at("best").value().number() == 1.25);
    CHECK(root.at("results").at("nll_after").value().number() == 1.5);
}

TEST_CASE("manifest: any field that is missing is named") {
    SealedRun run;
    const Json json = run.seal();
    std::vector<std::vector<std::string>> all;
    std::vector<std::string> path;
    collect_members(json, path, all);
    CHECK(all.size() > 120);
    for (const auto& one : all) {
        std::string dotted;
        for (const auto& part : one) dotted += part + "/";
        CAPTURE(dotted);
        expect_error(ErrorCode::format, one.back(),
                     [&] { validate_manifest(without_member(json, one), "manifest.json"); });
    }
}

TEST_CASE("manifest: a changed setting, a changed or missing input, a hash that is none, another schema") {
    SealedRun run;
    run.seal();
    const std::string text = io_test::read_text(run.path());
    const auto changed = [&](const std::string& from, const std::string& to) {
        std::string other = text;
        const std::size_t at = other.find(from);
        REQUIRE(at != std::string::npos);
        return parse_json(other.replace(at, from.size(), to), "manifest.json");
    };
    const auto refused = [&](const std::string& from, const std::string& to, const std::string& words) {
        expect_error(ErrorCode::format, words,
                     [&] { validate_manifest(changed(from, to), "manifest.json"); });
    };
    refused("\"optim.lr\": \"0.0002\"", "\"optim.lr\": \"0.0003\"", "identity.config");
    refused(sha256_hex(std::string_view("weights")), sha256_hex(std::string_view("weightS")), "inputs");
    refused("\"threads\": 3", "\"threads\": \"3\"", "machine.threads");
    refused("\"sealed\": true", "\"sealed\": 1", "sealed");
    refused(binary_sha256(), "abc", "code.binary_sha256");
    refused("\"best\": 1.25", "\"best\": 1.5", "results_sha256");
    refused("\"exit_status\": 0", "\"exit_status\": 1", "a result was changed");
    refused(sha256_hex(std::string_view("values")), sha256_hex(std::string_view("valueS")), "results");
    expect_error(ErrorCode::unsupported, "schema",
                 [&] { validate_manifest(changed("\"schema\": 1", "\"schema\": 2"), "manifest.json"); });
}

TEST_CASE("manifest: a run is finished when it is sealed with status 0, whole, and its adapter is there") {
    SealedRun run;
    CHECK_FALSE(is_finished(run.config.output));
    const RunRecord record(run.config, 3, 4, false, 0);
    CHECK_FALSE(is_finished(run.config.output));
    record.seal({.exit_status = 130, .stopped = "interrupted"});
    CHECK_FALSE(is_finished(run.config.output));
    run.seal();
    CHECK(is_finished(run.config.output));
    std::filesystem::rename(run.folder.file("run/adapter"), run.folder.file("run/away"));
    CHECK_FALSE(is_finished(run.config.output));
    std::filesystem::rename(run.folder.file("run/away"), run.folder.file("run/adapter"));
    run.folder.write("run/manifest.json", io_test::read_text(run.path()).substr(0, 900));
    CHECK_FALSE(is_finished(run.config.output));
    CHECK_FALSE(is_finished(run.folder.file("nowhere")));
}

TEST_CASE("manifest: no user, no host, no path that the configuration does not have") {
    SealedRun run;
    run.seal();
    const std::string text = io_test::read_text(run.path());
    char host[256] = {};
    REQUIRE(::gethostname(host, sizeof host - 1) == 0);
    if (std::string(host).size() > 3) CHECK(text.find(host) == std::string::npos);
    CHECK(text.find(std::filesystem::current_path().string() + "/") == std::string::npos);
    for (std::size_t at = text.find("\"/"); at != std::string::npos; at = text.find("\"/", at + 1))
        CHECK(text.compare(at + 1, run.folder.path().size(), run.folder.path()) == 0);
}

TEST_CASE("manifest: a run that goes on keeps its beginning, and must have the inputs that it began with") {
    SealedRun run;
    run.seal();
    const std::string started = read_run_manifest(run.config.output).started;
    {
        const RunRecord record(run.config, 2, 4, true, 5);
        const auto view = read_run_manifest(run.config.output);
        CHECK_FALSE(view.sealed);
        CHECK(view.started == started);
        REQUIRE(view.resumes.size() == 1);
        CHECK(view.resumes[0].find("step")->integer() == 5);
    }
    { const RunRecord again(run.config, 2, 4, true, 6); }
    CHECK(read_run_manifest(run.config.output).resumes.size() == 2);
    run.folder.write("data.jsonl", "{\"text\": \"a\"}\n{\"text\": \"c\"}");
    expect_error(ErrorCode::data, "data.jsonl", [&] { const RunRecord changed(run.config, 2, 4, true, 6); });
    run.folder.write("data.jsonl", "{\"text\": \"a\"}\n{\"text\": \"b\"}");
    std::filesystem::rename(run.folder.file("data.jsonl"), run.folder.file("moved.jsonl"));
    run.config.train_data = run.folder.file("moved.jsonl");  // where it lies decides nothing
    run.folder.write("model/LICENSE", "any");
    { const RunRecord moved(run.config, 2, 4, true, 6); }
    run.folder.write("model/model-2.safetensors", "more");
    expect_error(ErrorCode::data, "model-2.safetensors",
                 [&] { const RunRecord changed(run.config, 2, 4, true, 6); });
}

TEST_CASE("manifest: a run that ends with an error says so, with the status the command line returns") {
    SealedRun run;
    const RunRecord record(run.config, 1, 4, false, 0);
    record.seal_failed({}, Error{ErrorCode::data, "train.jsonl:3", "text", "none"});
    const auto view = read_run_manifest(run.config.output);
    CHECK(view.sealed);
    CHECK(view.exit_status == 3);
    CHECK(view.error.find("train.jsonl:3") != std::string::npos);
}
