#pragma once
// Adapters on disk: adapter_config.json and adapter_model.safetensors, as PEFT writes them. Routers that PEFT does not
// know are kept under peft_type "MOLORA" with a "moegrad" block that holds the AdapterSpec.
// Read: one module per Linear or expert, and fused experts in every packing of adapter_layout.hpp. Every tensor of the
// file goes to one place, every place gets its tensor, or the file is refused; so is what it could not honour.

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <moegrad/io/checkpoint_index.hpp>
#include <moegrad/io/json.hpp>
#include <moegrad/io/json_writer.hpp>
#include <moegrad/io/safetensors.hpp>
#include <moegrad/io/safetensors_writer.hpp>
#include <moegrad/methods/adapter_tensors.hpp>
#include <moegrad/train/adapter_config.hpp>
#include <moegrad/train/adapter_detect.hpp>
#include <moegrad/train/base_fingerprint.hpp>

namespace moegrad {

/// An adapter folder, opened: what it is and how its file lies, no values read.
struct AdapterFolder {
    AdapterFolder(const std::string& folder, const ModelConfig& config, const AdapterReading& reading = {})
        : json(parse_json_file(folder + "/adapter_config.json")),
          file(weights_of(folder, JsonRef(json, folder + "/adapter_config.json"))) {
        const JsonRef root(json, folder + "/adapter_config.json");
        std::set<std::string> names;
        for (const auto& info : file.tensors()) names.insert(info.name);
        spec = parse_adapter_config(root, config, &names);
        require_ranks(root);
        layout = find_peft_layout(file, root, spec, config, reading);
    }

    Json json;
    SafetensorsFile file;
    AdapterSpec spec;
    LayoutFinding layout;

private:
    /// Adapters are allocated by their rank, so the file must have an extent that large.
    void require_ranks(const JsonRef& root) const {
        if (file.tensors().empty())
            throw Error{ErrorCode::format, file.path(), "at least one tensor", "none"};
        Index largest = 0, rank = std::max(spec.lora.rank, spec.gate_up_rank);
        for (const auto& info : file.tensors())
            for (const Index extent : info.shape) largest = std::max(largest, extent);
        for (const auto& place : spec.places) rank = std::max(rank, place.rank);
        if (rank > largest)
            throw Error{ErrorCode::shape, root.at("r").place(),
                        format("at most {}, the largest extent in {}", largest, file.path()),
                        format("{}", rank), "do adapter_config.json and the weights belong together?"};
    }

