#pragma once
// export: a model as a Hugging Face folder that keeps the layout of the base it came from: the same files (one, or the
// same shards), the same tensor names (experts one by one or fused) in the same order, the same number types unless
// another is asked for; config.json word for word unless the type changed; tokenizer, template and generation files
// copied. A tensor that nothing changed is copied bit for bit.

#include <algorithm>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <moegrad/io/pending_folder.hpp>
#include <moegrad/io/safetensors_writer.hpp>
#include <moegrad/train/model_files.hpp>

namespace moegrad {

/// What differs from the base in an exported folder.
struct ExportChanges {
    std::set<const Parameter<float>*> weights;  // parameters whose values are to be written
    std::optional<StoredType> type;             // of every tensor; nothing: each as the base stores it
    Index experts_per_token = 0;                // 0: the base's
};

/// The weight files of a model folder, in the order of their names; the index is left out.
inline std::vector<std::string> weight_files(const std::string& folder) {
    if (file_exists(folder + "/model.safetensors")) return {"model.safetensors"};
    const std::string path = folder + "/model.safetensors.index.json";
    const Json json = parse_json_file(path);
    const JsonRef map = JsonRef(json, path, ErrorCode::format).at("weight_map");
    std::set<std::string> files;
    for (const JsonMember& member : map.members()) {
        require_plain_file_name(map.member(member).string(), map.member(member).place());
        files.insert(map.member(member).string());
    }
    return {files.begin(), files.end()};
}

namespace detail {

/// The object with a key set, in its old place where it had one.
inline Json with_key(const Json& json, const std::string& key, const Json& value) {
    Json out = Json::object();
    for (const JsonMember& member : *json.members())
        out.add(member.key, member.key == key ? value : member.value);
    if (json.find(key) == nullptr) out.add(key, value);
    return out;
}

inline std::string dtype_name(StoredType type) {
    return type == StoredType::bf16 ? "bfloat16" : type == StoredType::f16 ? "float16" : "float32";
}

/// config.json word for word, or with the keys that changed.
inline void export_config(const std::string& base, const std::string& out, const ExportChanges& changes) {
    const MappedFile file(base + "/config.json");
    Json json = parse_json(file.text(), base + "/config.json");
    bool changed = false;
    const auto set = [&](const std::string& key, const Json& value) {
        json = with_key(json, key, value);
        changed = true;
    };
    if (changes.type) {
        const bool newer = json.find("dtype") != nullptr, older = json.find("torch_dtype") != nullptr;
        if (newer) set("dtype", dtype_name(*changes.type));
        if (older || !newer) set("torch_dtype", dtype_name(*changes.type));
    }
    if (changes.experts_per_token > 0) set("num_experts_per_tok", changes.experts_per_token);
    write_file_atomically(out + "/config.json",
                          changed ? write_json(json, JsonStyle::indented) : std::string(file.text()));
}

/// Whether a file of the base goes along: tokenizers, chat templates, generation settings, the licence.
inline bool is_companion(const std::string& name) {
    if (name.ends_with(".index.json") || name == "config.json" || name.starts_with("adapter_")) return false;
    for (const char* end : {".json", ".jinja", ".model", ".txt", ".tiktoken"}) {
        if (name.ends_with(end)) return true;
    }
    return name.starts_with("LICENSE") || name.starts_with("NOTICE");
}

inline void copy_companions(const std::string& base, const std::string& out) {
    for (const auto& entry : std::filesystem::directory_iterator(base)) {
        const std::string name = entry.path().filename().string();
        if (!entry.is_regular_file() || !is_companion(name)) continue;
        const MappedFile file(entry.path().string());
        write_file_atomically(out + "/" + name, file.text());
    }
}

class WeightExporter {
public:
    WeightExporter(Decoder<float>& model, const ExportChanges& changes) : changes_(changes) {
        for (auto& stored : model.stored_tensors()) parts_.emplace(stored.name, stored);
    }

    /// One file of the base into `out`. Returns the bytes of its tensors.
    std::size_t file(const std::string& from, const std::string& to) {
        const SafetensorsFile base(from);
        SafetensorsWriter writer;
        for (const auto& [key, value] : base.metadata()) writer.set_metadata(key, value);
        std::size_t bytes = 0;
        for (const TensorInfo& info : base.tensors()) {
            const StoredType type = changes_.type.value_or(info.type);
            const auto part = parts_.find(info.name);
            const bool changed = part != parts_.end() && changes_.weights.contains(part->second.parameter);
            if (!changed && type == info.type) {
                writer.add_bytes(info.name, type, info.shape, base.bytes(info));
            } else if (changed && type == StoredType::f64) {
                throw Error{ErrorCode::unsupported, from + ": " + info.name,
                            "a base stored in F32, F16 or BF16", "F64",
                            "merging computes in float32: pass --dtype float32"};
            } else {
                std::vector<float> values(static_cast<std::size_t>(info.count));
                if (changed) {
                    const auto from_model = part->second.value().values();
                    std::copy(from_model.begin(), from_model.end(), values.begin());
                } else {
                    base.read(info, std::span<float>(values));
                }
                writer.add(info.name, type, info.shape, std::span<const float>(values));
            }
            bytes += static_cast<std::size_t>(info.count) * bits(type) / 8;
        }
        writer.save(to);
        return bytes;
    }

private:
    const ExportChanges& changes_;
    std::map<std::string, StoredTensor<float>> parts_;
};

/// The base's index, with the size that the tensors have now.
inline void export_index(const std::string& base, const std::string& out, std::size_t bytes) {
    const std::string name = "/model.safetensors.index.json";
    if (!file_exists(base + name)) return;
    Json json = parse_json_file(base + name);
    const Json* old = json.find("metadata");
    Json metadata = with_key(old && old->members() ? *old : Json::object(), "total_size",
                             static_cast<std::int64_t>(bytes));
    json = with_key(json, "metadata", metadata);
    write_file_atomically(out + name, write_json(json, JsonStyle::indented));
}

}  // namespace detail

/// Writes `model`, which was read from `base`, into the folder `out`, which is there already.
inline void export_checkpoint(Decoder<float>& model, const std::string& base, const std::string& out,
                              const ExportChanges& changes) {
    require_dense(model, "export");
    detail::WeightExporter exporter(model, changes);
    std::size_t bytes = 0;
    for (const std::string& name : weight_files(base)) {
        bytes += exporter.file(base + "/" + name, out + "/" + name);
    }
    detail::export_index(base, out, bytes);
    detail::copy_companions(base, out);
    detail::export_config(base, out, changes);
}

}  // namespace moegrad
