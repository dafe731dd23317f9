#pragma once
// What an arm with `of` changes in the trained runs of another arm before they are asked the same questions, one of:
//     swap=TAU           tokens of entropy TAU ln E or more get the experts that follow the best  (routing/swapped_router.hpp)
//     zero=J             sub-router J of a Mixture of Routers says nothing
//     block=found        the `picks` experts of every layer that the run uses most on its training data are blocked,
//     block=original     those that the base uses most there,
//     block=random       or as many drawn at random, by the run's seed             (Router Lens, arXiv 2508.19594)

#include <numeric>
#include <string>
#include <vector>

#include <moegrad/core/philox.hpp>
#include <moegrad/methods/intervene.hpp>
#include <moegrad/routing/router_options.hpp>

namespace moegrad {

struct ArmChange {
    double swap = -1;   // tau; negative: none
    Index zero = -1;    // sub-router; negative: none
    std::string block;  // found, original, random; empty: none
    Index picks = 0;    // experts of a layer that `block` names
};

/// `place` names the arm in errors.
inline ArmChange parse_change(const std::string& text, const std::string& place) {
    ArmChange change;
    try {
        const RouterOptions options(text);
        change.swap = options.number("swap", -1);
        change.zero = options.text("zero", "").empty() ? -1 : options.count("zero", 0);
        change.block = options.text("block", "");
        change.picks = options.count("picks", 0);
        options.require_all_read("change");
    } catch (const Error& error) {
        throw Error{error.code, place + ": change", "swap=TAU, zero=J, or block=WHICH with picks=N",
                    "\"" + text + "\"", error.hint};
    }
    const bool swaps = change.swap >= 0, zeroes = change.zero >= 0, blocks = !change.block.empty();
    const bool known =
        !blocks || change.block == "found" || change.block == "original" || change.block == "random";
    if (swaps + zeroes + blocks == 1 && known && blocks == (change.picks > 0)) return change;
    throw Error{ErrorCode::config, place + ": change",
                "one of swap=TAU, zero=J, and block=found, original or random with picks=N",
                "\"" + text + "\""};
}

/// `picks` of the experts of every layer, every set equally likely.
inline std::vector<ExpertList> random_experts(std::size_t layers, Index experts, Index picks,
                                              std::uint64_t seed) {
    constexpr std::uint64_t stream = 0x626c6f636b000000ull;  // "block"
    if (picks > experts)
        throw Error{ErrorCode::config, "change: picks", format("1 to {}", experts), format("{}", picks)};
    std::vector<ExpertList> all;
    Random random(seed, stream);
    for (std::size_t l = 0; l < layers; ++l) {
        ExpertList order(static_cast<std::size_t>(experts));
        for (Index e = 0; e < experts; ++e) order[static_cast<std::size_t>(e)] = e;
        shuffle(std::span<Index>(order), random);
        order.resize(static_cast<std::size_t>(picks));
        std::sort(order.begin(), order.end());
        all.push_back(std::move(order));
    }
    return all;
}

/// Before move_to. blocked: the experts that `block` came to.
template <class Real>
void apply_change(Decoder<Real>& model, const ArmChange& change, const std::vector<ExpertList>& blocked) {
    if (change.swap >= 0) return swap_uncertain(model, change.swap);
    if (change.zero >= 0) return zero_sub_router(model, change.zero);
    intervene(model, expert_lists_text(blocked), "");
}

/// The same with the first experts in the place of those that a run will name: mistakes show before anything trains.
template <class Real>
void try_change(Decoder<Real>& model, const ArmChange& change) {
    const Index E = model.config().num_local_experts;
    if (!change.block.empty() && E > 0 && change.picks >= E)
        throw Error{ErrorCode::config, "change: picks", format("1 to {}: one stays open", E - 1),
                    format("{}", change.picks)};
    ExpertList first(static_cast<std::size_t>(change.picks));
    std::iota(first.begin(), first.end(), Index{0});
    apply_change(model, change, std::vector<ExpertList>(model.layers().size(), first));
}

}  // namespace moegrad
