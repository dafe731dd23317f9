#pragma once
// SelectionBias: a bias b that only a router's choice sees, moved once per optimiser step against the load error
// (Wang et al. 2024, arXiv 2408.15664). n_c: slots of column c in the whole step, T tokens, K slots, u the rate.
//     b_c += u sign(target_c - n_c),   sign(0) = 0;   recentred: minus the mean change of all columns, sum b stays
//     target_c = mean of n                                                      no nulls
//     target   = L T / E of each true expert, (K - L) T of the M nulls together     with nulls, which share one bias
// Recentring changes no choice and keeps b from drifting. b is a parameter that no optimiser moves: saved with the adapter,
// constant outside training, read anew by recorded steps. It is added in the router's own number type, float at least:
// in bf16 steps of 1e-3 would stall.

#include <memory>
#include <span>
#include <vector>

#include <moegrad/ops/add.hpp>
#include <moegrad/ops/fill.hpp>
#include <moegrad/ops/linear.hpp>
#include <moegrad/routing/router.hpp>

namespace moegrad {

template <class Real>
struct SelectionBias {
    std::shared_ptr<Parameter<Real>> b;  // [E + M, 1]
    Index experts = 0;                   // E
    double rate = 1e-3;                  // u; 0: b stays as it is
    double load = 1;                     // L; read with nulls
    bool recentre = true;

    /// scores [T, C] + b, without a gradient.
    Tensor<Real> added(Tape& tape, const Tensor<Real>& scores) const {
        Tape aside(tape.context(), Mode::inference);
        const Var<Real> ones(filled<Real>(aside, {scores.extent(0), 1}, 1));
        return add(aside, Var<Real>(scores), linear(aside, ones, Var<Real>(b->value()))).value();
    }

    void after_step(const RoutingTotals& totals, Index slots) {
        const auto& n = totals.slots();
        const Index C = b->shape()[0];
        if (rate == 0 || totals.tokens() == 0 || static_cast<Index>(n.size()) != C) return;
        std::vector<double> change(n.size());
        const double tokens = static_cast<double>(totals.tokens());
        double all = 0, nulls = 0, mean = 0;
        for (Index c = 0; c < C; ++c) {
            (c < experts ? all : nulls) += static_cast<double>(n[static_cast<std::size_t>(c)]);
        }
        const double each = (C == experts ? all : load * tokens) / static_cast<double>(experts);
        const double rest = (static_cast<double>(slots) - load) * tokens;
        for (Index c = 0; c < C; ++c) {
            const auto at = static_cast<std::size_t>(c);
            const double error = c < experts ? each - static_cast<double>(n[at]) : rest - nulls;
            change[at] = rate * ((error > 0) - (error < 0));
            mean += change[at] / static_cast<double>(C);
        }
        const auto values = host(b->value());
        for (Index c = 0; c < C; ++c) {
            const double moved = change[static_cast<std::size_t>(c)] - (recentre ? mean : 0);
            values.data()[c] += static_cast<Real>(moved);
        }
        copy_values(values, b->value());
    }

    std::vector<double> state() const {
        const auto values = host(b->value());
        return {values.values().begin(), values.values().end()};
    }
    void set_state(std::span<const double> state) {
        auto values = Tensor<Real>::zeros(b->shape());
        if (state.size() != values.values().size()) {
            throw Error{ErrorCode::shape, b->name(), format("{} values", values.size()),
                        format("{}", state.size())};
        }
        for (std::size_t c = 0; c < state.size(); ++c) values.values()[c] = static_cast<Real>(state[c]);
        copy_values(values, b->value());
    }
};

}  // namespace moegrad
