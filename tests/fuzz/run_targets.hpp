#pragma once
// What the fuzzer calls for adapters and checkpoints, as far as no model is needed.

#include <fuzz/require.hpp>
#include <moegrad/train/adapter_config.hpp>
#include <moegrad/train/adapter_detect.hpp>
#include <moegrad/train/checkpoint_manifest.hpp>
#include <moegrad/train/checkpoint_state.hpp>
#include <moegrad/train/run_identity.hpp>
#include <moegrad/train/run_state_json.hpp>

#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace fuzz {

using namespace moegrad;

inline const ModelConfig& small_mixtral() {
    static const ModelConfig config = [] {
        ModelConfig c = family_defaults(ModelFamily::mixtral);
        c.hidden_size = 8;
        c.intermediate_size = 4;
        c.num_hidden_layers = 1;
        c.num_attention_heads = 2;
        c.num_key_value_heads = 1;
        c.head_dim = 4;
        c.vocab_size = 270;
        c.num_local_experts = 2;
        c.num_experts_per_tok = 1;
        validate(c);
        return c;
    }();
    return config;
}

/// adapter_config.json, a NUL, adapter_model.safetensors. Accepted: ranks are positive, and what is written from the
/// specification is read again.
inline void adapter(std::string_view input) {
    const std::size_t cut = std::min(input.find('\0'), input.size());
    try {
        const Json json = parse_json(input.substr(0, cut), "adapter_config.json", {16, 1u << 20, 10'000});
        const JsonRef root(json, "adapter_config.json");
        std::set<std::string> names;
        const std::string_view bytes = cut < input.size() ? input.substr(cut + 1) : std::string_view();
        std::optional<SafetensorsFile> file;
        if (!bytes.empty()) {
            file.emplace(MappedFile::of_memory("adapter_model.safetensors", bytes));
            for (const TensorInfo& info : file->tensors()) names.insert(info.name);
        }
        const AdapterSpec spec = parse_adapter_config(root, small_mixtral(), file ? &names : nullptr);
        require(spec.lora.rank > 0 && spec.lora.alpha == spec.lora.alpha,
                "a rank from 1 up, an alpha that is a number");
        for (const auto& place : spec.places) require(place.rank > 0, "a rank from 1 up");
        if (file) static_cast<void>(find_peft_layout(*file, root, spec, small_mixtral(), {}));
        const Json again = to_json(spec, small_mixtral());
        static_cast<void>(parse_adapter_config(JsonRef(again, "again"), small_mixtral()));
    } catch (const Error&) {
    }
}

/// A manifest whose parts are read gets a digest, and is then accepted as what it was.
inline void manifest(std::string_view input) {
    const Json json = parse_json(input, "MANIFEST.json", {.depth = 8, .bytes = kMaxManifestBytes});
    const JsonRef root(json, "MANIFEST.json", ErrorCode::format);
    CheckpointManifest read;
    read.step = root.at("step").integer(0, std::int64_t{1} << 60);
    const JsonRef files = root.at("files");
    for (std::size_t i = 0; i < files.array().size(); ++i)
        read.files.push_back(moegrad::detail::manifest_file(files.item(i)));
    const std::string text = manifest_text(read);
    require(manifest_text(parse_manifest(text, "again")) == text,
            "a manifest written and read again is the same");
    static_cast<void>(parse_manifest(input, "MANIFEST.json"));
}

inline void run_state(std::string_view input) {
    const Json json = parse_json(input, "state.json");
    const RunState state = run_state_from(JsonRef(json, "state.json", ErrorCode::format).at("run"));
    const Json again = to_json(state);
    require(write_json(to_json(run_state_from(JsonRef(again, "again")))) == write_json(again),
            "a state written and read again is the same");
}

inline void trained_state(std::string_view input) {
    std::vector<float> values(6, 1.0f);
    const std::span<float> all(values);
    std::vector<StateTensor> tensors = {
        {"weight.a", StoredType::f32, {2, 2}, std::as_writable_bytes(all.first(4))},
        {"first_moment.a", StoredType::f32, {2}, std::as_writable_bytes(all.last(2))}};
    const SafetensorsFile file(MappedFile::of_memory("state.safetensors", input));
    try {
        read_state(file, tensors);
    } catch (const Error&) {
        require(values == std::vector<float>(6, 1.0f),
                "a state that is refused leaves the tensors as they were");
        throw;
    }
    require(file.tensors().size() == 2 && file.bytes(file.tensors()[0]).size() == 16,
            "the tensors that were asked for");
}

/// The first byte chooses the file of a checkpoint.
inline void checkpoint(std::string_view input) {
    if (input.empty()) return;
    const std::string_view file = input.substr(1);
    try {
        switch (input.front() % 4) {
            case 0: return manifest(file);
            case 1: return run_state(file);
            case 2: return trained_state(file);
            default: static_cast<void>(identity_lines(file)); return;
        }
    } catch (const Error&) {
    }
}

}  // namespace fuzz
