#pragma once
// CheckpointFolder: RUN/checkpoints/step-000120/ and the order of the system calls that makes each of them appear whole
// or not at all, whatever kills the process or the machine.
//   1. step-000120.tmp-PID-N/ beside the target; its files new (O_EXCL), room reserved, written, fsync, close
//   2. MANIFEST.json last        3. fsync of the temporary folder        4. rename to step-000120, never onto a name
//   5. fsync of checkpoints/     6. only then older ones go, down to `keep`: renamed away first, so that no half
//                                   removed folder has a checkpoint's name
// One of a later step than the run is at is another run's: it becomes step-000150.other-run-1 and counts for nothing.
// One writer: flock on the run's folder. What killed saves left is removed when the next writer comes.
// Cases: Pillai et al., OSDI 2014 (what file systems may reorder); wiki.postgresql.org/wiki/Fsync_Errors.

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include <moegrad/io/durable_file.hpp>
#include <moegrad/train/checkpoint_manifest.hpp>

namespace moegrad {

inline std::string checkpoint_name(Index step) {
    return format("step-{:06}", step);
}

/// The step in "step-000120"; -1 for any other name.
inline Index checkpoint_step(std::string_view name) {
    if (!name.starts_with("step-") || name.size() < 11 || name.size() > 20) return -1;
    for (const char c : name.substr(5))
        if (c < '0' || c > '9') return -1;
    const Index step = std::strtoll(std::string(name.substr(5)).c_str(), nullptr, 10);
    return checkpoint_name(step) == name ? step : -1;
}

/// Steps of the folders in `run_folder`/checkpoints that bear a checkpoint's name, newest first; whole or not. A folder
/// that cannot be read is an error, never a folder without checkpoints.
inline std::vector<Index> checkpoint_steps(const std::string& run_folder) {
    const std::string path = run_folder + "/checkpoints";
    std::vector<Index> steps;
    std::error_code problem;
    std::filesystem::directory_iterator it(path, problem);
    if (problem == std::errc::no_such_file_or_directory) return steps;
    for (const std::filesystem::directory_iterator end; !problem && it != end; it.increment(problem)) {
        const Index step = checkpoint_step(it->path().filename().string());
        if (step >= 0) steps.push_back(step);
    }
    if (problem) throw Error{ErrorCode::file, path, "a folder that can be read", problem.message()};
    std::sort(steps.rbegin(), steps.rend());
    return steps;
}

class CheckpointFolder {
public:
    /// Takes the lock, makes RUN/checkpoints where it is missing, removes what killed saves left.
    explicit CheckpointFolder(std::string run_folder)
        : run_(std::move(run_folder)), path_(run_ + "/checkpoints"), lock_(run_) {
        if (std::filesystem::is_directory(path_)) remove_leftovers();
        for (const char* part : {"", "/adapter", "/adapter-best"}) remove_unfinished(run_ + part);
    }

    const std::string& run_folder() const { return run_; }
    std::string path_of(Index step) const { return path_ + "/" + checkpoint_name(step); }

    /// A new temporary folder for this step.
    std::string begin(Index step) {
        if (!is_taken(path_)) {
            make_new_folder(path_);
            sync_folder(run_);
        }
        const std::string path = format("{}.tmp-{}-{}", path_of(step), ::getpid(), ++saves_);
        make_new_folder(path);
        return path;
    }

    /// Writes the manifest and gives the folder its name. A damaged one of that name is put aside first.
    void commit(const std::string& temporary, const CheckpointManifest& manifest, int keep) {
        const std::string text = manifest_text(manifest);
        DurableFile file(temporary + "/" + kManifestName, text.size());
        file.write(text);
        file.finish();
        sync_folder(temporary);
        rename_to_new(temporary, path_of(manifest.step));
        sync_folder(path_);
        put_later_aside(manifest.step);
        prune(keep);
    }

    /// A run at `step` saved none beyond it: those would be taken for the newest, and push its own out.
    void put_later_aside(Index step) {
        for (const Index other : checkpoint_steps(run_))
            if (other > step) put_aside(other, "other-run");
    }

    /// Takes a checkpoint that cannot be used out of the way; returns its new name.
    std::string put_aside(Index step, const char* why = "damaged") {
        std::string name;
        for (int i = 1; name.empty() || is_taken(name); ++i) name = format("{}.{}-{}", path_of(step), why, i);
        rename_to_new(path_of(step), name);
        sync_folder(path_);
        return name;
    }

    /// What a save that failed has written so far. Its error is on its way already: none comes from here.
    void abandon(const std::string& temporary) noexcept {
        std::error_code ignored;
        std::filesystem::remove_all(temporary, ignored);
    }

private:
    void prune(int keep) {
        const auto steps = checkpoint_steps(run_);
        for (std::size_t i = static_cast<std::size_t>(std::max(keep, 2)); i < steps.size(); ++i)
            remove_whole(steps[i]);
    }
    void remove_whole(Index step) {
        const std::string going = format("{}/removing-{}-{}", path_, checkpoint_name(step), ::getpid());
        rename_to_new(path_of(step), going);
        remove(going);
    }
    void remove(const std::filesystem::path& path) {
        std::error_code problem;
        std::filesystem::remove_all(path, problem);
        if (problem) throw Error{ErrorCode::file, path.string(), "to be removed", problem.message()};
    }
    void remove_leftovers() {
        std::vector<std::filesystem::path> leftovers;
        for (const auto& entry : std::filesystem::directory_iterator(path_)) {
            const std::string name = entry.path().filename().string();
            const std::size_t dot = name.find(".tmp-");
            const bool temporary = dot != name.npos && checkpoint_step(name.substr(0, dot)) >= 0;
            if (temporary || name.starts_with("removing-step-")) leftovers.push_back(entry.path());
        }
        for (const auto& path : leftovers) remove(path);
    }

    /// What AtomicFile and folders that were being written leave in the run's folder when they are killed.
    void remove_unfinished(const std::string& folder) {
        if (!std::filesystem::is_directory(folder)) return;
        std::vector<std::filesystem::path> unfinished;
        for (const auto& entry : std::filesystem::directory_iterator(folder)) {
            const std::string name = entry.path().filename().string();
            const bool file = name.starts_with(".moegrad-") && name.ends_with(".tmp");
            if (file || name.starts_with("adapter-best.writing-")) unfinished.push_back(entry.path());
        }
        for (const auto& path : unfinished) remove(path);
    }

    std::string run_, path_;
    FolderLock lock_;
    int saves_ = 0;
};

}  // namespace moegrad
