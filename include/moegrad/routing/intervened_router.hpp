#pragma once
// IntervenedRouter: a top-K router with experts blocked or stimulated, to ask whether they cause what they go with.
//     block       z_e = -inf before the softmax                                 Router Lens, arXiv 2508.19594
//     stimulate   p_e = max_j p_j after the softmax, then p / sum_j p_j, then top-K (ties: lowest expert)
//     w_e = p_e / sum_S p, or p_e with raw=true; without a list it is the plain top-K router to the bit
// Both at once: first block, then stimulate. Blocked columns are left out of the softmax rather than lowered, which is the
// same number. Fewer open experts than K: as many slots as there are.
// router.options: block, stimulate (routing/expert_lists.hpp, a list for every layer), raw. `moegrad eval --block
// --stimulate` puts it in the place of a top-K router that is there (methods/intervene.hpp).

#include <moegrad/ops/concat.hpp>
#include <moegrad/ops/fill.hpp>
#include <moegrad/ops/remap_slots.hpp>
#include <moegrad/routing/expert_lists.hpp>
#include <moegrad/routing/gate_router.hpp>
#include <moegrad/routing/router_build.hpp>

namespace moegrad {

template <class Real>
struct IntervenedRouter : GateRouter<Real> {
    using GateRouter<Real>::gate, GateRouter<Real>::k, GateRouter<Real>::experts;
    ExpertList blocked{}, stimulated{};
    bool raw = false;
    PenaltySettings penalties{};

    static IntervenedRouter make(RouterBuild<Real> build) {
        IntervenedRouter router;
        router.blocked = list_of(build, "block");
        router.stimulated = list_of(build, "stimulate");
        router.raw = build.options.flag("raw", false);
        router.gate = std::move(build.gate);
        router.k = build.top_k;
        router.penalties = build.penalties;
        router.check();
        return router;
    }

    Index slots() const { return std::min(k, experts() - std::ssize(blocked)); }

    Routing<Real> route(Tape& tape, const RouteInput<Real>& input) {
        const auto z = gate.logits(tape, input.x, input.segments);
        const auto p = softmax(tape, z);
        const ExpertList open = open_experts();
        const auto seen = blocked.empty() ? z : take(tape, z, columns(tape, z.extent(0), open));
        const bool plain = stimulated.empty() && !raw;
        const auto score = plain ? seen : lifted(tape, seen, open);
        const auto local = top_k(tape, score.value(), slots());
        const auto expert = classify_slots<Real>(tape, local, input.segments, std::ssize(open));
        Routing<Real> routing;
        routing.weight = plain ? chosen_softmax(tape, seen, local, expert) : take(tape, score, expert);
        if (!plain && !raw) routing.weight = renormalize(tape, routing.weight, expert);
        const SlotTable names = SlotTable::back(open);
        const auto choice = remap_slots(tape, local, names);
        routing.expert = remap_slots(tape, expert, names);
        add_penalties(tape, routing, z, p, choice, input.segments, experts(), penalties);
        routing.stats = route_stats(tape, routing.expert, choice, p.value(), input.segments);
        return routing;
    }

    /// Throws for an expert that is blocked and stimulated, and where none is open.
    void check() const {
        const auto is_blocked = [&](Index e) {
            return std::find(blocked.begin(), blocked.end(), e) != blocked.end();
        };
        if (k >= 1 && k <= experts() && std::ssize(blocked) < experts() &&
            std::none_of(stimulated.begin(), stimulated.end(), is_blocked)) {
            return;
        }
        throw Error{ErrorCode::config, "block and stimulate",
                    format("an open expert of the {}, and none both blocked and stimulated", experts()),
                    format("top_k {}, blocked {}, stimulated {}", k, expert_lists_text({blocked}),
                           expert_lists_text({stimulated}))};
    }

private:
    static ExpertList list_of(const RouterBuild<Real>& build, const char* key) {
        const std::string text = build.options.text(key, "");
        if (text.empty()) return {};
        const auto all = expert_lists(text, std::string("router.options: ") + key, build.experts);
        const auto layer = static_cast<std::size_t>(build.layer);
        if (layer < all.size()) return all[layer];
        throw Error{ErrorCode::config, std::string("router.options: ") + key, "a list for every layer",
                    format("{} lists, and a layer {}", all.size(), build.layer)};
    }

    ExpertList open_experts() const {
        ExpertList open;
        for (Index e = 0; e < experts(); ++e) {
            if (std::find(blocked.begin(), blocked.end(), e) == blocked.end()) open.push_back(e);
        }
        return open;
    }

    /// [T, C] with `list` in every row: the columns of equal scores come in their order.
    static Tensor<std::int32_t> columns(Tape& tape, Index T, const ExpertList& list) {
        const auto C = static_cast<Index>(list.size());
        return remap_slots(tape, top_k(tape, filled<Real>(tape, {T, C}, 0), C), SlotTable::back(list));
    }

    /// The probabilities of the open experts after the stimulation.
    Var<Real> lifted(Tape& tape, const Var<Real>& z, const ExpertList& open) const {
        const auto p = softmax(tape, z);
        if (stimulated.empty()) return p;
        const auto largest = take(tape, p, top_k(tape, p.value(), 1));
        ExpertList from(open.size());
        for (std::size_t i = 0; i < open.size(); ++i) {
            const bool lift = std::find(stimulated.begin(), stimulated.end(), open[i]) != stimulated.end();
            from[i] = lift ? std::ssize(open) : static_cast<Index>(i);
        }
        const auto column = columns(tape, p.extent(0), from);
        return renormalize(tape, take(tape, concat(tape, p, largest), column), column);
    }
};

}  // namespace moegrad
