#pragma once
// What a run sets up before its first step: the model with its adapter where it will run, and the step memory.

#include <memory>

#include <moegrad/methods/trainable_parameters.hpp>
#include <moegrad/train/memory_plan.hpp>
#include <moegrad/train/model_files.hpp>
#include <moegrad/train/process_memory.hpp>
#include <moegrad/train/run_checks.hpp>

namespace moegrad::detail {

inline AdapterSpec checked_adapter(const RunConfig& config) {
    check_run(config);
    return config.adapter_for(load_model_config(config.model));
}

/// Before the weights: what reading takes beside the samples is gone when they come.
inline TextData load_run_data(const RunConfig& config) {
    TextData data = load_text_data(config, load_tokenizer(config.model));
    give_back_heap();
    return data;
}

template <class Real>
std::unique_ptr<Decoder<Real>> load_adapted(const RunConfig& config, const AdapterSpec& spec) {
    auto model = load_model<Real>(config.model, config.device, config.quantise);
    require_finite(*model, config.model, config.allow_nonfinite);
    attach(*model, spec);
    move_to(*model, config.device);
    return model;
}

/// The first step finds the memory that the largest one needs. A router from outside that cannot run without numbers is no
/// reason to stop.
template <class Real, class Say>
void reserve_memory(Context& context, const RunConfig& config, const ModelConfig& shape, const TextData& data,
                    StepOrder& order, Index steps, Say& say) {
    try {
        context.arena().reserve(plan_run<Real>(config, shape, data, order, steps).step);
    } catch (const Error& error) {
        if (error.code == ErrorCode::memory) throw;
        say(format("step memory is not planned: {}", error.what()));
    }
}

/// The first of the steps after `done`, at most `steps`, before which all that was begun must be finished: the next
/// multiple of one of `every`.
inline Index next_stop(Index done, Index steps, std::initializer_list<Index> every) {
    for (const Index each : every)
        if (each > 0) steps = std::min(steps, (done / each + 1) * each);
    return steps;
}

}  // namespace moegrad::detail