    static std::string weights_of(const std::string& folder, const JsonRef& root) {
        detail::refuse_foreign(root);
        const std::string path = folder + "/adapter_model.safetensors";
        if (!file_exists(path) && file_exists(folder + "/adapter_model.bin")) {
            throw Error{ErrorCode::file, path, "a readable file", "adapter_model.bin in its place",
                        "a pickled file can run code: save it again as safetensors with PEFT"};
        }
        return path;
    }
};

namespace detail {

/// transformers 4 and 5 call the MoE block differently; a gate's tensor may have either name.
inline std::string other_dialect(const std::string& name) {
    for (const auto& [from, to] :
         {std::pair<std::string, std::string>{".mlp.gate.", ".block_sparse_moe.gate."},
          {".block_sparse_moe.gate.", ".mlp.gate."}}) {
        const auto at = name.find(from);
        if (at != std::string::npos) return name.substr(0, at) + to + name.substr(at + from.size());
    }
    return name;
}

inline const TensorInfo* find_adapter_tensor(const SafetensorsFile& file, const std::string& name) {
    const TensorInfo* found = file.find(name);
    return found ? found : file.find(other_dialect(name));
}

/// Both directions: what the config asks for, and what the file has.
template <class Real>
void require_same_tensors(const std::vector<AdapterTensor<Real>>& wanted, const SafetensorsFile& file) {
    std::set<std::string> used;
    std::vector<std::string> missing, extra;
    for (const auto& tensor : wanted) {
        const TensorInfo* info = find_adapter_tensor(file, tensor.name);
        if (info) {
            used.insert(info->name);
        } else {
            missing.push_back(tensor.name);
        }
    }
    for (const auto& info : file.tensors()) {
        if (!used.contains(info.name)) extra.push_back(info.name);
    }
    if (missing.empty() && extra.empty()) return;
    std::string got;
    if (!missing.empty()) got = format("{} missing: {}", missing.size(), list_names(missing));
    if (!extra.empty())
        got += format("{}{} not asked for: {}", got.empty() ? "" : "; ", extra.size(), list_names(extra));
    throw Error{ErrorCode::format, file.path(),
                "the tensors that adapter_config.json explains, and no others", got,
                "do adapter_config.json, the weights and this base belong together?"};
}

/// The tensor's entry in the file, which has the shape that the place asks for.
template <class Real>
const TensorInfo& require_shape(const AdapterTensor<Real>& tensor, const SafetensorsFile& file) {
    const TensorInfo& info = *find_adapter_tensor(file, tensor.name);
    std::vector<Index> want;
    for (int axis = 0; axis < tensor.shape().rank(); ++axis) want.push_back(tensor.shape()[axis]);
    if (info.shape == want) return info;
    throw Error{ErrorCode::shape, format("{}: {}", file.path(), info.name), shape_text(want),
                shape_text(info.shape),
                "does the adapter belong to this base, and is `r` the one of its config?"};
}

template <class Real>
void read_adapter_tensor(const AdapterTensor<Real>& tensor, const SafetensorsFile& file) {
    const TensorInfo& info = require_shape(tensor, file);
    const std::string place = format("{}: {}", file.path(), info.name);
    std::vector<Wide<Real>> values(static_cast<std::size_t>(tensor.shape().size()));
    file.read(info, std::span<Wide<Real>>(values));
    for (const Wide<Real> value : values) {
        if (!std::isfinite(value))
            throw Error{ErrorCode::value, place, "finite numbers", "NaN or infinity",
                        "the run that wrote it had diverged; take an earlier checkpoint"};
    }
    tensor.write(values);
}

/// Adapters of moegrad know their base; those of other programs do not say.
template <class Real>
void require_same_base(Decoder<Real>& model, const SafetensorsFile& file) {
    for (const auto& [key, value] : file.metadata()) {
        if (key != kBaseMark || value == base_fingerprint(model)) continue;
        throw Error{ErrorCode::config, format("{}: {}", file.path(), kBaseMark),
                    "an adapter that was trained on this base", "one of another base, though the shapes fit",
                    "pass the --model of its run, or --any-base if the two are meant to meet"};
    }
}

}  // namespace detail

/// Writes FOLDER/adapter_model.safetensors (float32). Returns the tensors' names.
template <class Real>
std::vector<std::string> save_adapter_tensors(Decoder<Real>& model, const std::string& folder,
                                              PeftLayout layout = PeftLayout::peft_0_19) {
    SafetensorsWriter writer;
    std::vector<std::string> names;
    bool fused = false;
    for (const auto& tensor : adapter_tensors(model, layout)) {
        const auto values = tensor.read();
        std::vector<Index> shape;
        for (int axis = 0; axis < tensor.shape().rank(); ++axis) shape.push_back(tensor.shape()[axis]);
        writer.add(tensor.name, StoredType::f32, shape, std::span<const Wide<Real>>(values));
        names.push_back(tensor.name);
        fused = fused || tensor.layout == AdapterLayout::rows;
    }
    if (fused) writer.set_metadata(kLayoutMark, std::string(name(layout)));
    writer.set_metadata(kBaseMark, base_fingerprint(model));
    writer.save(folder + "/adapter_model.safetensors");
    return names;
}

/// Writes FOLDER/adapter_config.json and FOLDER/adapter_model.safetensors.
template <class Real>
void save_adapter(Decoder<Real>& model, const AdapterSpec& spec, const std::string& folder) {
    std::filesystem::create_directories(folder);
    save_adapter_tensors(model, folder);
    write_file_atomically(folder + "/adapter_config.json",
                          write_json(to_json(spec, model.config()), JsonStyle::indented) + "\n");
}

/// Attaches the adapter of `folder` to a base model and reads its weights. Returns what was attached.
template <class Real>
AdapterSpec load_adapter(Decoder<Real>& model, const std::string& folder,
                         const AdapterReading& reading = {}) {
    const AdapterFolder opened(folder, model.config(), reading);
    attach(model, opened.spec);
    const auto tensors = adapter_tensors(model, opened.layout.layout);
    detail::require_same_tensors(tensors, opened.file);
    for (const auto& tensor : tensors) detail::require_shape(tensor, opened.file);
    if (!reading.any_base) detail::require_same_base(model, opened.file);
    for (const auto& tensor : tensors) detail::read_adapter_tensor(tensor, opened.file);
    return opened.spec;
}

}  // namespace moegrad
