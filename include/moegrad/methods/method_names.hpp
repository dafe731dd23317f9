#pragma once
// Names of the methods that change a model in more places than one router (model_method.hpp), for whoever reads
// configurations. A program knows those that it includes; <moegrad/methods/all.hpp> has all that ship.

#include <optional>
#include <string>
#include <vector>

namespace moegrad {

struct ModelMethodName {
    std::string name;
    std::optional<std::vector<std::string>>
        targets;  // where the configuration gives none; nothing: the usual ones
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
