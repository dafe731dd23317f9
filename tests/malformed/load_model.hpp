#pragma once
// The readers that need a model or a trainer's tensors.

#include <malformed/cases_checkpoint.hpp>
#include <malformed/load.hpp>
#include <moegrad/train/adapter_files.hpp>
#include <moegrad/train/checkpoint_store.hpp>
#include <support/model_small.hpp>

namespace malformed {

inline void load_adapter_folder(const std::string& folder) {
    using namespace moegrad;
    const bool fused =
        io_test::read_text(folder + "/adapter_config.json").find("experts") != std::string::npos;
    const auto model =
        test::small_model<float>(test::small_config(fused ? ModelFamily::mixtral : ModelFamily::llama));
    static_cast<void>(load_adapter(*model, folder));
}

// Made before any case: it asks the system how many processors there are.
inline moegrad::ThreadPool kOneThread(1);

/// What load_newest does with one folder.
inline void load_checkpoint_folder(const std::string& folder) {
    using namespace moegrad;
    moegrad::detail::verify_checkpoint(folder, kCheckpointStep, kOneThread);
    const Json json = parse_json_file(folder + "/state.json", {}, Links::refuse);
    const JsonRef root(json, folder + "/state.json", ErrorCode::format), lines = root.at("identity");
    std::string saved;
    for (const JsonMember& line : lines.members())
        saved += moegrad::format("{} = {}\n", line.key, lines.member(line).string());
    static_cast<void>(run_state_from(root.at("run")));
    require_same_identity(folder, saved, kIdentity);
    std::vector<float> values(12, 1.0f);
    std::vector<StateTensor> tensors;
    for (const StoredF32& entry : state_entries())
        tensors.push_back({entry.name, StoredType::f32, entry.shape,
                           std::as_writable_bytes(std::span(values).subspan(4 * tensors.size(), 4))});
    try {
        read_state(folder + "/state.safetensors", tensors);
    } catch (const Error&) {
        if (values != std::vector<float>(12, 1.0f)) fail_encoding("nothing half loaded", "some of it");
        throw;
    }
}

inline void load_any(Reader reader, const std::string& folder) {
    if (reader == Reader::adapter) return load_adapter_folder(folder);
    if (reader == Reader::checkpoint) return load_checkpoint_folder(folder);
    load(reader, folder);
}

}  // namespace malformed
