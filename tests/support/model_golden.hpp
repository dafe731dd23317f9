#pragma once
// A reference of tests/golden or ../shared/golden as plain numbers, under the names that `moegrad forward`
// writes, and how far a result lies from it.

#include <doctest/doctest.h>

#include <cmath>
#include <map>
#include <string>
#include <vector>

#include <moegrad/io/json.hpp>
#include <moegrad/io/safetensors.hpp>

namespace moegrad::test {

struct Numbers {
    std::vector<Index> shape;
    std::vector<double> value;

    /// Rows [begin, end) of matrix i of a stack [E, rows, columns].
    Numbers rows_of_matrix(Index i, Index begin, Index end) const {
        const Index rows = shape[1], columns = shape[2];
        const auto at = [&](Index row) { return value.begin() + (i * rows + row) * columns; };
        return {{end - begin, columns}, {at(begin), at(end)}};
    }
};

inline Numbers read_numbers(const SafetensorsFile& file, const std::string& name) {
    const TensorInfo& info = file.at(name);
    Numbers numbers{info.shape, std::vector<double>(static_cast<std::size_t>(info.count))};
    file.read(info, std::span<double>(numbers.value));
    return numbers;
}

inline std::vector<std::int32_t> read_ids(const SafetensorsFile& file, const std::string& name) {
    std::vector<std::int32_t> ids(static_cast<std::size_t>(file.at(name).count));
    file.read(file.at(name), std::span<std::int32_t>(ids));
    return ids;
}

/// Largest |got - want| over the largest |want|.
inline double distance_to_largest(const std::vector<double>& got, const std::vector<double>& want) {
    REQUIRE(got.size() == want.size());
    double worst = 0, largest = 0;
    for (std::size_t i = 0; i < want.size(); ++i) {
        const double difference = std::abs(got[i] - want[i]);
        worst = std::isnan(difference) ? INFINITY : std::max(worst, difference);
        largest = std::max(largest, std::abs(want[i]));
    }
    return worst == 0 ? 0 : worst / largest;
}

/// |got - want| over |want|, Euclidean. A reference of zeros asks for zeros.
inline double distance_to_norm(const std::vector<double>& got, const std::vector<double>& want) {
    REQUIRE(got.size() == want.size());
    double difference = 0, norm = 0;
    for (std::size_t i = 0; i < want.size(); ++i) {
        difference += (got[i] - want[i]) * (got[i] - want[i]);
        norm += want[i] * want[i];
    }
    return difference == 0 ? 0 : std::sqrt(difference / norm);
}

/// The reference's gradients by the names of the checkpoint's own files. Transformers 5 fuses experts:
/// gate_up_proj[e] is w1 above w3, down_proj[e] is w2; PEFT puts ".default" into adapter names.
inline std::map<std::string, Numbers> reference_gradients(const SafetensorsFile& reference) {
    std::map<std::string, Numbers> all;
    for (const auto& info : reference.tensors()) {
        std::string name = info.name;
        if (!name.starts_with("grad.")) continue;
        const Numbers numbers = read_numbers(reference, name);
        if (const auto at = name.find(".default"); at != std::string::npos) name.erase(at, 8);
        const auto moe = name.find(".mlp.");
        const std::string block = name.substr(0, moe) + ".block_sparse_moe.";
        const auto expert = [&](Index e) { return block + "experts." + std::to_string(e); };
        if (name.ends_with("mlp.gate.weight")) {
            all[block + "gate.weight"] = numbers;
        } else if (name.ends_with("mlp.experts.gate_up_proj")) {
            const Index F = numbers.shape[1] / 2;
            for (Index e = 0; e < numbers.shape[0]; ++e) {
                all[expert(e) + ".w1.weight"] = numbers.rows_of_matrix(e, 0, F);
                all[expert(e) + ".w3.weight"] = numbers.rows_of_matrix(e, F, 2 * F);
            }
        } else if (name.ends_with("mlp.experts.down_proj")) {
            for (Index e = 0; e < numbers.shape[0]; ++e) {
                all[expert(e) + ".w2.weight"] = numbers.rows_of_matrix(e, 0, numbers.shape[1]);
            }
        } else {
            all[name] = numbers;
        }
    }
    return all;
}

inline std::vector<double> read_list(const JsonRef& list) {
    std::vector<double> all;
    for (std::size_t i = 0; i < list.array().size(); ++i) all.push_back(list.item(i).number(-1e300, 1e300));
    return all;
}

}  // namespace moegrad::test
