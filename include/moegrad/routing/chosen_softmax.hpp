#pragma once
// chosen_softmax: the weights of a token's chosen experts, normalised over them.
//     w_k = exp(z[choice_k]) / sum_{j: expert_j >= 0} exp(z[choice_j])   where expert_k >= 0, else 0
// Equal to softmax over all columns, then renormalised over the chosen: the large denominator cancels. Written so, the
// gradient of every other logit is 0 to the bit, as it is on paper. Through the large softmax it would be a rounding
// error, and AdamW turns rounding errors into steps.
//     dz_e = w_e (g_e - sum_j w_j g_j) for the experts that take part, 0 for all others
// A token without a true expert gets no weight; one with a single expert exactly 1 and exactly no gradient.

#include <moegrad/ops/renormalize.hpp>
#include <moegrad/ops/softmax.hpp>
#include <moegrad/ops/take.hpp>

namespace moegrad {

/// z [T, C] logits, choice [T, K] columns of z, expert [T, K] as in Routing -> [T, K].
template <class Real>
Var<Real> chosen_softmax(Tape& tape, const Var<Real>& z, const Tensor<std::int32_t>& choice,
                         const Tensor<std::int32_t>& expert) {
    // All chosen logits enter the softmax, which keeps it free of overflow and of shifts; those of null slots cancel
    // in the quotient, so their gradient is left out.
    Tape aside(tape.context(), Mode::inference);
    const auto values = take(aside, Var<Real>(z.value()), choice).value();
    const Var<Real> chosen(values, take(tape, z, expert).gradient());
    return renormalize(tape, softmax(tape, chosen), expert);
}

}  // namespace moegrad
