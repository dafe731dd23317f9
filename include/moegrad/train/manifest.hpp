#pragma once
// RunManifest: manifest.json of a run folder. Written before the first step with everything that decides the run, sealed at
// its end with what came out.
//   schema id sealed
//   identity  argv, config {key: value}, config_sha256 (of the lines key = "value"), seed, random, guarantee, started, resumes
//   code      version, commit, compiler, standard, build, flags, libraries, binary_sha256
//   machine   cpu, instructions, cores, threads, kernel, environment
//   inputs    [{role, path, bytes, rows, sha256}]: every file of the model's folder, the data,
//             the adapters that router.options names
//   results_sha256   of the text of results, as JSON                                      (sealed ones only)
//   results   ended, exit_status, error, stopped, steps, tokens, supervised, nll_before, nll_after, best, best_step,
//             warnings, outputs [{path, bytes, sha256}]: adapter/, adapter-best/, metrics.jsonl   (sealed ones only)
// id: the first 16 digits of SHA-256 over config_sha256 and the inputs' roles, names and hashes. No user or host name is
// read; paths are those of the configuration. What varies with the clock: started, resumes, ended.

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <ctime>
#include <filesystem>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <moegrad/io/atomic_file.hpp>
#include <moegrad/io/json_writer.hpp>
#include <moegrad/train/input_files.hpp>
#include <moegrad/train/machine_facts.hpp>
#include <moegrad/train/run_state.hpp>

namespace moegrad {

inline constexpr int kManifestSchema = 1;

/// Key and value of every setting, as config.toml has them.
using Settings = std::vector<std::pair<std::string, std::string>>;

struct ManifestStart {
    std::string folder;  // of the run
    Settings settings;
    std::uint64_t seed = 0;
    int threads = 1;
    bool on_gpu = false;
    bool cut_matters = false;  // a penalty of scope micro: the bits depend on the cut into micro-batches
    std::vector<InputFile> inputs;
};

struct RunResults {
    int exit_status = 0;
    std::string error{}, stopped{};  // stopped: why before the last step
    RunState state{};
    bool evaluated = false;
    double nll_after = 0;
    int warnings = 0;
};

/// A file that a run wrote.
struct OutputFile {
    std::string path;  // inside the run's folder
    Index bytes = 0;
    std::string sha256;
};

namespace detail {

inline std::string utc_now() {
    const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
    std::tm parts{};
    ::gmtime_r(&now, &parts);
    return format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", parts.tm_year + 1900, parts.tm_mon + 1,
                  parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec);
}

/// The words of this process, the program's without its folder.
inline Json::Array command_words() {
    std::ifstream file("/proc/self/cmdline", std::ios::binary);
    Json::Array words;
    for (std::string word; std::getline(file, word, '\0');) {
        if (words.empty()) word = word.substr(word.rfind('/') + 1);
        words.emplace_back(printable(word, 4096));
    }
    return words;
}

inline std::string setting_lines(const Settings& settings) {
    std::string text;
    for (const auto& [key, value] : settings) text += format("{} = \"{}\"\n", key, value);
    return text;
}

inline std::string run_id(const std::string& config_sha256, const std::vector<InputFile>& inputs) {
    std::string text = config_sha256 + "\n";
    for (const InputFile& one : inputs) text += one.role + " " + one.name() + " " + one.sha256 + "\n";
    return sha256_hex(text).substr(0, 16);
}

inline std::string results_sha256(const Json& results) {
    return sha256_hex(write_json(results, JsonStyle::indented));
}

inline Json finite_or_null(double value) {
    return std::isfinite(value) ? Json(value) : Json(nullptr);
}

inline Json inputs_json(const std::vector<InputFile>& inputs) {
    Json::Array all;
    for (const InputFile& one : inputs) {
        Json json = Json::object();
        json.add("role", one.role);
        json.add("path", one.path);
        json.add("bytes", one.bytes);
        json.add("rows", one.rows);
        json.add("sha256", one.sha256);
        all.push_back(std::move(json));
    }
    return Json(std::move(all));
}

}  // namespace detail

