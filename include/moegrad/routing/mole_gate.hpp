#pragma once
// MoleGate: one weight per expert for a whole sequence, from what all experts made of it.
//     E_cat = Normalize( mean over the tokens of [E_1(x) | .. | E_E(x)] ),   G = softmax(E_cat W_m / tau)
// Input: [T, E D], the outputs of the E experts side by side. W_m [E, E D] starts at 0, so G starts uniform; tau is kept as
// its inverse, from 1. Penalty "mole" (0.5): -log prod_e G_e / M over the M gated layers, per sequence; the paper has the mean
// of G over the layers inside the logarithm, which is at most that (Jensen). An expert in `masked` has weight 0 and the
// others are renormalised; there is no penalty then.
// Wu et al. 2024 (arXiv 2404.13628), section 3.3. Theirs flattens the tokens, so W_m would know the length of a sequence; the
// mean does not. Either way a gate sees the whole sequence: a token's weights depend on tokens after it.

#include <limits>
#include <memory>
#include <vector>

#include <moegrad/ops/add.hpp>
#include <moegrad/ops/concat.hpp>
#include <moegrad/ops/embedding.hpp>
#include <moegrad/ops/fill.hpp>
#include <moegrad/ops/mix.hpp>
#include <moegrad/ops/rms_norm.hpp>
#include <moegrad/ops/segment_mean.hpp>
#include <moegrad/ops/segment_surprisal.hpp>
#include <moegrad/routing/gate_router.hpp>

namespace moegrad {

template <class Real>
struct MoleGate {
    Gate<Real> gate;                                       // W_m [E, E D]
    std::shared_ptr<Parameter<Real>> inverse_temperature;  // [1, 1]
    Index layers = 1;                                      // M
    std::vector<bool> masked{};                            // [E], or empty

    Index slots() const { return experts(); }
    Index experts() const { return gate.columns(); }
    RouterScope scope() const { return RouterScope::sequence; }
    std::vector<PenaltyCoefficient> coefficients() const {
        if (!masked.empty()) return {};
        return {{"mole", 0.5}};
    }
    std::vector<Parameter<Real>*> parameters() {
        auto all = gate.parameters();
        all.push_back(inverse_temperature.get());
        return all;
    }

    Routing<Real> route(Tape& tape, const RouteInput<Real>& input) {
        const auto z = logits(tape, input);
        const auto g = softmax(tape, z);  // [S, E]
        const auto p = embedding(tape, input.segments.segment, g);
        const auto choice = top_k(tape, p.value(), experts());
        Routing<Real> routing;
        routing.expert = classify_slots<Real>(tape, choice, input.segments, experts());
        routing.weight = take(tape, p, routing.expert);
        if (masked.empty()) {
            const double share = 1 / static_cast<double>(layers);
            routing.penalties.push_back(
                {"mole", segment_surprisal(tape, g, input.segments, share), PenaltyUnit::sequence});
        }
        routing.stats = route_stats(tape, routing.expert, choice, p.value(), input.segments);
        return routing;
    }

private:
    Var<Real> logits(Tape& tape, const RouteInput<Real>& input) {
        const auto pooled = segment_mean(tape, input.x, input.segments);
        const Var<Real> ones(filled<Real>(tape, {input.x.extent(1)}, 1));
        const auto unit = rms_norm(tape, pooled, ones, 1e-6);
        const Index S = pooled.extent(0);
        const Var<Real> one(filled<Real>(tape, {S, 1}, 1));
        const auto cold = linear(tape, one, inverse_temperature->use());
        auto z = mix(tape, cold, linear(tape, unit, gate.weight->use()));
        if (masked.empty()) return z;
        Var<Real> off(filled<Real>(tape, {S, 1}, offset_of(0)));
        for (std::size_t e = 1; e < masked.size(); ++e) {
            off = concat(tape, off, Var<Real>(filled<Real>(tape, {S, 1}, offset_of(e))));
        }
        return add(tape, z, off);
    }
    double offset_of(std::size_t e) const { return masked[e] ? -std::numeric_limits<double>::infinity() : 0; }
};

}  // namespace moegrad
