#pragma once
// MemoryPlan: what a run holds while it trains, found by training: the same model, adapter, forward, backward and update,
// on Device::dry, where weights are address space and kernels do nothing. No formula knows an op's memory, so none can be
// forgotten when an op changes. A run reserves the step memory of its plan before the first step (Arena::reserve).
// A plan for a GPU pads its batches, lists supervised tokens, evaluates in micro-batches and aligns its blocks as one does
// there.

#include <algorithm>
#include <memory>
#include <vector>

#include <moegrad/train/model_files.hpp>
#include <moegrad/train/penalty_coefficients.hpp>
#include <moegrad/train/run_data.hpp>
#include <moegrad/train/trainer.hpp>

namespace moegrad {

/// Bytes.
struct MemoryPlan {
    std::size_t base = 0;       // frozen and trained weights of the base model
    std::size_t adapter = 0;    // values of what was attached
    std::size_t gradients = 0;  // one per use of a trainable parameter
    std::size_t moments = 0;
    std::size_t tables = 0;            // every other lasting tensor: rotary tables
    std::size_t step = 0;              // activations and their gradients, in one piece of step memory
    Index trainable = 0, largest = 0;  // values that train, and those of the largest tensor
    Index parameters = 0;              // of the base

    std::size_t total() const { return base + adapter + gradients + moments + tables + step; }
};

/// The micro-batches of a run that can need most: those of most tokens, of most samples, of the longest sample, and of most
/// supervised tokens.
inline MicroBatches largest_micro_batches(const Dataset& data, StepOrder& order, Index steps) {
    constexpr Index kMostSamples = Index{1} << 24;  // of long runs the first of these are looked at
    const auto length = [&](std::int32_t pick) { return data[static_cast<std::size_t>(pick)].token.size(); };
    const auto measure = [&](const std::vector<std::int32_t>& picks, int by) {
        std::size_t tokens = 0, longest = 0, supervised = 0;
        for (std::int32_t pick : picks) {
            tokens += length(pick);
            longest = std::max(longest, length(pick));
            if (by == 3)
                supervised += static_cast<std::size_t>(data[static_cast<std::size_t>(pick)].supervised());
        }
        return by == 0 ? tokens : by == 1 ? picks.size() : by == 2 ? longest : supervised;
    };
    std::size_t most[4] = {};
    MicroBatches largest(4);
    Index seen = 0;
    for (Index n = 0; n < steps && seen < kMostSamples; ++n) {
        for (auto& picks : order.step(n)) {
            seen += static_cast<Index>(picks.size());
            for (int by = 0; by < 4; ++by) {
                const std::size_t size = measure(picks, by);
                if (size <= most[by]) continue;
                most[by] = size;
                largest[static_cast<std::size_t>(by)] = picks;
            }
        }
    }
    std::erase_if(largest, [](const auto& picks) { return picks.empty(); });
    std::sort(largest.begin(), largest.end());
    largest.erase(std::unique(largest.begin(), largest.end()), largest.end());
    return largest;
}

/// The `count` longest, or all where there are fewer: an evaluation takes one sample at a time on the CPU, a micro-batch on
/// a GPU, and none of them needs more than these.
inline Dataset longest_samples(const Dataset& data, Index count) {
    Dataset longest(static_cast<std::size_t>(std::min(count, static_cast<Index>(data.size()))));
    std::partial_sort_copy(data.begin(), data.end(), longest.begin(), longest.end(),
                           [](const Sample& a, const Sample& b) { return a.token.size() > b.token.size(); });
    return longest;
}

namespace detail {

/// Of a bf16 model: the copy that it computes with, and where it trains the master. Of a weight in NF4: codes and scales.
template <class Real>
std::size_t value_bytes(const Parameter<Real>& parameter) {
    const auto size = static_cast<std::size_t>(parameter.size());
    return (parameter.value().defined() ? size * sizeof(Real) : 0) +
           (parameter.compute_copy().defined() ? size * sizeof(bf16) : 0) +
           static_cast<std::size_t>(parameter.quantised().bytes());
}

template <class Real>
void count_parameters(Decoder<Real>& model, MemoryPlan& plan) {
    const auto base = model.base_parameters();
    for (auto* parameter : base) {
        plan.base += value_bytes(*parameter);
        plan.parameters += parameter->size();
    }
    for (auto* parameter : trainable_parameters(model)) {
        const std::size_t bytes = static_cast<std::size_t>(parameter->size()) * sizeof(Wide<Real>);
        const bool of_base = std::find(base.begin(), base.end(), parameter) != base.end();
        plan.adapter += of_base ? 0 : value_bytes(*parameter);
        plan.gradients += parameter->gradients().size() * bytes;
        plan.moments += parameter->gradients().empty() ? 0 : 2 * bytes;
        plan.trainable += parameter->size();
        plan.largest = std::max(plan.largest, parameter->size());
    }
}

}  // namespace detail

/// What `build` makes, a model ready to train, holds after a step over `cuts` of `data` and an evaluation of `evaluated`,
/// which may be empty; for a GPU it is one batch. Nothing is computed; `build` is called while Planning is on.
template <class Real, class Build>
MemoryPlan plan_memory(Build build, const Dataset& data, const MicroBatches& cuts, const Dataset& evaluated,
                       Device device = Device::cpu) {
    const Planning planning;
    const std::size_t before = Buffer::lasting_bytes();
    const std::unique_ptr<Decoder<Real>> model = build();
    Context context({.device = Device::dry, .plans = device});
    const auto together = std::max<Index>(1, static_cast<Index>(evaluated.size()));
    Trainer<Real> trainer(context, *model, penalty_names(*model), {.micro_batch = together});
    trainer.evaluate(evaluated);
    trainer.step(data, cuts, 0);
    MemoryPlan plan;
    detail::count_parameters(*model, plan);
    plan.tables = Buffer::lasting_bytes() - before - plan.base - plan.adapter - plan.gradients - plan.moments;
    plan.step = pages::round_up(context.arena().reach());
    return plan;
}

/// The plan of a run of `steps` steps: of its largest micro-batches, and of its longest evaluation.
template <class Real>
MemoryPlan plan_run(const RunConfig& config, const ModelConfig& shape, const TextData& data, StepOrder& order,
                    Index steps) {
    const auto build = [&] {
        auto model = make_model<Real>(shape);
        if (config.quantise == Quantisation::nf4) reserve_quantised(*model);
        attach(*model, config.adapter_for(shape));
        model->activations = config.checkpointing ? Activations::recomputed : Activations::kept;
        return model;
    };
    const Index together = config.device == Device::cuda ? config.per_micro_batch() : 1;
    return plan_memory<Real>(build, data.train, largest_micro_batches(data.train, order, steps),
                             longest_samples(data.eval, together), config.device);
}

}  // namespace moegrad