/// adapter/, adapter-best/ and metrics.jsonl of a run folder. metrics.jsonl holds nothing of the clock.
inline std::vector<OutputFile> output_files(const std::string& folder) {
    std::vector<OutputFile> all;
    const auto add = [&](const std::string& path) {
        const std::string file = folder + "/" + path;
        all.push_back({path, static_cast<Index>(std::filesystem::file_size(file)), sha256_file(file)});
    };
    for (const char* part : {"adapter", "adapter-best"}) {
        if (!std::filesystem::is_directory(folder + "/" + part)) continue;
        for (const std::string& name : detail::plain_files(folder + "/" + part))
            add(std::string(part) + "/" + name);
    }
    if (file_exists(folder + "/metrics.jsonl")) add("metrics.jsonl");
    return all;
}

class RunManifest {
public:
    /// Writes the manifest of a run that is about to take its first step.
    explicit RunManifest(const ManifestStart& start) : RunManifest(start, {}, detail::utc_now()) {}

    /// Of a run that goes on after `step` steps: what the earlier manifest says of its beginning is kept, and its inputs
    /// must be those of now.
    static RunManifest resumed(const ManifestStart& start, Index step);

    /// What came out. The last word of a run, whether it ended well or not.
    void seal(const RunResults& results) const {
        Json all = Json::object();
        for (const JsonMember& member : *head_.members())
            all.add(member.key, member.key == "sealed" ? Json(true) : member.value);
        const Json what_came_out = results_json(results);
        all.add("results_sha256", detail::results_sha256(what_came_out));
        all.add("results", what_came_out);
        write_file_atomically(path_, write_json(all, JsonStyle::indented));
    }

private:
    RunManifest(const ManifestStart& start, Json::Array resumes, const std::string& started)
        : folder_(start.folder), path_(start.folder + "/manifest.json") {
        const std::string config_sha256 = sha256_hex(detail::setting_lines(start.settings));
        head_.add("schema", kManifestSchema);
        head_.add("id", detail::run_id(config_sha256, start.inputs));
        head_.add("sealed", false);
        head_.add("identity", identity(start, config_sha256, std::move(resumes), started));
        head_.add("code", detail::code_facts());
        head_.add("machine", detail::machine_facts(start.threads, start.on_gpu));
        head_.add("inputs", detail::inputs_json(start.inputs));
        write_file_atomically(path_, write_json(head_, JsonStyle::indented));
    }

    static Json identity(const ManifestStart& start, const std::string& config_sha256, Json::Array resumes,
                         const std::string& started) {
        Json config = Json::object();
        for (const auto& [key, value] : start.settings) config.add(key, value);
        Json json = Json::object();
        json.add("argv", detail::command_words());
        json.add("config", std::move(config));
        json.add("config_sha256", config_sha256);
        json.add("seed", Json::from_unsigned(start.seed));
        json.add("random", "Philox4x32-10 by seed, step, sample, position, module, expert, column");
        json.add("guarantee", start.on_gpu ? "same bits run after run on one model of GPU"
                              : start.cut_matters
                                  ? "same bits with any thread count; the cut into micro-batches matters"
                                  : "same bits with any thread count and any cut into micro-batches");
        json.add("started", started);
        json.add("resumes", Json(std::move(resumes)));
        return json;
    }

    Json results_json(const RunResults& results) const {
        Json::Array outputs;
        for (const OutputFile& one : output_files(folder_)) {
            Json file = Json::object();
            file.add("path", one.path);
            file.add("bytes", one.bytes);
            file.add("sha256", one.sha256);
            outputs.push_back(std::move(file));
        }
        const RunState& state = results.state;
        Json json = Json::object();
        json.add("ended", detail::utc_now());
        json.add("exit_status", results.exit_status);
        json.add("error", printable(results.error, 4096));
        json.add("stopped", results.stopped);
        json.add("steps", state.step);
        json.add("tokens", state.tokens);
        json.add("supervised", state.supervised);
        json.add("nll_before", results.evaluated ? detail::finite_or_null(state.nll_before) : Json(nullptr));
        json.add("nll_after", results.evaluated ? detail::finite_or_null(results.nll_after) : Json(nullptr));
        json.add("best", detail::finite_or_null(state.best));
        json.add("best_step", state.best_step);
        json.add("warnings", results.warnings);
        json.add("outputs", Json(std::move(outputs)));
        return json;
    }

    std::string folder_, path_;
    Json head_ = Json::object();
};

}  // namespace moegrad
