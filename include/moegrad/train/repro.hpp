#pragma once
// repro: a finished run again, from its manifest.json and config.toml, and whether the same bits come out.
//
// First everything that went in is compared with what the manifest says: a changed input or setting is a refusal, a changed
// program, compiler or CPU a warning. Then the run is taken again into another folder, and the SHA-256 of every file of
// adapter/ and adapter-best/ and of metrics.jsonl (which holds no clock) must be those that were sealed. What was found
// stands in repro.json of that folder.

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include <moegrad/train/manifest_read.hpp>
#include <moegrad/train/run_config_keys.hpp>

namespace moegrad {

struct ReproOptions {
    std::string run, out;                      // out: empty means RUN/repro
    bool anyway = false;                       // go on with changed inputs or settings
    int threads = -1;                          // other than the run's
    std::string model, train_data, eval_data;  // where the inputs are now; their hashes decide
};

struct ReproFinding {
    std::string what, expected, got;
    bool refusal = false;

    std::string line() const {
        return format("{}: {}\n    the run had {}\n    now it is   {}", refusal ? "changed" : "warning", what,
                      expected, got);
    }
};

/// One output: the hash that was sealed and the one of now.
struct ReproOutput {
    std::string path, before, now;  // now: empty when it was not written, before: when it is new
    bool same() const { return before == now; }
};

struct ReproResult {
    std::vector<ReproFinding> findings;
    std::vector<ReproOutput> outputs;
    std::string out, tier;
    bool equal = false;
};

namespace detail {

/// `key = "value"` lines, as a run writes its config.toml: the values have JSON's escapes.
inline Settings read_settings(const std::string& path) {
    const MappedFile file(path);
    std::string_view rest = file.text();
    Settings settings;
    for (Index number = 1; !rest.empty(); ++number) {
        const std::size_t end = rest.find('\n');
        const std::string_view line = rest.substr(0, end);
        rest.remove_prefix(end == rest.npos ? rest.size() : end + 1);
        if (line.empty() || line[0] == '#') continue;
        const std::string place = format("{}:{}", path, number);
        const std::size_t equals = line.find(" = \"");
        if (equals == line.npos) {
            throw Error{ErrorCode::config, place, "key = \"value\", as the run wrote it", printable(line),
                        "the settings are also in manifest.json, under identity.config"};
        }
        const Json value = parse_json(line.substr(equals + 3), place);
        settings.emplace_back(line.substr(0, equals), JsonRef(value, place).string());
    }
    return settings;
}

inline const std::string* find_setting(const Settings& settings, const std::string& key) {
    for (const auto& [one, value] : settings)
        if (one == key) return &value;
    return nullptr;
}

inline std::string shortened(const std::string& sha256) {
    return sha256.substr(0, 16) + "..";
}

/// What a run began with against what is there now.
class ReproCheck {
public:
    ReproCheck(const ReproOptions& options, const ManifestView& manifest)
        : options_(options), manifest_(manifest) {}

    /// Settings of the run that is to be taken now.
    Settings settings() {
        const std::string path = options_.run + "/config.toml";
        const Settings now = read_settings(path);
        for (const auto& [key, value] : manifest_.settings) {
            const std::string* other = find_setting(now, key);
            if (other == nullptr || *other != value)
                add("config.toml: " + key, "\"" + value + "\"",
                    other == nullptr ? "no such key" : "\"" + *other + "\"", true);
        }
        for (const auto& [key, value] : now)
            if (find_setting(manifest_.settings, key) == nullptr)
                add("config.toml: " + key, "no such key", "\"" + value + "\"", true);
        return now;
    }

