#pragma once
// The files that a run reads, each with its size and SHA-256: how a run is told from one that began with other bytes.

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <moegrad/core/error.hpp>
#include <moegrad/core/view.hpp>
#include <moegrad/io/mapped_file.hpp>
#include <moegrad/io/sha256.hpp>
#include <moegrad/routing/adapter_folders.hpp>

namespace moegrad {

struct InputFile {
    std::string role;           // model, tokenizer, data, eval; "adapter 0": the first of router.options
    std::string path;           // as the configuration spells it
    Index bytes = 0, rows = 0;  // rows: lines of data
    std::string sha256;

    /// Without the folders: what names it in errors beside its role, and what the identity of a run keeps.
    std::string name() const { return path.substr(path.rfind('/') + 1); }
    bool is_adapter() const { return role.starts_with("adapter"); }
    bool is_data() const { return role == "data" || role == "eval"; }
    /// What a run's identity keeps. A chat template decides what messages become; a licence or a picture beside the weights
    /// decides nothing.
    bool decides() const {
        const std::string file = name();
        return is_data() || file.ends_with(".json") || file.ends_with(".safetensors") ||
               file.ends_with(".model") || file.ends_with(".jinja");
    }
};

namespace detail {

/// The hash of a file that has not changed since it was last asked for: a comparison trains many times on one base.
inline std::string sha256_once(const std::string& path) {
    using Key = std::tuple<dev_t, ino_t, off_t, time_t, long>;
    static std::map<Key, std::string> known;
    struct stat s {};
    if (::stat(path.c_str(), &s) != 0) return sha256_file(path);  // whose error names it
    const Key key{s.st_dev, s.st_ino, s.st_size, s.st_mtim.tv_sec, s.st_mtim.tv_nsec};
    const auto found = known.find(key);
    if (found != known.end()) return found->second;
    return known[key] = sha256_file(path);
}

inline InputFile input_file(const std::string& role, const std::string& path, bool has_rows) {
    const MappedFile file(path);
    InputFile input{role, path, static_cast<Index>(file.size()), 0, sha256_once(path)};
    if (has_rows) {
        const std::string_view text = file.text();
        input.rows =
            std::count(text.begin(), text.end(), '\n') + (!text.empty() && text.back() != '\n' ? 1 : 0);
    }
    return input;
}

/// Plain files of a folder by name; hidden ones and folders are nobody's input.
inline std::vector<std::string> plain_files(const std::string& folder) {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
        const std::string name = entry.path().filename().string();
        if (entry.is_regular_file() && !name.starts_with('.')) names.push_back(name);
    }
    std::sort(names.begin(), names.end());
    return names;
}

}  // namespace detail

/// What decides a run of the adapters in the folders that router.options names. A folder that is gone has none.
inline std::vector<InputFile> adapter_input_files(const std::string& options) {
    std::vector<InputFile> all;
    const auto folders = adapter_folders(RouterOptions(options));
    for (std::size_t i = 0; i < folders.size(); ++i) {
        for (const char* name : {"adapter_config.json", "adapter_model.safetensors"}) {
            const std::string path = folders[i] + "/" + name;
            if (std::filesystem::exists(path))
                all.push_back(detail::input_file(format("adapter {}", i), path, false));
        }
    }
    return all;
}

/// Every file of the model's folder, then the data, then the adapters that router.options names.
inline std::vector<InputFile> input_files(const std::string& model, const std::string& train_data,
                                          const std::string& eval_data, const std::string& options = {}) {
    std::string folder = model;
    while (folder.size() > 1 && folder.back() == '/') folder.pop_back();
    std::vector<InputFile> all;
    for (const std::string& name : detail::plain_files(folder)) {
        const bool words = name.starts_with("tokenizer");
        all.push_back(detail::input_file(words ? "tokenizer" : "model", folder + "/" + name, false));
    }
    all.push_back(detail::input_file("data", train_data, true));
    if (!eval_data.empty()) all.push_back(detail::input_file("eval", eval_data, true));
    for (InputFile& one : adapter_input_files(options)) all.push_back(std::move(one));
    return all;
}

}  // namespace moegrad
