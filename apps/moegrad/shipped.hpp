#pragma once
// Where the files are that ship with moegrad: models/ of the source tree, or share/moegrad/models of an installation.

#include <filesystem>
#include <string>
#include <system_error>

#include <moegrad/core/error.hpp>

namespace moegrad {

/// `name` below models/: in the place that the build names, else above the program's own folder or the current one.
inline std::string shipped(const std::string& name) {
    namespace fs = std::filesystem;
    std::error_code problem;
    const fs::path program = fs::read_symlink("/proc/self/exe", problem), here = fs::current_path(problem);
#ifdef MOEGRAD_MODELS_DIR
    if (const fs::path found = fs::path(MOEGRAD_MODELS_DIR) / name; fs::exists(found, problem))
        return found.lexically_proximate(here).string();
#endif
    for (const fs::path& from : {program.parent_path(), here}) {
        for (fs::path folder = from;; folder = folder.parent_path()) {
            for (const char* place : {"models", "share/moegrad/models"}) {
                const fs::path found = folder / place / name;
                if (!folder.empty() && fs::exists(found, problem))
                    return found.lexically_proximate(here).string();
            }
            if (folder == folder.parent_path()) break;
        }
    }
    throw Error{ErrorCode::file, name, "a file that ships with moegrad, in models/",
                "none above " + program.string() + " or " + here.string(),
                "run from the source tree, or name your own"};
}

}  // namespace moegrad
