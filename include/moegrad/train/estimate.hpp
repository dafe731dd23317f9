#pragma once
// estimate_memory: the peak of a run before it is started, by kind of memory; of a run on a GPU, what it takes there.
// Weights and step memory come from a plan (memory_plan.hpp). The program and its data are not guessed either: the data is
// loaded here as the run would load it, and this process is asked what it holds then. Weights are never read: config.json
// is enough.

#include <algorithm>
#include <fstream>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <moegrad/eval/flops.hpp>
#include <moegrad/io/model_config_json.hpp>
#include <moegrad/train/memory_plan.hpp>
#include <moegrad/train/process_memory.hpp>
#include <moegrad/train/run_checks.hpp>

namespace moegrad {

struct MemoryEstimate {
    MemoryPlan plan;
    std::size_t program = 0;  // code and heap before anything is loaded
    std::size_t data = 0;     // samples of the run
    std::size_t scratch = 0;  // packing buffers and stacks of the threads
    std::size_t saving = 0;   // the adapter's file while it is written
    std::size_t reading = 0;  // highest while the tokenizer and the data were read, before the weights
    Device device = Device::cpu;

    std::string model;               // "mixtral, 4 layers"
    std::string method;              // "lora"
    std::vector<std::string> notes;  // what was not there, and what is assumed for it
    bool has_data = true;
    int threads = 1;
    Index samples = 0, tokens = 0;                       // of the largest micro-batch
    Index step_tokens = 0, epoch_tokens = 0, steps = 0;  // of one step; epoch_tokens 0: no data
    double token_flops = 0, step_flops = 0;              // forward of a token; forward and backward of a step
    bool flops_of_base = false;  // a method runs more, or less, than the base: they are the base's
    std::vector<std::pair<std::string, std::size_t>> others;  // a setting, and the peak it would have

    std::size_t loading() const {
        return program + data + plan.base + plan.adapter + std::min(kReading, plan.base);
    }
    std::size_t peak() const {
        if (device == Device::cuda) return plan.total() + kWorkspace + kContext;
        return std::max({reading, loading(), program + data + plan.total() + scratch + saving});
    }

