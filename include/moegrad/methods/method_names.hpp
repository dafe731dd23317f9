#pragma once
// Names of the methods that change a model in more places than one router (model_method.hpp), for whoever reads
// configurations. A program knows those that it includes; <moegrad/methods/all.hpp> has all that ship.

#include <string>
#include <vector>

namespace moegrad {

struct AdapterSpec;

struct ModelMethodName {
    std::string name;
    // Where the configuration gives none; null: the usual ones. An address, as the list may be made after its method is
    // registered: nothing orders the static members of templates.
    const std::vector<std::string>* targets = nullptr;
    bool (*reads_lora)(const AdapterSpec&) = nullptr;  // adapter.r, lora_alpha and lora_dropout; null: always
    bool reads_top_k = false;  // on a dense model; on a mixture of experts the checkpoint's own router does
};

inline std::vector<ModelMethodName>& model_methods() {
    static std::vector<ModelMethodName> all;
    return all;
}

/// The method of this name, or null.
inline const ModelMethodName* find_model_method(const std::string& name) {
    for (const auto& method : model_methods()) {
        if (method.name == name) return &method;
    }
    return nullptr;
}

}  // namespace moegrad
