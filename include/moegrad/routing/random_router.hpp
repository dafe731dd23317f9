#pragma once
// RandomRouter: K different experts drawn at random for every token, every set of K equally likely. Not a method: it
// shows what the choice of experts is worth on a model. A base on which random experts cost little says nothing about
// routers.
//     weights   equal 1/K, or the gate's own probabilities renormalised over what was drawn
// Draws: Philox keyed by (seed, step, module; sample, position), one word per slot; no step outside training.

#include <vector>

#include <moegrad/core/philox.hpp>
#include <moegrad/routing/top_k_router.hpp>

namespace moegrad {

enum class RandomWeights { equal, renormalized };

template <class Real>
struct RandomRouter {
    Gate<Real> gate;  // weighs the experts, and its logits must be numbers
    Index k = 2;
    RandomWeights weights = RandomWeights::renormalized;
    std::uint64_t seed = 0;

    Index slots() const { return k; }
    Index experts() const { return gate.columns(); }
    RouterScope scope() const { return RouterScope::token; }
    std::vector<Parameter<Real>*> parameters() { return gate.parameters(); }

    Routing<Real> route(Tape& tape, const RouteInput<Real>& input) {
        const auto z = gate.logits(tape, input.x, input.segments);
        const auto p = softmax(tape, z);
        top_k(tape, z.value(), 1);  // names the token whose logits are not numbers
        const auto choice = draw(tape, input);
        Routing<Real> routing;
        routing.expert = classify_slots<Real>(tape, choice, input.segments, experts());
        routing.weight = weights == RandomWeights::renormalized
                             ? chosen_softmax(tape, z, choice, routing.expert)
                             : equal(tape, routing.expert);
        routing.stats = route_stats(tape, routing.expert, choice, p.value(), input.segments);
        return routing;
    }

private:
    /// [T, K]. The n-th draw is among the experts that are left, in the order of their numbers.
    Tensor<std::int32_t> draw(Tape& tape, const RouteInput<Real>& input) const {
        const bool training = tape.recording() || tape.selections() != nullptr;
        const std::uint64_t step = training ? tape.context().scalars().step : ~std::uint64_t{0};
        const PhiloxCounter words = philox({static_cast<std::uint32_t>(step),
                                            static_cast<std::uint32_t>(step >> 32), input.module, 0x72616e64},
                                           philox_key(seed));
        const PhiloxKey key{words[0], words[1]};
        const Index T = input.segments.tokens(), E = experts();
        auto choice = tape.make<std::int32_t>({T, k});
        std::vector<std::int32_t> left;
        for (Index t = 0; t < T; ++t) {
            left.resize(static_cast<std::size_t>(E));
            for (Index e = 0; e < E; ++e) left[static_cast<std::size_t>(e)] = static_cast<std::int32_t>(e);
            for (Index slot = 0; slot < k; ++slot) {
                const auto drawn = philox({static_cast<std::uint32_t>(input.segments.sample.data()[t]),
                                           static_cast<std::uint32_t>(input.segments.position.data()[t]),
                                           static_cast<std::uint32_t>(slot), 0},
                                          key);
                const auto at = static_cast<std::size_t>((std::uint64_t{drawn[0]} * left.size()) >> 32);
                choice.matrix()(t, slot) = left[at];
                left.erase(left.begin() + static_cast<std::ptrdiff_t>(at));
            }
        }
        return choice;
    }

    Var<Real> equal(Tape& tape, const Tensor<std::int32_t>& expert) const {
        auto w = tape.make<Real>(expert.shape());
        for (Index i = 0; i < expert.size(); ++i)
            w.data()[i] = expert.data()[i] >= 0 ? Real(1) / static_cast<Real>(k) : Real(0);
        return Var<Real>(w);
    }
};

}  // namespace moegrad
