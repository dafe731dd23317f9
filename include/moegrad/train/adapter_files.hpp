#pragma once
// Adapters on disk: adapter_config.json and adapter_model.safetensors, as PEFT writes them. Routers that PEFT does not
// know are kept under peft_type "MOLORA" with a "moegrad" block that holds the AdapterSpec.
// Reads PEFT adapters of attention, dense and fused-expert targets (0.19+ packing); what it cannot honour it refuses.

#include <filesystem>
#include <string>
#include <vector>

#include <moegrad/io/json.hpp>
#include <moegrad/io/json_writer.hpp>
#include <moegrad/io/safetensors.hpp>
#include <moegrad/io/safetensors_writer.hpp>
#include <moegrad/methods/adapter_tensors.hpp>
#include <moegrad/train/adapter_config.hpp>

namespace moegrad {

/// Writes FOLDER/adapter_model.safetensors (float32). Returns the tensors' names.
template <class Real>
std::vector<std::string> save_adapter_tensors(Decoder<Real>& model, const std::string& folder) {
    SafetensorsWriter writer;
    std::vector<std::string> names;
    for (const auto& tensor : adapter_tensors(model)) {
        const auto values = tensor.pack(tensor.parameter->value());
        std::vector<Index> shape;
        for (int axis = 0; axis < tensor.shape().rank(); ++axis) shape.push_back(tensor.shape()[axis]);
        writer.add(tensor.name, StoredType::f32, shape, std::span<const Real>(values));
        names.push_back(tensor.name);
    }
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
AdapterSpec load_adapter(Decoder<Real>& model, const std::string& folder) {
    const AdapterSpec spec = load_adapter_config(folder, model.config());
    attach(model, spec);
    const std::string path = folder + "/adapter_model.safetensors";
    const SafetensorsFile file(path);
    std::size_t found = 0;
    for (const auto& tensor : adapter_tensors(model)) {
        const TensorInfo& info = file.at(tensor.name);
        std::vector<Index> want;
        for (int axis = 0; axis < tensor.shape().rank(); ++axis) want.push_back(tensor.shape()[axis]);
        if (info.shape != want) {
            throw Error{
                ErrorCode::shape, format("{}: {}", path, tensor.name), shape_text(want),
                shape_text(info.shape),
                "PEFT 0.17 and 0.18 packed fused experts the other way round; is `r` the one of the config?"};
        }
        std::vector<Real> values(static_cast<std::size_t>(tensor.shape().size()));
        file.read(info, std::span<Real>(values));
        tensor.unpack(values, tensor.parameter->value());
        ++found;
    }
    if (found != file.tensors().size()) {
        const auto known = adapter_tensors(model);
        for (const auto& info : file.tensors()) {
            const bool wanted =
                std::any_of(known.begin(), known.end(), [&](const auto& t) { return t.name == info.name; });
            if (!wanted) {
                throw Error{ErrorCode::format, path, "only tensors that the adapter's config explains",
                            info.name, "adapter_config.json and the weights do not belong together"};
            }
        }
    }
    return spec;
}

}  // namespace moegrad
