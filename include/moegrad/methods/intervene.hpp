#pragma once
// intervene: blocks or stimulates experts of a model as it stands, adapter included: every top-K router gets an
// IntervenedRouter in its place, with its gate and its way to weigh.

#include <string>
#include <utility>
#include <vector>

#include <moegrad/models/decoder.hpp>
#include <moegrad/routing/intervened_router.hpp>
#include <moegrad/routing/top_k_router.hpp>

namespace moegrad {

/// block, stimulate: a list for every layer (routing/expert_lists.hpp); empty: no such intervention.
template <class Real>
void intervene(Decoder<Real>& model, const std::string& block, const std::string& stimulate) {
    const auto lists = [&](const std::string& text, const char* place) {
        const std::size_t layers = model.layers().size();
        if (text.empty()) return std::vector<ExpertList>(layers);
        auto all = expert_lists(text, place, model.config().num_local_experts);
        if (all.size() == layers) return all;
        throw Error{ErrorCode::config, place, format("{} layers joined by '/'", layers),
                    format("{}", all.size())};
    };
    const auto blocked = lists(block, "--block"), stimulated = lists(stimulate, "--stimulate");
    for (auto& layer : model.layers()) {
        for (auto& moe : layer.moe) {
            auto* plain = moe.router.template get<TopKRouter<Wide<Real>>>();
            if (plain == nullptr) {
                throw Error{ErrorCode::unsupported, moe.name, "a top-k router to intervene in",
                            "a router of another kind",
                            "the checkpoint's own, or an adapter of lora, router_tuning or ceft"};
            }
            const auto l = static_cast<std::size_t>(layer.index);
            IntervenedRouter<Wide<Real>> router;
            router.gate = std::move(plain->gate);
            router.k = plain->k;
            router.raw = plain->weights == TopKWeights::raw;
            router.blocked = blocked[l];
            router.stimulated = stimulated[l];
            router.check();
            moe.router = std::move(router);
        }
    }
}

}  // namespace moegrad
