#pragma once
// PendingFolder: a folder that is there whole or not at all. Files are written beside the target, commit() renames;
// without it, and on any error, everything written is removed.

#include <moegrad/core/error.hpp>
#include <moegrad/core/format.hpp>

#include <unistd.h>

#include <filesystem>
#include <string>
#include <system_error>
#include <utility>

namespace moegrad {

class PendingFolder {
public:
    /// `target` must not be there, or be an empty folder.
    explicit PendingFolder(std::string target) : target_(std::move(target)) {
        while (target_.size() > 1 && target_.back() == '/') target_.pop_back();
        require_free();
        path_ = moegrad::format("{}.writing-{}", target_, ::getpid());
        std::error_code problem;
        std::filesystem::remove_all(path_, problem);
        std::filesystem::create_directories(path_, problem);
        if (problem) throw Error{ErrorCode::file, target_, "a folder that can be made", problem.message()};
    }
    PendingFolder(const PendingFolder&) = delete;
    PendingFolder& operator=(const PendingFolder&) = delete;
    ~PendingFolder() {
        std::error_code ignored;
        if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
    }

    /// Where to write until commit().
    const std::string& path() const { return path_; }

    void commit() {
        std::error_code problem;
        std::filesystem::rename(path_, target_, problem);  // takes the place of an empty folder
        if (problem) throw Error{ErrorCode::file, target_, "to put the folder in place", problem.message()};
        path_.clear();
    }

private:
    void require_free() const {
        std::error_code problem;
        const bool there = std::filesystem::exists(target_, problem);
        if (target_.empty() || (there && !std::filesystem::is_empty(target_, problem)) || problem)
            throw Error{ErrorCode::file, "--out", "a folder that is new or empty",
                        target_.empty() ? "no name" : target_, "nothing is overwritten: choose another name"};
    }

    std::string target_, path_;
};

}  // namespace moegrad