    void inputs(const RunConfig& config) {
        std::vector<InputFile> now;
        for (const InputFile& one : manifest_.inputs) {
            const std::string path = path_now(one, config);
            const std::string what = one.role + " " + path;
            if (!file_exists(path)) {
                add(what, was(one), "no such file", one.decides());
                continue;
            }
            const InputFile other = input_file(one.role, path, one.is_data());
            if (other.sha256 != one.sha256) add(what, was(one), was(other), one.decides());
        }
        if (!std::filesystem::is_directory(config.model)) return;
        for (const std::string& name : plain_files(config.model)) {
            const InputFile file{"model", config.model + "/" + name, 0, 0, {}};
            const auto known = [&](const InputFile& one) { return !one.is_data() && one.name() == name; };
            if (std::none_of(manifest_.inputs.begin(), manifest_.inputs.end(), known))
                add("model " + file.path, "no such file", "a file", file.decides());
        }
    }

    void program() {
        changed("binary", manifest_.binary_sha256, binary_sha256());
        changed("compiler", manifest_.compiler, compiler_name());
        changed("CPU", manifest_.cpu, cpu_model());
        changed("instruction set", manifest_.instructions, instruction_set());
        for (const OutputFile& one : manifest_.outputs) {
            const std::string path = options_.run + "/" + one.path;
            const std::string now = file_exists(path) ? sha256_file(path) : "no such file";
            if (now != one.sha256)
                add("output " + path + ", after the run", shortened(one.sha256), shortened(now), false);
        }
    }

    std::vector<ReproFinding> findings;

private:
    static std::string was(const InputFile& one) {
        return format("{} bytes, SHA-256 {}", one.bytes, shortened(one.sha256));
    }

    static std::string path_now(const InputFile& one, const RunConfig& config) {
        if (!one.is_data()) return config.model + "/" + one.name();
        return one.role == "eval" ? config.eval_data : config.train_data;
    }
    void add(std::string what, std::string expected, std::string got, bool refusal) {
        findings.push_back({std::move(what), std::move(expected), std::move(got), refusal});
    }
    void changed(const char* what, const std::string& before, const std::string& now) {
        const bool hash = before.size() == 64;
        if (before != now) add(what, hash ? shortened(before) : before, hash ? shortened(now) : now, false);
    }

