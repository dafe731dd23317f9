#pragma once
// Setting keys of a RunConfig by name, with "did you mean" for those nobody reads.

#include <algorithm>
#include <string>
#include <vector>

#include <moegrad/train/run_config.hpp>

namespace moegrad {

/// Levenshtein distance.
inline std::size_t edit_distance(const std::string& a, const std::string& b) {
    std::vector<std::size_t> row(b.size() + 1);
    for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
    for (std::size_t i = 1; i <= a.size(); ++i) {
        std::size_t diagonal = row[0];
        row[0] = i;
        for (std::size_t j = 1; j <= b.size(); ++j) {
            const std::size_t above = row[j];
            row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1])});
            diagonal = above;
        }
    }
    return row[b.size()];
}

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
                        field.help};
        }
        return;
    }
    throw Error{ErrorCode::config, place, "a known key", format("`{}`", key),
                format("did you mean `{}`? `moegrad train --help` lists all keys", nearest_key(key))};
}

}  // namespace moegrad
