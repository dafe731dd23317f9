#pragma once
// manifest.json read back: every field that a run writes must be there and of its type, and the hashes over settings,
// inputs and results must fit.

#include <filesystem>
#include <limits>
#include <string>
#include <system_error>
#include <vector>

#include <moegrad/io/json.hpp>
#include <moegrad/train/manifest.hpp>
#include <moegrad/train/run_fields.hpp>

namespace moegrad {

struct ManifestView {
    std::string id, config_sha256, binary_sha256, compiler, cpu, gpu, instructions, started, stopped, error,
        guarantee;
    bool sealed = false;
    Index threads = 0, exit_status = 0, steps = 0, tokens = 0;
    double nll_after = std::numeric_limits<double>::quiet_NaN(), best = nll_after;  // NaN: none
    Settings settings;
    std::vector<InputFile> inputs;
    std::vector<OutputFile> outputs;
    Json::Array resumes;
};

namespace detail {

inline constexpr std::int64_t kManifestMost = std::int64_t{1} << 53;

inline std::string hash_field(const JsonRef& json) {
    const std::string& text = json.string();
    const bool hex = text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string::npos;
    if (!hex) json.fail("64 hexadecimal digits");
    return text;
}

inline void read_identity(const JsonRef& json, ManifestView& view) {
    for (std::size_t i = 0; i < json.at("argv").array().size(); ++i)
        static_cast<void>(json.at("argv").item(i).string());
    const JsonRef config = json.at("config");
    for (const JsonMember& member : config.members())
        view.settings.emplace_back(member.key, config.member(member).string());
    view.config_sha256 = hash_field(json.at("config_sha256"));
    if (!json.at("seed").value().unsigned_integer()) json.at("seed").fail("a whole number from 0");
    static_cast<void>(json.at("random").string());
    view.guarantee = json.at("guarantee").string();
    view.started = json.at("started").string();
    const JsonRef resumes = json.at("resumes");
    for (std::size_t i = 0; i < resumes.array().size(); ++i) {
        const JsonRef one = resumes.item(i);
        static_cast<void>(one.at("step").integer(0, kManifestMost));
        static_cast<void>(one.at("time").string());
        static_cast<void>(hash_field(one.at("binary_sha256")));
        view.resumes.push_back(one.value());
    }
}

inline void read_code(const JsonRef& json, ManifestView& view) {
    for (const char* key : {"version", "commit", "standard", "build", "flags"})
        static_cast<void>(json.at(key).string());
    view.compiler = json.at("compiler").string();
    view.binary_sha256 = hash_field(json.at("binary_sha256"));
    for (const char* key : {"fmt", "nlohmann_json", "libc", "libstdcxx", "others"})
        static_cast<void>(json.at("libraries").at(key).string());
}

inline void read_machine(const JsonRef& json, ManifestView& view) {
    view.cpu = json.at("cpu").string();
    if (json.value().find("gpu") != nullptr) view.gpu = json.at("gpu").string();
    view.instructions = json.at("instructions").string();
    static_cast<void>(json.at("kernel").string());
    static_cast<void>(json.at("cores").integer(0, 1 << 20));
    view.threads = json.at("threads").integer(1, 1 << 20);
    for (const char* key : {"MOEGRAD_THREADS", "LC_ALL", "TZ"}) {
        const JsonRef value = json.at("environment").at(key);
        if (!value.is_null()) static_cast<void>(value.string());
    }
}

inline void read_inputs(const JsonRef& json, ManifestView& view) {
    for (std::size_t i = 0; i < json.array().size(); ++i) {
        const JsonRef one = json.item(i);
        view.inputs.push_back({one.at("role").string(), one.at("path").string(),
                               one.at("bytes").integer(0, kManifestMost),
                               one.at("rows").integer(0, kManifestMost), hash_field(one.at("sha256"))});
    }
}

inline void read_results(const JsonRef& json, ManifestView& view) {
    static_cast<void>(json.at("ended").string());
    view.exit_status = json.at("exit_status").integer(0, 255);
    view.error = json.at("error").string();
    view.stopped = json.at("stopped").string();
    view.steps = json.at("steps").integer(0, kManifestMost);
    view.tokens = json.at("tokens").integer(0, kManifestMost);
    for (const char* key : {"supervised", "warnings"})
        static_cast<void>(json.at(key).integer(0, kManifestMost));
    static_cast<void>(json.at("best_step").integer(-1, kManifestMost));
    constexpr double most = std::numeric_limits<double>::max();
    const auto number = [&](const char* key) {
        const JsonRef value = json.at(key);
        return value.is_null() ? std::numeric_limits<double>::quiet_NaN() : value.number(-most, most);
    };
    static_cast<void>(number("nll_before"));
    view.nll_after = number("nll_after");
    view.best = number("best");
    const JsonRef outputs = json.at("outputs");
    for (std::size_t i = 0; i < outputs.array().size(); ++i) {
        const JsonRef one = outputs.item(i);
        view.outputs.push_back({one.at("path").string(), one.at("bytes").integer(0, kManifestMost),
                                hash_field(one.at("sha256"))});
    }
}

}  // namespace detail

/// Reads a manifest; a missing field, one of another type, or a hash that does not fit is an error that names it.
inline ManifestView validate_manifest(const Json& json, const std::string& place) {
    const JsonRef root(json, place, ErrorCode::format);
    ManifestView view;
    if (root.at("schema").integer(0, 1 << 20) != kManifestSchema)
        root.at("schema").fail_unsupported(format("{}", kManifestSchema),
                                           "written by another version of moegrad");
    view.id = root.at("id").string();
    view.sealed = root.at("sealed").boolean();
    detail::read_identity(root.at("identity"), view);
    detail::read_code(root.at("code"), view);
    detail::read_machine(root.at("machine"), view);
    detail::read_inputs(root.at("inputs"), view);
    if (view.sealed) {
        const std::string sealed = detail::hash_field(root.at("results_sha256"));
        detail::read_results(root.at("results"), view);
        if (detail::results_sha256(root.at("results").value()) != sealed)
            root.at("results").fail("results whose SHA-256 is results_sha256", "a result was changed");
    }
    if (sha256_hex(detail::setting_lines(view.settings)) != view.config_sha256) {
        for (const auto& field : config_fields())
            static_cast<void>(root.at("identity").at("config").at(field.key));
        root.at("identity")
            .at("config")
            .fail("settings whose SHA-256 is config_sha256", "a setting was changed");
    }
    if (detail::run_id(view.config_sha256, view.inputs) != view.id)
        root.at("inputs").fail("inputs whose hashes make the id of the run",
                               "an input is missing or was changed");
    return view;
}

inline ManifestView read_run_manifest(const std::string& folder) {
    const std::string path = folder + "/manifest.json";
    return validate_manifest(parse_json_file(path), path);
}

/// Whether the folder holds a run that came to its end: a sealed manifest, exit status 0, and its adapter. Never throws.
inline bool is_finished(const std::string& run_folder) {
    try {
        std::error_code problem;
        if (!std::filesystem::is_regular_file(run_folder + "/manifest.json", problem)) return false;
        const ManifestView view = read_run_manifest(run_folder);
        return view.sealed && view.exit_status == 0 &&
               std::filesystem::is_directory(run_folder + "/adapter", problem);
    } catch (...) {
        return false;
    }
}

inline RunManifest RunManifest::resumed(const ManifestStart& start, Index step) {
    if (!file_exists(start.folder + "/manifest.json")) return RunManifest(start);
    ManifestView before = read_run_manifest(start.folder);
    for (const InputFile& one : start.inputs) {
        const auto same = [&](const InputFile& old) {
            return old.role == one.role && (one.is_data() || old.name() == one.name());
        };
        const auto found = std::find_if(before.inputs.begin(), before.inputs.end(), same);
        const bool there = found != before.inputs.end();
        if (!one.decides() || (there && found->sha256 == one.sha256)) continue;
        throw Error{ErrorCode::data, one.path, "the file that the run began with",
                    there ? "other bytes (SHA-256 differs)" : "a new file",
                    "a run goes on with the bytes it began with; start a new one in another output.dir"};
    }
    Json now = Json::object();
    now.add("step", step);
    now.add("time", detail::utc_now());
    now.add("binary_sha256", binary_sha256());
    before.resumes.push_back(std::move(now));
    return RunManifest(start, std::move(before.resumes), before.started);
}

}  // namespace moegrad
