#pragma once
// A small model with an adapter whose every tensor has moved, and the folders that a user would have of it.

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <moegrad/train/adapter_files.hpp>
#include <moegrad/train/model_saver.hpp>

#include "support/model_small.hpp"

namespace moegrad::test {

inline AdapterSpec adapted_spec(std::vector<std::string> targets, GateMode gate = GateMode::by_method) {
    AdapterSpec spec;
    spec.targets = std::move(targets);
    spec.lora = {.rank = 3, .alpha = 7, .dropout = 0.1};
    spec.gate = gate;
    spec.seed = 9;
    return spec;
}

template <class Real>
std::unique_ptr<Decoder<Real>> adapted_model(const ModelConfig& config, const AdapterSpec& spec) {
    auto model = small_model<Real>(config);
    attach(*model, spec);
    std::uint64_t stream = 100;
    for (const auto& tensor : adapter_tensors(*model)) {
        auto values = tensor.pack(tensor.parameter->value());
        Random random(1, stream++);
        for (Real& value : values)
            value += static_cast<Real>(0.2 * static_cast<double>(random.next_normal()));
        tensor.unpack(values, tensor.parameter->value());
    }
    return model;
}

/// The adapter of such a model, as `moegrad train` leaves it.
inline void write_adapter(const ModelConfig& config, const AdapterSpec& spec, const std::string& folder) {
    save_adapter(*adapted_model<float>(config, spec), spec, folder);
}

}  // namespace moegrad::test
