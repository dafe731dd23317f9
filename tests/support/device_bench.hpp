#pragma once
// DeviceBench: a small model with AdaMoE routers and a trainer on either device, for tests of whole steps.

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <moegrad/data/order.hpp>
#include <moegrad/train/adapter_files.hpp>
#include <moegrad/train/trainer.hpp>

#include "support/model_small.hpp"

namespace moegrad::test {

struct DeviceWay {
    Device device = Device::cuda;
    Index micro_batch = 8;
    Activations activations = Activations::kept;
    bool graphs = true, ahead = false;
};

inline AdapterSpec device_adamoe() {
    AdapterSpec spec;
    spec.method = Method::adamoe;
    spec.lora = {.rank = 4, .alpha = 8, .dropout = 0.05};
    spec.gate = GateMode::full;
    spec.null_experts = 4;
    spec.top_k = 3;
    spec.balance = BalanceLoss::adamoe_eq6;
    spec.z_loss = true;
    spec.seed = 21;
    return spec;
}

/// Its step memory holds NaN before anybody writes it.
template <class Real>
struct DeviceBench {
    explicit DeviceBench(const DeviceWay& way, ModelFamily family = ModelFamily::mixtral,
                         const AdapterSpec& spec = device_adamoe())
        : DeviceBench(way, small_config(family), spec) {}
    DeviceBench(const DeviceWay& way, const ModelConfig& config, AdapterSpec spec = device_adamoe())
        : model(small_model<Real>(config)),
          context({.device = way.device, .threads = 2, .fill = Arena::Fill::poison}),
          data(ragged_samples(20, 48, 3, 33)),
          micro_batch(way.micro_batch),
          graphs(way.graphs) {
        if (!config.is_mixture()) spec.targets = {"attention", "mlp"};
        attach(*model, spec);
        model->activations = way.activations;
        move_to(*model, way.device);
        make_trainer();
    }
    /// Anew after the model was changed by hand.
    void make_trainer() {
        trainer.reset();
        trainer.emplace(context, *model, std::vector<std::string>{"balance", "z"},
                        TrainerOptions{.adamw = {.weight_decay = 0.01},
                                       .clip = 0.5,
                                       .micro_batch = micro_batch,
                                       .seed = 3,
                                       .graphs = graphs});
    }
    void begin(Index n) {
        trainer->begin_step(data, micro_batches(order.step(n), micro_batch), 5e-3,
                            {{"balance", 0.05}, {"z", 0.01}});
    }
    StepReport step(Index n) {
        begin(n);
        return *trainer->finish_step();
    }

    std::unique_ptr<Decoder<Real>> model;
    Context context;
    Dataset data;
    std::optional<Trainer<Real>> trainer;
    SampleOrder order{20, 8, 9};
    Index micro_batch = 8;
    bool graphs = true;
};

/// All of a parameter that an update may change, but for the copy that follows the values in a bf16 model.
template <class Real>
std::vector<Tensor<Real>> trained_tensors(Parameter<Real>& parameter) {
    return {parameter.value(), parameter.first_moment(), parameter.second_moment()};
}

/// Of all parameters, on the host.
template <class Real>
std::vector<float> state_of(const Trainer<Real>& trainer) {
    std::vector<float> all;
    for (auto* parameter : trainer.parameters()) {
        for (const auto& tensor : trained_tensors(*parameter)) {
            const auto values = host(tensor);
            all.insert(all.end(), values.values().begin(), values.values().end());
        }
    }
    return all;
}

/// Says so where there is nothing to test on.
inline bool without_cuda() {
    if (has_cuda()) return false;
    MESSAGE("no CUDA kernels, real or emulated, are linked: nothing is tested");
    return true;
}

}  // namespace moegrad::test
