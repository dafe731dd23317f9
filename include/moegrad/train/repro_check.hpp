#pragma once
// What repro looks at before it takes a run again: what went into it against what is there now, what of it changed since,
// and where the new run may be written.

#include <algorithm>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include <moegrad/core/device_step.hpp>
#include <moegrad/train/manifest_read.hpp>
#include <moegrad/train/run_config_keys.hpp>

namespace moegrad {

struct ReproOptions {
    std::string run{}, out{};                        // out: empty means RUN/repro
    bool anyway = false;                             // go on with changed inputs or settings
    int threads = -1;                                // other than the run's
    std::string model{}, train_data{}, eval_data{};  // where the inputs are now; their hashes decide
};

struct ReproFinding {
    std::string what, expected, got;
    bool refusal = false;

    std::string line() const {
        return format("{}: {}\n    the run had {}\n    now it is   {}", refusal ? "changed" : "warning", what,
                      expected, got);
    }
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
            const auto known = [&](const InputFile& one) {
                return !one.is_data() && !one.is_adapter() && one.name() == name;
            };
            if (std::none_of(manifest_.inputs.begin(), manifest_.inputs.end(), known))
                add("model " + file.path, "no such file", "a file", file.decides());
        }
    }

    void program() {
        changed("binary", manifest_.binary_sha256, binary_sha256());
        changed("compiler", manifest_.compiler, compiler_name());
        changed("CPU", manifest_.cpu, cpu_model());
        if (!manifest_.gpu.empty()) changed("GPU", manifest_.gpu, device_name());
        changed("instruction set", manifest_.instructions, instruction_set());
        for (const OutputFile& one : manifest_.outputs) {
            const std::string path = options_.run + "/" + one.path;
            const std::string now = file_exists(path) ? sha256_file(path) : "no such file";
            if (now == one.sha256) continue;
            changed_outputs.push_back(one.path);
            add("output " + path + ", after the run", shortened(one.sha256),
                now.size() == 64 ? shortened(now) : now, false);
        }
    }

    std::vector<ReproFinding> findings;
    std::vector<std::string> changed_outputs;  // of the run, since its end

private:
    static std::string was(const InputFile& one) {
        return format("{} bytes, SHA-256 {}", one.bytes, shortened(one.sha256));
    }

    static std::string path_now(const InputFile& one, const RunConfig& config) {
        if (one.is_adapter()) return one.path;
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
inline std::string guarantee_tier(const std::vector<ReproFinding>& findings, bool on_gpu) {
    bool binary = false, machine = false, inputs = false, card = false;
    for (const ReproFinding& one : findings) {
        inputs = inputs || one.refusal;
        binary = binary || one.what == "binary" || one.what == "compiler";
        card = card || one.what == "GPU";
        machine = machine || one.what == "CPU" || one.what == "instruction set";
    }
    if (inputs) return "none: the run begins with something else";
    if (card) return "none: another model of GPU may sum in another order";
    if (binary) return "intended, not promised: another program or compiler";
    if (machine) return "intended, not promised: the same program on another CPU";
    if (on_gpu) return "promised: the same program on this model of GPU gives the same bits, run after run";
    return "promised: the same program on this CPU gives the same bits, with any number of threads";
}

inline void require_repeatable(const ManifestView& manifest, const std::string& run) {
    const std::string place = run + "/manifest.json",
                      resume = "`moegrad train --resume --out " + run + "` goes on with it";
    if (!manifest.sealed)
        throw Error{ErrorCode::state, place, "a finished run", "one without an end: killed, or still going",
                    resume};
    if (manifest.stopped == "interrupted")
        throw Error{ErrorCode::state, place, "a finished run",
                    format("one interrupted at step {}", manifest.steps), resume};
    if (manifest.exit_status != 0)
        throw Error{ErrorCode::state, place, "a run that ended with exit status 0",
                    format("{}: {}", manifest.exit_status, manifest.error),
                    "there is nothing to compare with"};
}

/// The first part of `path` as seen from `folder`; empty when it does not lie in it.
inline std::string first_part_below(const std::filesystem::path& folder, const std::filesystem::path& path) {
    const std::filesystem::path relative = path.lexically_relative(folder);
    const std::string first = relative.empty() ? ".." : relative.begin()->string();
    return first == ".." ? "" : first;
}

/// The new run begins by clearing its folder: that must not be the run, nor anything else that somebody wants.
inline void require_repro_folder(const std::string& run, std::string out) {
    namespace fs = std::filesystem;
    const auto refuse = [&](const char* expected, const std::string& got) {
        throw Error{ErrorCode::state, "--out " + out, expected, got,
                    "nothing was touched; choose another --out"};
    };
    while (out.size() > 1 && out.back() == '/') out.pop_back();
    std::error_code problem;
    const auto whole = [](const std::string& path) {
        const fs::path all = fs::weakly_canonical(path);
        return all.has_filename() ? all : all.parent_path();
    };
    const fs::path here = whole(run), there = whole(out);
    if (here == there || fs::equivalent(run, out, problem))
        refuse("another folder than the run's", "the run itself");
    if (!first_part_below(there, here).empty()) refuse("a folder beside the run", "one that holds the run");
    const std::string part = first_part_below(here, there);
    if (!part.empty() && part != "repro")
        refuse("RUN/repro, or a folder outside of the run", part + " of the run");
    if (!fs::exists(there) || file_exists(out + "/repro.json")) return;
    if (!fs::is_directory(there)) refuse("a folder", "a file");
    if (!fs::is_empty(there))
        refuse("a new or empty folder, or one with repro.json", "a folder with other files");
}

}  // namespace detail

}  // namespace moegrad
