#pragma once
// save_state and load_newest: a checkpoint from tensors and back, whoever owns them. checkpoint.hpp does it for a trainer.
// `identity`: what decides the result, as lines "key = value" (run_identity.hpp).

#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <moegrad/train/checkpoint_folder.hpp>
#include <moegrad/train/checkpoint_state.hpp>
#include <moegrad/train/run_identity.hpp>
#include <moegrad/train/run_state_json.hpp>

namespace moegrad {

namespace detail {

inline std::string state_text(const RunState& state, const std::string& identity) {
    Json lines = Json::object();
    for (const auto& [key, value] : identity_lines(identity)) lines.add(key, value);
    Json json = Json::object();
    json.add("run", to_json(state));
    json.add("identity", std::move(lines));
    return write_json(json, JsonStyle::indented);
}

/// Manifest, sizes, digests; throws where something is not as it was saved.
inline void verify_checkpoint(const std::string& folder, Index step, ThreadPool& pool) {
    const auto manifest = read_manifest(folder + "/" + kManifestName);
    const std::vector<ManifestFile>& files = manifest.files;
    if (manifest.step != step || files.size() != 2 || files[0].name != "state.safetensors" ||
        files[1].name != "state.json")
        throw Error{ErrorCode::format, folder, format("the two files of step {}", step),
                    format("{} files of step {}", files.size(), manifest.step)};
    verify_files(manifest, folder, pool);
}

/// Whether the checkpoint of this step stands already, as it does when a run is stopped right after it went on. A
/// damaged one, or one of other contents, gives up its name.
inline bool is_saved(CheckpointFolder& checkpoints, Index step, const std::vector<StateTensor>& tensors,
                     ThreadPool& pool) {
    const std::string folder = checkpoints.path_of(step);
    if (!std::filesystem::exists(folder)) return false;
    try {
        verify_checkpoint(folder, step, pool);
        const auto there = read_manifest(folder + "/" + kManifestName).files.front();
        const auto now = state_parts(there.name, state_header(tensors), tensors, pool, [] {});
        if (manifest_text({step, {now}}) == manifest_text({step, {there}})) return true;
    } catch (const Error&) {
    }
    checkpoints.put_aside(step);
    return false;
}

inline Error with_older(const Error& error, const CheckpointFolder& checkpoints) {
    const auto steps = checkpoint_steps(checkpoints.run_folder());
    const std::string older = steps.empty() ? std::string("there is no older checkpoint")
                                            : format("{} stands", checkpoints.path_of(steps.front()));
    return {error.code, error.place, error.expected, error.got,
            older + "; see to the disk, then go on with --resume"};
}

}  // namespace detail

/// Saves; then keeps the `keep` newest, at least two, this one always. An Error leaves the older checkpoints as they were; the run should
/// end then, for a disk that failed once may lose what it says it has.
inline void save_state(CheckpointFolder& checkpoints, const std::vector<StateTensor>& tensors,
                       const RunState& state, const std::string& identity, int keep, ThreadPool& pool) {
    if (detail::is_saved(checkpoints, state.step, tensors, pool))
        return checkpoints.put_later_aside(state.step);
    std::string temporary;
    try {
        temporary = checkpoints.begin(state.step);
        CheckpointManifest manifest{state.step, {write_state(temporary, tensors, pool)}};
        const std::string text = detail::state_text(state, identity);
        DurableFile file(temporary + "/state.json", text.size());
        file.write(text);
        file.finish();
        manifest.files.push_back(whole_file("state.json", text));
        checkpoints.commit(temporary, manifest, keep);
    } catch (const Error& error) {
        if (!temporary.empty()) checkpoints.abandon(temporary);
        throw detail::with_older(error, checkpoints);
    }
}

/// The newest checkpoint that verifies, into the tensors; damaged ones are named and put aside. Nothing where there is
/// no checkpoint; an Error where none of them verifies, or where it is another run's.
template <class Say>
std::optional<RunState> load_newest(CheckpointFolder& checkpoints, std::vector<StateTensor>& tensors,
                                    const std::string& identity, ThreadPool& pool, Say say) {
    std::vector<Index> damaged;
    for (const Index step : checkpoint_steps(checkpoints.run_folder())) {
        const std::string folder = checkpoints.path_of(step);
        try {
            detail::verify_checkpoint(folder, step, pool);
        } catch (const Error& error) {
            if (error.code == ErrorCode::unsupported) throw;
            say(format("{} cannot be used, going a step back:\n{}", folder, error.what()));
            damaged.push_back(step);
            continue;
        }
        const MappedFile text(folder + "/state.json", Links::refuse);
        const Json json = parse_json(text.text(), text.path());
        const JsonRef root(json, text.path(), ErrorCode::format), lines = root.at("identity");
        std::string saved;
        for (const auto& line : lines.members())
            saved += format("{} = {}\n", line.key, lines.member(line).string());
        require_same_identity(folder, saved, identity);
        const RunState state = run_state_from(root.at("run"));
        if (state.step != step)
            root.at("run").at("step").fail(format("{}, the step of the folder and its manifest", step),
                                           "the checkpoint was put together by hand");
        read_state(folder + "/state.safetensors", tensors);
        for (const Index gone : damaged) say(format("kept as {}", checkpoints.put_aside(gone)));
        return state;
    }
    if (!damaged.empty())
        throw Error{ErrorCode::format, checkpoints.run_folder() + "/checkpoints",
                    "a checkpoint that verifies", format("{} that do not", damaged.size()),
                    "remove the folder to start from step 0"};
    return std::nullopt;
}

}  // namespace moegrad
