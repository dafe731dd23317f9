#pragma once
// FactorRouter: over E slices of a dense feed-forward, from scratch and with a bias.   FactorLLM, arXiv 2408.11855
//     z = W_r x + b_r,   p = softmax(z),   S = top-K of z (ties: lowest slice)
//     hard              w_e = 1 / K               the paper and its code; the cross entropy never reaches the router
//     straight_through  w_e = (1 + p_e - stopgrad(p_e)) / K
//     weighted          w_e = p_e
// The slices scale w so that a router that knows nothing gives the whole feed-forward's mass (FactorSlices::scale).
// Penalties:   pa           prior_kl(z, side "prior"), where the caller gives labels for it         usual 0.05
//              confidence   sum_{S} p_e / E, pushes each token's p towards flat                     usual 0.01, off

#include <moegrad/ops/add.hpp>
#include <moegrad/ops/fill.hpp>
#include <moegrad/ops/prior_kl.hpp>
#include <moegrad/ops/remap_slots.hpp>
#include <moegrad/ops/scale_columns.hpp>
#include <moegrad/routing/gate_router.hpp>

namespace moegrad {

enum class FactorGate { hard, straight_through, weighted };

inline FactorGate factor_gate_named(const std::string& name) {
    if (name == "hard") return FactorGate::hard;
    if (name == "straight_through") return FactorGate::straight_through;
    if (name == "weighted") return FactorGate::weighted;
    throw Error{ErrorCode::config, "router.options: gate", "hard, straight_through or weighted", name};
}

template <class Real>
struct FactorRouter : GateRouter<Real> {
    using GateRouter<Real>::gate, GateRouter<Real>::k, GateRouter<Real>::experts;
    std::shared_ptr<Parameter<Real>> bias;  // [E, 1]
    FactorGate mode = FactorGate::hard;
    bool learns_prior = true, confidence = false;

    std::vector<Parameter<Real>*> parameters() { return {gate.weight.get(), bias.get()}; }
    std::vector<PenaltyCoefficient> coefficients() const {
        std::vector<PenaltyCoefficient> all;
        if (learns_prior) all.emplace_back("pa", 0.05);
        if (confidence) all.emplace_back("confidence", 0.01);
        return all;
    }

    Routing<Real> route(Tape& tape, const RouteInput<Real>& input) {
        const Var<Real> one(filled<Real>(tape, {input.x.extent(0), 1}, 1));
        const auto z = add(tape, gate.logits(tape, input.x, input.segments), linear(tape, one, bias->use()));
        const auto p = softmax(tape, z);
        const auto choice = top_k(tape, z.value(), k);
        Routing<Real> routing;
        routing.expert = classify_slots<Real>(tape, choice, input.segments, experts());
        routing.weight = weight(tape, p, routing.expert);
        if (learns_prior && input.side != nullptr && input.side->count("prior") > 0) {
            routing.penalties.push_back(
                {"pa", prior_kl(tape, z, input.side->at("prior"), input.segments.valid), PenaltyUnit::token});
        }
        if (confidence) {
            routing.penalties.push_back(
                {"confidence", mean_chosen(tape, p, routing.expert), PenaltyUnit::token});
        }
        routing.stats = route_stats(tape, routing.expert, choice, p.value(), input.segments);
        return routing;
    }

private:
    static Var<Real> scaled(Tape& tape, const Var<Real>& x, double factor) {
        return scale_columns(tape, x, Var<Real>(filled<Real>(tape, {x.extent(1)}, factor)));
    }

    Var<Real> weight(Tape& tape, const Var<Real>& p, const Tensor<std::int32_t>& expert) const {
        if (mode == FactorGate::weighted) return take(tape, p, expert);
        const auto equal = renormalize(tape, Var<Real>(filled<Real>(tape, expert.shape(), 1)), expert);
        if (mode == FactorGate::hard) return equal;
        const auto soft = scaled(tape, take(tape, p, expert), 1 / static_cast<double>(k));
        return Var<Real>(equal.value(), soft.gradient());
    }

    /// sum_{S} p_e / E, [T]: the sum over the slots of a token, as nulls are summed.
    Var<Real> mean_chosen(Tape& tape, const Var<Real>& p, const Tensor<std::int32_t>& expert) const {
        SlotTable nulls(experts());
        std::fill_n(nulls.to, experts(), static_cast<std::int16_t>(kNull));
        return null_weight(tape, scaled(tape, take(tape, p, expert), 1 / static_cast<double>(experts())),
                           remap_slots(tape, expert, nulls));
    }
};

}  // namespace moegrad
