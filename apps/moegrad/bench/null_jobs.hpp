#pragma once
// What null experts save: dispatch, experts, combine and their backward of one Mixtral-8x7B layer with LoRA, routing given.
// Top-2 (2 true experts a token) against AdaMoE with 3 slots and 8 nulls at a load of 1.66 true experts a token:
//   saving = (t_2 - t_AdaMoE) / t_2,   ideal 1 - 1.66 / 2 = 0.17
// Loads are even, or as skewed as Mixtral's on Wikipedia.

#include "expert_layer.hpp"
#include "jobs.hpp"

namespace moegrad::bench {

// Tokens each expert of Mixtral-8x7B's layer 15 gets on Wikipedia: data/routing/moe_expert_counts.json,
// "mistral/expert_counts/wikipedia".
inline const std::vector<double> kWikipedia{54575, 55396, 52142, 31960, 57664, 62114, 50943, 52998};

/// How many true experts each token takes: between 0 and `slots`, drawn, then moved by one here and there until the sum is
/// that of the load. All `slots` where that is the load.
inline std::vector<Index> taken_slots(Index tokens, Index slots, Index rows) {
    Random random(5);
    std::vector<Index> count;
    Index sum = 0;
    const double chance = static_cast<double>(rows) / static_cast<double>(tokens * slots);
    for (Index t = 0; t < tokens; ++t) {
        Index n = 0;
        for (Index k = 0; k < slots; ++k) n += static_cast<double>(random.next_uniform()) < chance ? 1 : 0;
        count.push_back(n);
        sum += n;
    }
    while (sum != rows) {
        Index& n = count[random.next_below(static_cast<std::uint64_t>(tokens))];
        const Index moved = std::clamp<Index>(n + (sum < rows ? 1 : -1), 0, slots);
        sum += moved - n;
        n = moved;
    }
    return count;
}

template <class Real>
class NullJobs {
public:
    NullJobs(Context& context, const LayerShape& shape, double load)
        : context_(context),
          layer_(shape, context.device()),
          rows_(static_cast<Index>(std::llround(load * static_cast<double>(shape.T)))) {}

    std::vector<Job> jobs(const std::string& part) const {
        const Index all = 2 * layer_.shape.T;
        const std::vector<double> even(kWikipedia.size(), 1.0);
        return {job(part, 2, all, even, "top-2, even"), job(part, 3, rows_, even, "8 nulls, even"),
                job(part, 2, all, kWikipedia, "top-2, skewed"),
                job(part, 3, rows_, kWikipedia, "8 nulls, skewed")};
    }

private:
    Job job(const std::string& part, Index slots, Index rows, const std::vector<double>& counts,
            const char* what) const {
        const LayerShape& s = layer_.shape;
        const Deal deal(taken_slots(s.T, slots, rows), shares(counts, rows));
        const auto expert = placed(deal.experts(slots, kNull), context_.device());
        const auto weight = normal<Wide<Real>>({s.T, slots}, 9, 0.5, context_.device());
        // Three products of D x F a row forward, and as many back to the input.
        const double flops = 12.0 * static_cast<double>(rows) * static_cast<double>(s.D * s.F);
        return {part, what, flops, 0, Against::product, [this, expert, weight] {
                    layer_.forward_and_backward(context_, expert, weight);
                }};
    }

    Context& context_;
    ExpertLayer<Real> layer_;
    Index rows_;
};

}  // namespace moegrad::bench
