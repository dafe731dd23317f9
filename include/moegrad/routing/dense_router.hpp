#pragma once
// DenseRouter: every expert for every token, weighed by the softmax of its logits: LoRAMoE's routing (Dou et al. 2023,
// arXiv 2312.09979) and the soft merging of MoLoRA (Zadouri et al. 2023).
//     w = softmax(W_g x / temperature),   all E of them, nothing chosen, nothing renormalised
// lbc       none, cv2 or paper: the penalty "local" (ops/local_balance.hpp), coefficient 0.1, by a task from each sample:
//           cv2 is the code's squared coefficient of variation, paper the equation's var / mean, which grows with the
//           length of samples. Z runs over the micro-batch: how a step is cut then matters.
// delta     how much more a sample's own type of experts should carry, 0.1
// types     kinds of tasks, 2: experts of the first half are type 1, of the second half type 0
// Padding does not count (in the code it does). Training with an lbc needs tasks; evaluation never does. The code leaves the
// term out where its caller passes no types; here data without tasks contradict an lbc that was asked for: an error.

#include <optional>
#include <string>

#include <moegrad/ops/fill.hpp>
#include <moegrad/ops/local_balance.hpp>
#include <moegrad/ops/mix.hpp>
#include <moegrad/routing/chosen_routing.hpp>
#include <moegrad/routing/gate_router.hpp>
#include <moegrad/routing/router_build.hpp>

namespace moegrad {

template <class Real>
struct DenseRouter {
    static constexpr WeightSum sum = WeightSum::one;
    static std::string instead_of_top_k(const RouterOptions&) { return "a token has every expert, always"; }

    Gate<Real> gate;
    double temperature = 1;
    std::optional<LocalBalanceOptions> local{};
    PenaltySettings penalties{};

    /// router.options: temperature, lbc, delta, types.
    static DenseRouter make(RouterBuild<Real> build) {
        DenseRouter router{.gate = std::move(build.gate),
                           .temperature = build.options.number("temperature", 1),
                           .local = local_of(build.options),
                           .penalties = build.penalties_or(BalanceLoss::none)};
        if (!(router.temperature > 0))
            throw Error{ErrorCode::config, "router.options: temperature", "above 0",
                        format("{}", router.temperature)};
        return router;
    }

    Index slots() const { return experts(); }
    Index experts() const { return gate.columns(); }
    RouterScope scope() const { return RouterScope::token; }
    std::vector<Parameter<Real>*> parameters() { return gate.parameters(); }
    /// beta of the paper.
    std::vector<PenaltyCoefficient> coefficients() const {
        if (!local) return {};
        return {{"local", 0.1}};
    }

    Routing<Real> route(Tape& tape, const RouteInput<Real>& input) {
        auto z = gate.logits(tape, input.x, input.segments);
        if (temperature != 1) {
            const Var<Real> cold(filled<Real>(tape, {z.extent(0), 1}, 1 / temperature));
            z = mix(tape, cold, z);
        }
        const auto p = softmax(tape, z);
        const auto choice = top_k(tape, z.value(), experts());  // all of them, best first
        auto routing = chosen_routing(tape, z, p, choice, input.segments, TopKWeights::raw, penalties);
        add_local(tape, routing, p, input.segments);
        return routing;
    }

private:
    static std::optional<LocalBalanceOptions> local_of(const RouterOptions& options) {
        const auto form = options.text("lbc", "none");
        if (form == "none") return {};
        const double delta = options.number("delta", 0.1);
        const Index types = options.count("types", 2);
        if (form != "cv2" && form != "paper")
            throw Error{ErrorCode::config, "router.options: lbc", "none, cv2 or paper", form};
        if (!(delta >= 0 && delta < 1) || types < 1)
            throw Error{ErrorCode::config, "router.options", "delta in [0, 1), types from 1",
                        format("delta {}, types {}", delta, types)};
        using Form = LocalBalanceOptions::Form;
        return LocalBalanceOptions{form == "cv2" ? Form::squared : Form::plain, delta, types};
    }
    void add_local(Tape& tape, Routing<Real>& routing, const Var<Real>& p, const Segments& segments) const {
        if (!local) return;
        if (segments.task.defined()) {
            routing.penalties.push_back(
                {"local", local_balance(tape, p, segments, *local), PenaltyUnit::batch});
        } else if (tape.training()) {
            throw Error{ErrorCode::data, "local balance", "a task for every sample", "none",
                        "give each record its \"task\", or leave lbc out of router.options"};
        }
    }
};

}  // namespace moegrad
