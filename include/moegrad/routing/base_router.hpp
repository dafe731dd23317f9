#pragma once
// BaseRouter: BASE layers (Lewis et al. 2021, arXiv 2103.16716; fairseq's base_layer.py).
//     a_te = <x_t, w_e>                       w [E, D]: expert embeddings, orthogonal rows of length 0.1 at the start
//     training:   the balanced assignment of the batch, N / E tokens per expert, max sum a (ops/balanced_assignment.hpp)
//     inference:  argmax_e a_te, no balance
//     b_t = sigmoid(a_te) of its expert e weighs that expert's output: the only way by which w learns
// No auxiliary loss. N not divisible by E: the first N mod E experts take one token more (fairseq cuts the batch).
//
// The layer of the paper is y = b F(x) + (1 - b) x with F(x) = x + f(x), a residual block: y = x + b f(x). Here the block
// that holds the experts adds x, and an expert is f; so b is the expert's weight and nothing passes through.
//
// Differences to fairseq: tokens are not shuffled over workers first, since there is one; an affinity that is not a number
// is an error instead of the smallest one; an expert is the model's own, not a stack of new sublayers.
// scope() is what training looks at. embeddings = gate: w is the checkpoint's gate, trained as router.mode says.

#include <moegrad/ops/balanced_assignment.hpp>
#include <moegrad/ops/sigmoid.hpp>
#include <moegrad/ops/top_k.hpp>
#include <moegrad/routing/gate_router.hpp>
#include <moegrad/routing/orthogonal_rows.hpp>
#include <moegrad/routing/router_build.hpp>

namespace moegrad {

template <class Real>
struct BaseRouter {
    static constexpr WeightSum sum = WeightSum::at_most_one;
    static Index most_slots(const RouterSize&) { return 1; }
    static std::string instead_of_top_k(const RouterOptions&) { return "a token has one expert, always"; }
    Gate<Real> embeddings;  // [E, D]
    PenaltySettings penalties{};

    /// router.options: embeddings = own or gate.
    static BaseRouter make(RouterBuild<Real> build) {
        BaseRouter router;
        router.penalties = build.penalties_or(BalanceLoss::none);
        if (!build.options.either("embeddings", "own", "gate")) {
            router.embeddings = std::move(build.gate);
            return router;
        }
        const auto own = build.normal("embeddings", {build.experts, build.features}, 1);
        make_rows_orthogonal(own->value(), 0.1);
        router.embeddings = Gate<Real>(own);
        return router;
    }

    Index slots() const { return 1; }
    Index experts() const { return embeddings.columns(); }
    RouterScope scope() const { return RouterScope::batch; }
    std::vector<Parameter<Real>*> parameters() { return embeddings.parameters(); }

    Routing<Real> route(Tape& tape, const RouteInput<Real>& input) {
        const auto a = embeddings.logits(tape, input.x, input.segments);
        const auto choice = tape.training() ? balanced_assignment(tape, a.value(), input.segments)
                                            : top_k(tape, a.value(), 1);
        Routing<Real> routing;
        routing.expert = classify_slots<Real>(tape, choice, input.segments, experts());
        routing.weight = take(tape, sigmoid(tape, a), routing.expert);
        const auto p = softmax(tape, a);  // read by statistics, and by penalties that somebody asks for
        add_penalties(tape, routing, a, p, choice, input.segments, experts(), penalties);
        routing.stats = route_stats(tape, routing.expert, choice, p.value(), input.segments);
        return routing;
    }
};

}  // namespace moegrad