    static constexpr std::size_t kReading = std::size_t{8} << 20;  // of a file's pages at a time
    // On a GPU: room of the matrix products, and what the driver takes for a process: its context, and code once it is
    // loaded. The latter was seen to be about this on an H100; it varies with the driver.
    static constexpr std::size_t kWorkspace = std::size_t{32} << 20, kContext = std::size_t{500} << 20;
};

namespace detail {

/// Samples of the configured length, for a run whose data is not there. All are of task 0: some routers need one.
inline Dataset assumed_data(const RunConfig& config) {
    const std::size_t length = static_cast<std::size_t>(config.max_length);
    Sample sample = language_sample(std::vector<std::int32_t>(length, 0));
    sample.task = 0;
    return Dataset(static_cast<std::size_t>(config.batch), sample);
}

/// The data of the run, or what stands for it.
inline TextData estimate_data(const RunConfig& config, MemoryEstimate& estimate) {
    std::string missing;
    if (config.train_data.empty()) {
        missing = "no data.train";
    } else if (!file_exists(config.model + "/tokenizer.json") &&
               !file_exists(config.model + "/tokenizer.model")) {
        missing = "no tokenizer in " + config.model;
    }
    if (missing.empty()) return load_text_data(config, load_tokenizer(config.model));
    estimate.has_data = false;
    estimate.notes.push_back(
        format("{}: every sample is taken to have data.max_length = {} tokens", missing, config.max_length));
    TextData data;
    data.train = assumed_data(config);
    return data;
}

/// What the kernels keep for packing: a MiB per thread; and where threads share the panels of a product, those: 2 MiB of
/// one, about 1 MiB of each expert while there are fewer experts than tasks (cpu/support/gemm_plan.hpp).
inline std::size_t scratch_allowance(const ModelConfig& shape, int threads) {
    constexpr std::size_t kMebibyte = std::size_t{1} << 20;
    const std::size_t own = static_cast<std::size_t>(threads) * kMebibyte;
    if (threads == 1) return own;
    if (!shape.is_mixture()) return own + 2 * kMebibyte;
    const Index products = std::min<Index>(shape.num_local_experts, 4 * threads - 1);
    const Index expert = shape.hidden_size * shape.intermediate_size * static_cast<Index>(sizeof(float));
    return own + static_cast<std::size_t>(products) * std::min(kMebibyte, static_cast<std::size_t>(expert));
}

inline Index tokens_of(const Dataset& data, const std::vector<std::int32_t>& picks) {
    Index tokens = 0;
    for (std::int32_t pick : picks)
        tokens += static_cast<Index>(data[static_cast<std::size_t>(pick)].token.size());
    return tokens;
}

inline void count_tokens(const Dataset& data, const MicroBatches& largest, MemoryEstimate& estimate) {
    for (const auto& picks : largest) {
        const Index tokens = tokens_of(data, picks);
        if (tokens <= estimate.tokens) continue;
        estimate.tokens = tokens;
        estimate.samples = static_cast<Index>(picks.size());
    }
    if (!estimate.has_data) return;
    for (const Sample& sample : data) estimate.epoch_tokens += static_cast<Index>(sample.token.size());
}

inline void count_work(const RunConfig& config, const ModelConfig& shape, const Dataset& data,
                       const MicroBatches& step, MemoryEstimate& estimate) {
    double keys = 0, tokens = 0;
    for (const auto& picks : step) {
        for (std::int32_t pick : picks) {
            const Index length = static_cast<Index>(data[static_cast<std::size_t>(pick)].token.size());
            keys += keys_seen(length, shape.sliding_window.value_or(0));
            tokens += static_cast<double>(length);
        }
    }
    const double experts = shape.is_mixture() ? static_cast<double>(shape.num_experts_per_tok) : 1;
    estimate.step_tokens = static_cast<Index>(tokens);
    estimate.token_flops = forward_flops(shape, tokens > 0 ? keys / tokens : 0, experts);
    // Frozen weights: a backward costs what a forward costs, and recomputing costs another.
    estimate.step_flops = tokens * estimate.token_flops * (config.checkpointing ? 3 : 2);
}

/// The same run with another setting, as one line of `others`.
template <class Real>
void try_setting(const RunConfig& config, const ModelConfig& shape, const TextData& data,
                 const std::string& setting, MemoryEstimate& estimate) {
    StepOrder order(data.train, config);
    MemoryEstimate other = estimate;
    other.plan = plan_run<Real>(config, shape, data, order, estimate.steps);
    estimate.others.emplace_back(setting, other.peak());
}

template <class Real>
void try_settings(const RunConfig& config, const ModelConfig& shape, const TextData& data,
                  MemoryEstimate& estimate) {
    RunConfig other = config;
    other.checkpointing = !config.checkpointing;
    const char* turned = other.checkpointing ? "train.checkpointing = true" : "train.checkpointing = false";
    try_setting<Real>(other, shape, data, turned, estimate);
    if (const Index micro = config.per_micro_batch(); micro > 1) {
        other = config;
        other.accumulate = 0;
        other.micro_batch = (micro + 1) / 2;
        try_setting<Real>(other, shape, data, format("train.micro_batch = {}", other.micro_batch), estimate);
    }
}

}  // namespace detail

template <class Real>
MemoryEstimate estimate_memory(const RunConfig& config) {
    if (config.model.empty())
        throw Error{ErrorCode::config, "model.path", "a folder with a config.json", "nothing",
                    "pass --model PATH"};
    detail::check_settings(config);
    MemoryEstimate estimate;
    estimate.device = config.device;
    estimate.program = process_memory().now;
    const ModelConfig shape = load_model_config(config.model);
    const AdapterSpec spec = config.adapter_for(shape);
    estimate.model = format("{}, {} layers", name(shape.model_type), shape.num_hidden_layers);
    estimate.method = spec.method_name();
    estimate.flops_of_base = spec.method == Method::model;
    if (!file_exists(config.model + "/model.safetensors") &&
        !file_exists(config.model + "/model.safetensors.index.json"))
        estimate.notes.push_back(format("no weights in {}: their sizes are config.json's", config.model));
    const TextData data = detail::estimate_data(config, estimate);
    estimate.reading = process_memory().highest;
    give_back_heap();
    const std::size_t now = process_memory().now;
    estimate.data = now - std::min(estimate.program, now);

    StepOrder order(data.train, config);
    const Index wanted = config.steps > 0 ? config.steps : order.steps(config.epochs);
    estimate.steps = estimate.has_data ? wanted : 1;
    detail::count_tokens(data.train, largest_micro_batches(data.train, order, estimate.steps), estimate);
    estimate.plan = plan_run<Real>(config, shape, data, order, estimate.steps);
    estimate.threads = config.threads > 0 ? config.threads : default_threads();
    estimate.scratch = detail::scratch_allowance(shape, estimate.threads);
    estimate.saving =
        static_cast<std::size_t>(estimate.plan.trainable + estimate.plan.largest) * sizeof(float);
    detail::count_work(config, shape, data.train, order.step(0), estimate);
    detail::try_settings<Real>(config, shape, data, estimate);
    return estimate;
}

}  // namespace moegrad
