#pragma once
// inspect of a run folder: how far it came, how it ended, and the command that goes on with it.

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include <moegrad/io/json_lines.hpp>
#include <moegrad/train/checkpoint_folder.hpp>
#include <moegrad/train/inspect_model.hpp>

namespace moegrad {

namespace detail {

/// Lines of metrics.jsonl and the last step in them.
inline void inspect_metrics(const std::string& metrics, Inspection& out) {
    std::int64_t lines = 0, last = 0;
    try {
        read_json_lines(metrics, [&](const JsonRef& line) {
            ++lines;
            if (const auto step = line.find_value("step")) last = step->value().integer().value_or(last);
        });
    } catch (const Error& error) {
        out.warnings.push_back(first_lines(error));
    }
    out.add("metrics", lines).add("last_step", last);
}

/// " of 150" where the settings in the manifest have train.steps.
inline std::string of_all_steps(const Json& manifest) {
    const Json* identity = manifest.find("identity");
    const Json* config = identity ? identity->find("config") : nullptr;
    const Json* steps = config ? config->find("train.steps") : nullptr;
    const bool known = steps && steps->string() && std::strtoll(steps->string()->c_str(), nullptr, 10) > 0;
    return known ? " of " + printable(*steps->string(), 20) : "";
}

/// How the run ended; `newest`: step of its newest checkpoint, or -1.
inline void inspect_end(const std::string& folder, const Json& manifest, Index newest, Inspection& out) {
    const Json* results = manifest.find("results");
    for (const char* key : {"id", "sealed", "stopped", "exit_status", "error"}) {
        const Json* value = manifest.find(key);
        if (!value && results) value = results->find(key);
        if (!value || (value->string() && value->string()->empty())) continue;
        if (value->string() || value->boolean() || value->integer())
            out.add(key, value->string() ? Json(printable(*value->string(), 400)) : *value);
    }
    const std::string goes_on =
        "; `moegrad train --resume --out " + printable(folder, 400) + "` goes on" +
        (newest >= 0 ? moegrad::format(" from step {}", newest) : std::string(" from the start"));
    const Json* sealed = manifest.find("sealed");
    const Json* stopped = results ? results->find("stopped") : nullptr;
    const Json* step = results ? results->find("steps") : nullptr;
    if (sealed && sealed->boolean() && !*sealed->boolean())
        out.notes.push_back("killed, or still going" + goes_on);
    if (stopped && stopped->string() && *stopped->string() == "interrupted" && step && step->integer())
        out.notes.push_back(
            moegrad::format("interrupted at step {}{}{}", *step->integer(), of_all_steps(manifest), goes_on));
}

}  // namespace detail

/// What `moegrad train` leaves: config.toml, metrics.jsonl, adapter/, checkpoints/.
inline Inspection inspect_run(const std::string& folder) {
    Inspection out("run", folder);
    if (file_exists(folder + "/metrics.jsonl")) detail::inspect_metrics(folder + "/metrics.jsonl", out);
    const auto steps = checkpoint_steps(folder);
    Json::Array newest;
    for (const Index step : steps) newest.emplace_back(step);
    if (!steps.empty()) out.add("checkpoints_at_step", Json(std::move(newest)));
    std::vector<std::string> parts;
    for (const char* part :
         {"adapter", "adapter-best", "config.toml", "manifest.json", "report.html", "eval", "events"}) {
        if (file_exists(folder + "/" + part)) parts.emplace_back(part);
    }
    out.add("parts", detail::word_list(parts));
    if (file_exists(folder + "/manifest.json")) {
        detail::inspect_end(folder, parse_json_file(folder + "/manifest.json"),
                            steps.empty() ? -1 : steps.front(), out);
    }
    return out;
}

}  // namespace moegrad
