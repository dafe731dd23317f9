#pragma once
// repro: a finished run again, from its manifest.json and config.toml, and whether the same bits come out.
//
// First everything that went in is compared with what the manifest says: a changed input or setting is a refusal, a changed
// program, compiler or CPU a warning. Then the run is taken again into another folder, and the SHA-256 of every file of
// adapter/ and adapter-best/ and of metrics.jsonl (which holds no clock) must be those that were sealed, as must
// be steps, tokens, nll_after and best. What was found stands in repro.json of that folder.

#include <algorithm>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include <moegrad/train/repro_check.hpp>

namespace moegrad {

/// One output: the hash that was sealed and the one of now; or one number of the results.
struct ReproOutput {
    std::string path, before, now;  // now: empty when it was not written, before: when it is new
    bool same() const { return before == now; }
};

struct ReproResult {
    std::vector<ReproFinding> findings;
    std::vector<ReproOutput> outputs, numbers;
    std::vector<std::string> changed;  // outputs of the run that are not what was sealed any more
    std::string run, out, tier;
    bool equal = false;  // to what was sealed

    bool good() const { return equal && changed.empty(); }
    /// The last line of a run that gave the sealed bits again.
    std::string verdict() const {
        if (changed.empty()) return "equal: the same bits";
        std::string names;
        for (const std::string& path : changed) names += (names.empty() ? "" : ", ") + path;
        return format("equal to what was sealed; but {} outputs of {} changed since: {}", changed.size(), run,
                      names);
    }
};

namespace detail {

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

/// What the two manifests say beside their files.
inline std::vector<ReproOutput> compare_numbers(const ManifestView& before, const ManifestView& now) {
    return {{"steps", format("{}", before.steps), format("{}", now.steps)},
            {"tokens", format("{}", before.tokens), format("{}", now.tokens)},
            {"nll_after", format("{}", before.nll_after), format("{}", now.nll_after)},
            {"best", format("{}", before.best), format("{}", now.best)}};
}

inline Json outputs_json(const std::vector<ReproOutput>& all) {
    Json::Array outputs;
    for (const ReproOutput& one : all) {
        Json json = Json::object();
        json.add("path", one.path);
        json.add("before", one.before);
        json.add("now", one.now);
        outputs.push_back(std::move(json));
    }
    return Json(std::move(outputs));
}

/// Written before the first step too: it marks the folder as one that may be cleared again.
inline void write_repro_record(const ReproResult& result, const ManifestView& manifest) {
    Json::Array findings, changed;
    for (const ReproFinding& one : result.findings) {
        Json json = Json::object();
        json.add("what", one.what);
        json.add("expected", one.expected);
        json.add("got", one.got);
        json.add("refusal", one.refusal);
        findings.push_back(std::move(json));
    }
    Json json = Json::object();
    json.add("run", manifest.id);
    json.add("equal", result.equal);
    json.add("guarantee", result.tier);
    json.add("findings", Json(std::move(findings)));
    json.add("outputs", outputs_json(result.outputs));
    json.add("results", outputs_json(result.numbers));
    for (const std::string& path : result.changed) changed.emplace_back(path);
    json.add("changed_since", Json(std::move(changed)));
    write_file_atomically(result.out + "/repro.json", write_json(json, JsonStyle::indented));
}

inline void require_same_beginning(const std::vector<ReproFinding>& findings, bool anyway) {
    for (const ReproFinding& one : findings) {
        if (!one.refusal || anyway) continue;
        throw Error{one.what.starts_with("config.toml") ? ErrorCode::config : ErrorCode::data, one.what,
                    one.expected, one.got,
                    "the run would begin with something else; --anyway takes it all the same"};
    }
}

template <class Say>
void say_outputs(const ReproResult& result, Say& say) {
    for (const ReproOutput& one : result.outputs) {
        say(format("  {}  {} {}", one.same() ? "equal    " : "DIFFERENT",
                   one.now.empty() ? "not written" : shortened(one.now), one.path));
    }
    for (const ReproOutput& one : result.numbers)
        if (!one.same()) say(format("  DIFFERENT  {}: {} was {}", one.path, one.now, one.before));
    if (result.equal) return;
    const std::string line = first_difference(result.run + "/metrics.jsonl", result.out + "/metrics.jsonl");
    if (!line.empty()) say(format("  first difference at {}", line));
}

}  // namespace detail

/// Takes the run of options.run again. `train(config)` trains; `say` gets every line.
template <class Train, class Say>
ReproResult reproduce(const ReproOptions& options, Train train, Say say) {
    const ManifestView manifest = read_run_manifest(options.run);
    detail::require_repeatable(manifest, options.run);
    detail::ReproCheck check(options, manifest);
    const RunConfig config = detail::repro_config(check.settings(), options);
    detail::require_repro_folder(options.run, config.output);
    check.inputs(config);
    check.program();
    ReproResult result{check.findings,
                       {},
                       {},
                       check.changed_outputs,
                       options.run,
                       config.output,
                       detail::guarantee_tier(check.findings, !manifest.gpu.empty()),
                       false};
    for (const ReproFinding& one : result.findings) say(one.line());
    say(format("run {}, guarantee {}", manifest.id, result.tier));
    detail::require_same_beginning(result.findings, options.anyway);
    std::filesystem::create_directories(config.output);
    detail::write_repro_record(result, manifest);
    train(config);
    result.outputs = detail::compare_outputs(manifest.outputs, output_files(config.output));
    result.numbers = detail::compare_numbers(manifest, read_run_manifest(config.output));
    const auto same = [](const ReproOutput& one) { return one.same(); };
    result.equal = !result.outputs.empty() &&
                   std::all_of(result.outputs.begin(), result.outputs.end(), same) &&
                   std::all_of(result.numbers.begin(), result.numbers.end(), same);
    detail::say_outputs(result, say);
    detail::write_repro_record(result, manifest);
    return result;
}

}  // namespace moegrad
