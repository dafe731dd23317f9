#pragma once
// save_model: a base model as a Hugging Face folder: config.json and model.safetensors with the family's stored names.
// Numbers are stored as float32, or as bfloat16 rounded to nearest, ties to even; from double through float.
// Tokenizer files are the caller's: they come from the base, or from whoever made the vocabulary.

#include <filesystem>
#include <string>
#include <vector>

#include <moegrad/io/json_writer.hpp>
#include <moegrad/io/model_config_writer.hpp>
#include <moegrad/io/safetensors_writer.hpp>
#include <moegrad/models/quantised.hpp>

namespace moegrad {

/// Each file appears whole or not at all; config.json comes last, so a folder with one has its weights.
template <class Real>
void save_model(Decoder<Real>& model, const std::string& folder, StoredType type = StoredType::f32) {
    if (type != StoredType::f32 && type != StoredType::bf16) {
        throw Error{ErrorCode::unsupported, "save_model", "F32 or BF16", std::string(name(type))};
    }
    require_dense(model, "save_model");
    std::error_code problem;
    std::filesystem::create_directories(folder, problem);
    if (problem) throw Error{ErrorCode::file, folder, "a folder that can be written", problem.message()};
    SafetensorsWriter file;
    std::vector<float> values;
    std::vector<Index> extents;
    for (const auto& stored : model.stored_tensors()) {
        const auto value = stored.value();
        const Shape shape = value.shape();
        extents.clear();
        for (int axis = 0; axis < shape.rank(); ++axis) extents.push_back(shape[axis]);
        values.clear();
        for (const auto number : value.values()) values.push_back(static_cast<float>(number));
        file.add(stored.name, type, extents, std::span<const float>(values));
    }
    file.save(folder + "/model.safetensors");
    ModelConfig config = model.config();
    config.dtype = type == StoredType::bf16 ? "bfloat16" : "float32";
    write_file_atomically(folder + "/config.json", write_json(to_json(config), JsonStyle::indented));
}

}  // namespace moegrad