    const ReproOptions& options_;
    const ManifestView& manifest_;
};

inline RunConfig repro_config(const Settings& settings, const ReproOptions& options) {
    RunConfig config;
    for (const auto& [key, value] : settings) set_config(config, key, value, options.run + "/config.toml");
    config.output = options.out.empty() ? options.run + "/repro" : options.out;
    config.checkpoint_every = 0;  // neither decides a bit
    config.tensorboard = false;
    if (options.threads >= 0) config.threads = options.threads;
    if (!options.model.empty()) config.model = options.model;
    if (!options.train_data.empty()) config.train_data = options.train_data;
    if (!options.eval_data.empty()) config.eval_data = options.eval_data;
    while (config.model.size() > 1 && config.model.back() == '/') config.model.pop_back();
    return config;
}

/// What docs/design.md promises for what changed.
inline std::string guarantee_tier(const std::vector<ReproFinding>& findings) {
    bool binary = false, machine = false, inputs = false;
    for (const ReproFinding& one : findings) {
        inputs = inputs || one.refusal;
        binary = binary || one.what == "binary" || one.what == "compiler";
        machine = machine || one.what == "CPU" || one.what == "instruction set";
    }
    if (inputs) return "none: the run begins with something else";
    if (binary) return "intended, not promised: another program or compiler";
    if (machine) return "intended, not promised: the same program on another CPU";
    return "promised: the same program on this CPU gives the same bits, with any number of threads";
}

inline void require_repeatable(const ManifestView& manifest, const std::string& run) {
    const std::string place = run + "/manifest.json";
    if (!manifest.sealed)
        throw Error{ErrorCode::state, place, "a finished run", "one without an end: killed, or still going",
                    "`moegrad train --config " + run + "/config.toml --resume` goes on with it"};
    if (manifest.exit_status != 0)
        throw Error{ErrorCode::state, place, "a run that ended with exit status 0",
                    format("{}: {}", manifest.exit_status, manifest.error),
                    "there is nothing to compare with"};
}

inline std::vector<ReproOutput> compare_outputs(const std::vector<OutputFile>& before,
                                                const std::vector<OutputFile>& now) {
    const auto find = [](const std::vector<OutputFile>& all, const std::string& path) {
        const auto at =
            std::find_if(all.begin(), all.end(), [&](const OutputFile& one) { return one.path == path; });
        return at == all.end() ? std::string() : at->sha256;
    };
    std::vector<ReproOutput> outputs;
    for (const OutputFile& one : before) outputs.push_back({one.path, one.sha256, find(now, one.path)});
    for (const OutputFile& one : now)
        if (find(before, one.path).empty()) outputs.push_back({one.path, "", one.sha256});
    return outputs;
}

/// "metrics.jsonl:12": the first line that differs; empty when none does.
inline std::string first_difference(const std::string& before, const std::string& now) {
    if (!file_exists(before) || !file_exists(now)) return {};
    const MappedFile a(before), b(now);
    const std::string_view x = a.text(), y = b.text();
    const auto at = std::mismatch(x.begin(), x.end(), y.begin(), y.end()).first;
    if (at == x.end() && x.size() == y.size()) return {};
    return format("metrics.jsonl:{}", std::count(x.begin(), at, '\n') + 1);
}

inline void write_repro_record(const ReproResult& result, const ManifestView& manifest) {
    Json::Array findings, outputs;
    for (const ReproFinding& one : result.findings) {
        Json json = Json::object();
        json.add("what", one.what);
        json.add("expected", one.expected);
        json.add("got", one.got);
        json.add("refusal", one.refusal);
        findings.push_back(std::move(json));
    }
    for (const ReproOutput& one : result.outputs) {
        Json json = Json::object();
        json.add("path", one.path);
        json.add("before", one.before);
        json.add("now", one.now);
        outputs.push_back(std::move(json));
    }
    Json json = Json::object();
    json.add("run", manifest.id);
    json.add("equal", result.equal);
    json.add("guarantee", result.tier);
    json.add("findings", Json(std::move(findings)));
    json.add("outputs", Json(std::move(outputs)));
    write_file_atomically(result.out + "/repro.json", write_json(json, JsonStyle::indented));
}

}  // namespace detail

/// Takes the run of options.run again. `train(config)` trains; `say` gets every line.
template <class Train, class Say>
ReproResult reproduce(const ReproOptions& options, Train train, Say say) {
    const ManifestView manifest = read_run_manifest(options.run);
    detail::require_repeatable(manifest, options.run);
    detail::ReproCheck check(options, manifest);
    const RunConfig config = detail::repro_config(check.settings(), options);
    check.inputs(config);
    check.program();
    ReproResult result{check.findings, {}, config.output, detail::guarantee_tier(check.findings), false};
    for (const ReproFinding& one : result.findings) say(one.line());
    say(format("run {}, guarantee {}", manifest.id, result.tier));
    for (const ReproFinding& one : result.findings) {
        if (!one.refusal || options.anyway) continue;
        throw Error{one.what.starts_with("config.toml") ? ErrorCode::config : ErrorCode::data, one.what,
                    one.expected, one.got,
                    "the run would begin with something else; --anyway takes it all the same"};
    }
    train(config);
    result.outputs = detail::compare_outputs(manifest.outputs, output_files(config.output));
    result.equal = !result.outputs.empty() && std::all_of(result.outputs.begin(), result.outputs.end(),
                                                          [](const ReproOutput& one) { return one.same(); });
    for (const ReproOutput& one : result.outputs) {
        say(format("  {}  {} {}", one.same() ? "equal    " : "DIFFERENT",
                   one.now.empty() ? "not written" : detail::shortened(one.now), one.path));
    }
    const std::string line =
        detail::first_difference(options.run + "/metrics.jsonl", config.output + "/metrics.jsonl");
    if (!line.empty()) say(format("  first difference at {}", line));
    detail::write_repro_record(result, manifest);
    return result;
}

}  // namespace moegrad
