#pragma once
// Setting keys of a RunConfig by name, with "did you mean" for those nobody reads.

#include <algorithm>
#include <string>
#include <vector>

#include <moegrad/core/nearest.hpp>
#include <moegrad/train/run_fields.hpp>

namespace moegrad {

/// The key that looks most like `key`.
inline std::string nearest_key(const std::string& key) {
    std::string best;
    std::size_t distance = ~std::size_t{0};
    for (const auto& field : config_fields()) {
        const std::string full = field.key;  // "train.steps"; people also type "steps"
        const std::size_t d =
            std::min(edit_distance(key, full), edit_distance(key, full.substr(full.find('.') + 1)));
        if (d < distance) {
            distance = d;
            best = field.key;
        }
    }
    return best;
}

/// Sets one key; `place` says where it was written ("run.toml:3:1", "--train.steps").
inline void set_config(RunConfig& config, const std::string& key, const std::string& value,
                       const std::string& place) {
    for (const auto& field : config_fields()) {
        if (key != field.key) continue;
        try {
            field.set(config, value);
        } catch (const Error& error) {
            throw Error{ErrorCode::config, format("{}: {}", place, key), error.expected, error.got,
                        error.hint.empty() ? field.help : error.hint};
        }
        return;
    }
    throw Error{ErrorCode::config, place, "a known key", format("`{}`", key),
                format("did you mean `{}`? `moegrad train --help` lists all keys", nearest_key(key))};
}

}  // namespace moegrad
