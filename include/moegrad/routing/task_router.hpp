#pragma once
// TaskRouter: MOELoRA's gate (Liu et al. 2023, arXiv 2310.18339). Not the token but its sample's task says how much each
// expert counts: one weight vector per task, all E experts for every token.
//     w = softmax(W e_j),   j the task of the sample,   e_j [width] of a learned table,   W [E, width]
// Tasks are 0 .. tasks - 1, of the data's "task". A sample without one is an error, or of the default_task.
// Start: e normal, W uniform's deviation 1 / sqrt(3 width). The checkpoint's gate is not used.
// x is read for one thing only: a token that is no number must not pass.

#include <cmath>

#include <moegrad/ops/embedding.hpp>
#include <moegrad/ops/linear.hpp>
#include <moegrad/ops/token_task.hpp>
#include <moegrad/ops/top_k.hpp>
#include <moegrad/routing/chosen_routing.hpp>
#include <moegrad/routing/require_finite.hpp>
#include <moegrad/routing/router_build.hpp>

namespace moegrad {

template <class Real>
struct TaskRouter {
    static constexpr WeightSum sum = WeightSum::one;
    static std::string instead_of_top_k(const RouterOptions&) { return "a token has every expert, always"; }

    std::shared_ptr<Parameter<Real>> table;       // e [tasks, width]
    std::shared_ptr<Parameter<Real>> projection;  // W [E, width]
    std::int32_t default_task = kNoTask;
    PenaltySettings penalties{};

    /// router.options: tasks (how many, must be there), width, default_task.
    static TaskRouter make(RouterBuild<Real> build) {
        const Index tasks = build.options.count("tasks", 0), width = build.options.count("width", 64);
        const double usual = build.options.number("default_task", kNoTask);
        const bool fits =
            usual == std::floor(usual) && usual >= kNoTask && usual < static_cast<double>(tasks);
        if (tasks < 1 || width < 1 || !fits)
            throw Error{ErrorCode::config, "router.options",
                        "tasks and width from 1, default_task below tasks",
                        format("tasks {}, width {}, default_task {}", tasks, width, usual),
                        "router.options = \"tasks=3\" says how many tasks the data has"};
        const double deviation = 1 / std::sqrt(3 * static_cast<double>(width));
        return {.table = build.normal("task_embedding.weight", {tasks, width}, 1),
                .projection = build.normal("task_gate.weight", {build.experts, width}, deviation),
                .default_task = static_cast<std::int32_t>(usual),
                .penalties = build.penalties_or(BalanceLoss::none)};
    }

    Index slots() const { return experts(); }
    Index experts() const { return projection->shape()[0]; }
    RouterScope scope() const { return RouterScope::token; }  // a token brings the task of its sample
    std::vector<Parameter<Real>*> parameters() { return {table.get(), projection.get()}; }

    Routing<Real> route(Tape& tape, const RouteInput<Real>& input) {
        require_finite(tape, input.x);
        const auto task = token_task<Real>(tape, input.segments, table->shape()[0], default_task);
        const auto z = linear(tape, embedding(tape, task, table->use()), projection->use());
        const auto p = softmax(tape, z);
        const auto choice = top_k(tape, z.value(), experts());  // all of them, best first
        return chosen_routing(tape, z, p, choice, input.segments, TopKWeights::raw, penalties);
    }
};

}  // namespace moegrad
