#pragma once
// CapacityLimit: what router.options say about the places of an expert (ops/capacity.hpp), for any router.
//     capacity          factor in training; 0 (the default): every slot has a place, as at the release of every family
//     eval_capacity     factor outside training; as in training unless given
//     min_capacity      places at least (4)
//     capacity_scope    sequence (the default) or batch: what the tokens of a group are
//     capacity_order    choice, token or priority
// A dropped slot has weight 0: its token keeps its residual. The choice stays in the statistics.

#include <string>

#include <moegrad/ops/capacity.hpp>
#include <moegrad/ops/take.hpp>
#include <moegrad/routing/router.hpp>
#include <moegrad/routing/router_options.hpp>

namespace moegrad {

struct CapacityLimit {
    CapacityOptions options{.factor = 0};
    double eval_factor = 0;

    static CapacityLimit of(const RouterOptions& given, Index experts, const std::string& usual_order) {
        CapacityLimit limit;
        limit.options.experts = experts;
        limit.options.factor = given.number("capacity", 0);
        limit.eval_factor = given.number("eval_capacity", limit.options.factor);
        limit.options.least = given.count("min_capacity", 4);
        limit.options.order = order_named(given.text("capacity_order", usual_order));
        limit.options.scope = scope_named(given.text("capacity_scope", "sequence"));
        if (limit.options.factor < 0 || limit.eval_factor < 0) {
            throw Error{ErrorCode::config, "router.options: capacity", "factors from 0",
                        format("{}, {}", limit.options.factor, limit.eval_factor)};
        }
        return limit;
    }

    RouterScope scope() const {
        if (options.factor == 0 && eval_factor == 0) return RouterScope::token;
        return options.scope == BalanceOptions::Scope::sequence ? RouterScope::sequence : RouterScope::batch;
    }

    /// expert, p [T, K]: the slots and their probabilities, the first of which is a token's priority.
    template <class Real>
    Tensor<std::int32_t> apply(Tape& tape, const Tensor<std::int32_t>& expert, const Tensor<Real>& p,
                               const Segments& segments) const {
        CapacityOptions now = options;
        now.factor = tape.training() ? options.factor : eval_factor;
        return now.factor == 0 ? expert : capacity(tape, expert, p, segments, now);
    }

private:
    static CapacityOrder order_named(const std::string& name) {
        if (name == "choice") return CapacityOrder::choice;
        if (name == "token") return CapacityOrder::token;
        if (name == "priority") return CapacityOrder::priority;
        throw Error{ErrorCode::config, "router.options: capacity_order", "choice, token or priority", name};
    }
    static BalanceOptions::Scope scope_named(const std::string& name) {
        if (name == "sequence") return BalanceOptions::Scope::sequence;
        if (name == "batch") return BalanceOptions::Scope::micro;
        throw Error{ErrorCode::config, "router.options: capacity_scope", "sequence or batch", name};
    }
};

}  // namespace moegrad
