#pragma once
// Which experts a run of a comparison uses on its training data, and the lists that a change blocks.

#include <memory>
#include <string>
#include <vector>

#include <moegrad/train/adapter_files.hpp>
#include <moegrad/train/compare_change.hpp>
#include <moegrad/train/model_files.hpp>
#include <moegrad/train/router_lens.hpp>
#include <moegrad/train/run_data.hpp>

namespace moegrad {

/// Over 500 samples, those that `moegrad lens` draws too. adapter: a folder; empty: the base as it is.
template <class Real>
RouterLens lens_on(const RunConfig& config, const Tokenizer& tokenizer, const std::string& adapter) {
    constexpr Index samples = 500;
    auto model = load_model<Real>(config.model, config.device, config.quantise);
    if (!adapter.empty()) load_adapter(*model, adapter);
    move_to(*model, config.device);
    const auto data = load_text_data(config, tokenizer);
    const auto picks = lens_picks(data.train.size(), samples);
    Context context({.device = config.device, .threads = config.threads});
    return look_through(context, *model, data.train, picks);
}

/// The experts that `change` blocks in the run of `trained`; nothing where it blocks none.
template <class Real>
std::vector<ExpertList> blocked_by(const ArmChange& change, const RunConfig& trained,
                                   const Tokenizer& tokenizer) {
    if (change.block.empty()) return {};
    if (change.block == "random") {
        const ModelConfig base = load_model_config(trained.model);
        return random_experts(static_cast<std::size_t>(base.num_hidden_layers), base.num_local_experts,
                              change.picks, trained.seed);
    }
    const std::string adapter = change.block == "found" ? trained.output + "/adapter" : "";
    auto all = lens_on<Real>(trained, tokenizer, adapter).best(change.picks, LensMetric::counts);
    for (ExpertList& list : all) std::sort(list.begin(), list.end());
    return all;
}

}  // namespace moegrad
