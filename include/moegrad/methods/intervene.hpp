#pragma once
// Interventions in a model as it stands, adapter included, to ask what its routers' choices are worth:
//     intervene          blocks or stimulates experts             every top-K router becomes an IntervenedRouter
//     swap_uncertain     other experts for uncertain tokens       top-K and GW-MoE routers become SwappedRouters
//     zero_sub_router    one sub-router of a Mixture of Routers says nothing: its logits are 0 for every token
// Each keeps the gate and its way to weigh.

#include <string>
#include <utility>
#include <vector>

#include <moegrad/models/decoder.hpp>
#include <moegrad/routing/gw_router.hpp>
#include <moegrad/routing/intervened_router.hpp>
#include <moegrad/routing/mixture_router.hpp>
#include <moegrad/routing/swapped_router.hpp>
#include <moegrad/routing/top_k_router.hpp>

namespace moegrad {

namespace detail {

[[noreturn]] inline void no_router_to_change(const std::string& where, const char* wanted, const char* hint) {
    throw Error{ErrorCode::unsupported, where, wanted, "a router of another kind", hint};
}

/// change(layer, router) for every mixture of experts.
template <class Real, class Change>
void change_routers(Decoder<Real>& model, Change change) {
    bool any = false;
    for (auto& layer : model.layers()) {
        for (auto& moe : layer.moe) {
            change(layer, moe);
            any = true;
        }
    }
    if (!any) throw Error{ErrorCode::config, "intervention", "a mixture of experts", "a dense model"};
}

}  // namespace detail

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
    detail::change_routers(model, [&](const auto& layer, auto& moe) {
        auto* plain = moe.router.template get<TopKRouter<Wide<Real>>>();
        if (plain == nullptr)
            detail::no_router_to_change(moe.name, "a top-k router to intervene in",
                                        "the checkpoint's own, or an adapter of lora, router_tuning or ceft");
        const auto l = static_cast<std::size_t>(layer.index);
        IntervenedRouter<Wide<Real>> router;
        router.gate = std::move(plain->gate);
        router.k = plain->k;
        router.raw = plain->weights == TopKWeights::raw;
        router.blocked = blocked[l];
        router.stimulated = stimulated[l];
        router.check();
        moe.router = std::move(router);
    });
}

/// tau: uncertain is a token of entropy tau ln E or more.
template <class Real>
void swap_uncertain(Decoder<Real>& model, double tau) {
    detail::change_routers(model, [&](const auto&, auto& moe) {
        SwappedRouter<Wide<Real>> router;
        const auto take_over = [&](auto& from) {
            router.gate = std::move(from.gate);
            router.k = from.k;
            router.weights = from.weights;
        };
        if (auto* plain = moe.router.template get<TopKRouter<Wide<Real>>>()) {
            take_over(*plain);
        } else if (auto* sent = moe.router.template get<GwRouter<Wide<Real>>>()) {
            take_over(*sent);
        } else {
            detail::no_router_to_change(moe.name, "a top-k router to swap experts in",
                                        "the checkpoint's own, or an adapter of lora or gw_moe");
        }
        router.tau = tau;
        router.check();
        moe.router = std::move(router);
    });
}

/// Before move_to: the gate of zeros is made on the host.
template <class Real>
void zero_sub_router(Decoder<Real>& model, Index j) {
    using Zeros = Parameter<Wide<Real>>;
    detail::change_routers(model, [&](const auto&, auto& moe) {
        auto* mixture = moe.router.template get<MixtureRouter<Wide<Real>>>();
        if (mixture == nullptr)
            detail::no_router_to_change(moe.name, "a Mixture of Routers", "an adapter of mor");
        if (j < 0 || j >= mixture->routers())
            throw Error{ErrorCode::config, "zero", format("a sub-router, 0 to {}", mixture->routers() - 1),
                        format("{}", j)};
        if (mixture->kind == MixtureKind::vote)
            throw Error{ErrorCode::unsupported, "zero", "router.mixture A, B or D", "C, a vote",
                        "the K best of equal logits are the first K: it would vote for them"};
        for (auto* gates : {&mixture->sub, &mixture->sub_nulls}) {
            if (gates->empty()) continue;
            auto& gate = (*gates)[static_cast<std::size_t>(j)];
            const std::string name = format("{}.zeroed{}", moe.name, gates == &mixture->sub ? "" : ".nulls");
            gate = Gate<Wide<Real>>(std::make_shared<Zeros>(name, gate.weight->shape()));
            gate.weight->set_trainable(false);
        }
    });
}

}  // namespace moegrad
