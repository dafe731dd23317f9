#pragma once
// inspect(PATH): says what a file or folder is from what it holds, never from its name alone, and never loads a
// model.

#include <filesystem>
#include <string>
#include <system_error>

#include <moegrad/train/inspect_adapter.hpp>
#include <moegrad/train/inspect_files.hpp>
#include <moegrad/train/inspect_model.hpp>
#include <moegrad/train/inspect_run.hpp>

namespace moegrad {

struct InspectOptions {
    std::string path;
    std::string base;  // for an adapter: the folder of its model
    AdapterReading reading{};
};

namespace detail {

/// More tokens than rows of the embedding: another model's tokenizer, or one that grew.
inline void compare_tokenizer(const std::string& folder, Inspection& out) {
    const Json* shape = out.json.find("shape");
    const Json* rows = shape ? shape->find("vocabulary") : nullptr;
    if (!rows || !file_exists(folder + "/tokenizer.json")) return;
    try {
        const auto tokens = static_cast<std::int64_t>(load_tokenizer(folder).vocab_size());
        if (tokens > rows->integer().value_or(0))
            out.warnings.push_back(moegrad::format("the tokenizer has {} tokens, the model rows for {}",
                                                   tokens, *rows->integer()));
    } catch (const Error& error) {
        out.warnings.push_back("the tokenizer does not load: " + first_lines(error));
    }
}

inline Inspection inspect_folder(const InspectOptions& options) {
    const std::string& path = options.path;
    const auto has = [&](const char* name) { return file_exists(path + "/" + name); };
    if (has("adapter_config.json")) return inspect_adapter(path, options.base, options.reading);
    if (has("config.json")) {
        Inspection out = inspect_model(path);
        compare_tokenizer(path, out);
        return out;
    }
    if (has("metrics.jsonl") || has("manifest.json") || has("checkpoints")) return inspect_run(path);
    if (has("tokenizer.json") || has("tokenizer.model")) return inspect_tokenizer(path);
    throw Error{ErrorCode::file, path,
                "a folder with config.json, adapter_config.json, tokenizer.json or metrics.jsonl",
                "none of them", "name a model, an adapter, a tokenizer or a run"};
}

inline Inspection inspect_file(const InspectOptions& options) {
    const std::filesystem::path path(options.path);
    const std::string name = path.filename().string();
    if (name == "adapter_config.json")
        return inspect_adapter(folder_of(options.path), options.base, options.reading);
    if (name == "config.json") return inspect_model(folder_of(options.path));
    if (name == "tokenizer.json") return inspect_tokenizer(folder_of(options.path));
    if (name.ends_with(".jsonl")) return inspect_json_lines(options.path);
    if (name.ends_with(".safetensors")) return inspect_safetensors(options.path);
    const bool table = name.ends_with(".tsv") || name.ends_with(".csv") || name.ends_with(".txt");
    const std::string folder = printable(folder_of(options.path), 400);
    std::string hint;
    if (name.ends_with(".index.json")) hint = "the list of a model's files: `moegrad inspect " + folder + "`";
    if (table)
        hint = "`moegrad data` reads what a run would train on, with data.format; inspect knows .jsonl";
    throw Error{ErrorCode::unsupported, options.path,
                "a folder, .safetensors, .jsonl, config.json, adapter_config.json or tokenizer.json",
                "another file", hint};
}

}  // namespace detail

inline Inspection inspect(const InspectOptions& options) {
    std::error_code problem;
    const auto status = std::filesystem::status(options.path, problem);
    if (std::filesystem::is_directory(status)) return detail::inspect_folder(options);
    if (!std::filesystem::exists(status))
        throw Error{ErrorCode::file, options.path, "a file or folder", "nothing there"};
    return detail::inspect_file(options);
}

}  // namespace moegrad
