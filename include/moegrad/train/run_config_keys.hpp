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
        const std::size_t d = key_distance(key, field.key);
        if (d >= distance) continue;
        distance = d;
        best = field.key;
    }
    return is_near(distance, key, best) ? best : "";
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
                did_you_mean(nearest_key(key), "`moegrad train --help` lists all keys")};
}

}  // namespace moegrad
