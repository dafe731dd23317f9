#pragma once
// read_checkpoint_weights: RUN/checkpoints/step-000120/ into a model that carries the run's adapter, so that it computes what
// it did after 120 steps. Weights and what routers learned, for whoever looks at a run; it goes on from checkpoint.hpp,
// moments and all.

#include <filesystem>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <moegrad/autograd/parameter_values.hpp>
#include <moegrad/methods/model_routers.hpp>
#include <moegrad/methods/trainable_parameters.hpp>
#include <moegrad/train/checkpoint_store.hpp>

namespace moegrad {

namespace detail {

/// The numbers of one tensor of a checkpoint, which has this shape, in whatever type they were saved.
template <class Value>
std::vector<Value> checkpoint_values(const SafetensorsFile& file, const std::string& name,
                                     const std::vector<Index>& shape) {
    const TensorInfo& info = file.at(name);
    if (info.shape != shape)
        throw Error{ErrorCode::shape, format("{}: tensor {}", file.path(), name), shape_text(shape),
                    shape_text(info.shape), "the checkpoint is of another adapter or model"};
    std::vector<Value> values(static_cast<std::size_t>(info.count));
    file.read(info, std::span<Value>(values));
    return values;
}

inline void require_weights(const SafetensorsFile& file, std::size_t want) {
    std::size_t weights = 0;
    for (const TensorInfo& info : file.tensors()) weights += info.name.starts_with("weight.");
    if (weights == want) return;
    throw Error{ErrorCode::format, file.path(), format("the {} weights that the adapter trains", want),
                format("{}", weights), "the checkpoint is of another adapter or model"};
}

}  // namespace detail

/// Every byte is verified first, and no parameter is touched before all are found.
template <class Real>
void read_checkpoint_weights(Decoder<Real>& model, const std::string& folder, ThreadPool& pool) {
    const Index step = checkpoint_step(std::filesystem::path(folder).filename().string());
    detail::verify_checkpoint(folder, step, pool);
    const SafetensorsFile file(folder + "/state.safetensors", Links::refuse);
    const auto parameters = trainable_parameters(model);
    detail::require_weights(file, parameters.size());
    std::vector<std::pair<Parameter<Wide<Real>>*, Tensor<Wide<Real>>>> weights;
    for (auto* parameter : parameters) {
        const auto values = detail::checkpoint_values<Wide<Real>>(file, "weight." + parameter->name(),
                                                                  detail::extents(parameter->shape()));
        weights.emplace_back(parameter, Tensor<Wide<Real>>::from(parameter->shape(), values));
    }
    std::vector<std::pair<AnyRouter<Wide<Real>>*, std::vector<double>>> states;
    for (const auto& [name, router] : model_routers(model)) {
        if (!router->learns()) continue;
        const auto length = static_cast<Index>(router->state().size());
        states.emplace_back(router, detail::checkpoint_values<double>(file, "router." + name, {length}));
    }
    for (const auto& [parameter, values] : weights) set_values<Real>(*parameter, values);
    for (const auto& [router, values] : states) router->set_state(values);
}

}  // namespace moegrad
