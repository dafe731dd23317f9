#pragma once
// The states of a model that `inspect routing --against` names: `base`, an adapter, one checkpoint of a run, or a run, which
// stands for all of its checkpoints in the order of their steps.

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include <moegrad/train/checkpoint_folder.hpp>

namespace moegrad {

struct RoutingState {
    std::string name;
    std::string adapter{};     // none: the base
    std::string checkpoint{};  // none: the adapter as it was saved
};

namespace detail {

/// The checkpoint's weights are those of the adapter that its run ended with.
inline RoutingState checkpoint_of(const std::string& run, Index step) {
    if (!file_exists(run + "/adapter/adapter_config.json")) {
        throw Error{ErrorCode::file, run + "/adapter", "the adapter of a run that has ended", "none",
                    "`moegrad train --resume --out " + run + "` ends it"};
    }
    const std::string name = checkpoint_name(step);
    return {name, run + "/adapter", run + "/checkpoints/" + name};
}

inline std::vector<RoutingState> states_of(const std::string& given) {
    if (given == "base") return {{"base"}};
    std::filesystem::path path = std::filesystem::path(given).lexically_normal();
    if (!path.has_filename()) path = path.parent_path();
    if (file_exists(path.string() + "/adapter_config.json")) {
        const bool of_run = path.filename() == "adapter" && path.has_parent_path();
        return {{(of_run ? path.parent_path() : path).filename().string(), given}};
    }
    const Index step = checkpoint_step(path.filename().string());
    if (step >= 0 && file_exists(path.string() + "/state.json")) {
        const bool inside = !path.has_parent_path();  // of checkpoints/
        const std::string run = inside ? ".." : path.parent_path().parent_path().string();
        return {checkpoint_of(run.empty() ? "." : run, step)};
    }
    std::vector<RoutingState> all;
    auto steps = checkpoint_steps(path.string());
    std::reverse(steps.begin(), steps.end());
    for (const Index one : steps) all.push_back(checkpoint_of(path.string(), one));
    if (!all.empty()) return all;
    throw Error{ErrorCode::file, "--against " + given,
                "`base`, or the folder of an adapter, of a checkpoint, or of a run with checkpoints",
                "none of them", "train with --checkpoint.every N --checkpoint.keep M to have some"};
}

}  // namespace detail

/// In the order given. States of one name are called by their folders.
inline std::vector<RoutingState> routing_states(const std::vector<std::string>& given) {
    std::vector<RoutingState> all;
    for (const std::string& one : given) {
        const auto some = detail::states_of(one);
        all.insert(all.end(), some.begin(), some.end());
    }
    std::vector<std::string> names;
    for (const RoutingState& one : all) names.push_back(one.name);
    for (RoutingState& one : all) {
        if (std::count(names.begin(), names.end(), one.name) > 1 && !one.adapter.empty())
            one.name = one.checkpoint.empty() ? one.adapter : one.checkpoint;
    }
    return all;
}

}  // namespace moegrad
