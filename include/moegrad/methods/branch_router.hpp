#pragma once
// branch_router: a new router over the experts that a method brings, top-k or any registered one. router.options hold
// what the method reads and what the router reads side by side: "experts=8, router=top_p, p=0.8".

#include <memory>
#include <string>
#include <utility>

#include <moegrad/methods/model_method.hpp>
#include <moegrad/routing/top_k_router.hpp>

namespace moegrad {

/// What a method wants of the router; the router itself is named by its option `router`, by default top_k.
struct BranchRouting {
    Index experts = 8, top_k = 2;
    double deviation = 0.02;                            // of the gate's start, normal
    TopKWeights weights = TopKWeights::renormalized;    // of top_k
    BalanceLoss balance = BalanceLoss::adamoe_eq3;      // of top_k, where router.aux leaves it to the method
    std::vector<PenaltyCoefficient> coefficients = {};  // of top_k
};

/// Its top_k: the option top_k, else `asked` (the configuration's; 0: nobody said), else `usual`. The option is not read where
/// the router does without it.
template <class Real>
Index branch_top_k(const MethodBuild<Real>& build, Index asked, Index usual) {
    const RegisteredRouter* other = find_router(build.options.text("router", "top_k"));
    if (other == nullptr || other->instead_of_top_k(build.options).empty()) {
        return build.options.count("top_k", asked > 0 ? asked : usual);
    }
    refuse_unread_top_k(*other, build.options, asked);
    return 1;
}

/// With a gate [E, D] of its own below `path`. All options of the method have been read when this is called.
template <class Real>
AnyRouter<Wide<Real>> branch_router(MethodBuild<Real>& build, const std::string& path, int layer,
                                    const BranchRouting& wanted) {
    const Index E = wanted.experts, D = build.model.config().hidden_size;
    auto weight = std::make_shared<Parameter<Wide<Real>>>(path + ".gate.weight", Shape{E, D});
    weight->set_trainable(true);
    fill_normal(weight->value(), wanted.deviation, build.spec.seed, build.modules.next());
    Gate<Wide<Real>> gate(std::move(weight));
    const std::string name = build.options.text("router", "top_k");
    if (wanted.top_k < 1 || wanted.top_k > E) {
        throw Error{ErrorCode::config, "router.options: top_k", format("1 to {} (the experts)", E),
                    format("{}", wanted.top_k)};
    }
    RouterBuild<Wide<Real>> made{.path = path,
                                 .layer = layer,
                                 .experts = E,
                                 .features = D,
                                 .top_k = wanted.top_k,
                                 .seed = build.spec.seed,
                                 .gate = std::move(gate),
                                 .penalties = build.spec.penalties(),
                                 .options = build.options};
    if (name == "top_k") {
        return TopKRouter<Wide<Real>>{.gate = std::move(made.gate),
                                      .k = wanted.top_k,
                                      .weights = wanted.weights,
                                      .penalties = made.penalties_or(wanted.balance),
                                      .usual = wanted.coefficients};
    }
    const RegisteredRouter* registered = find_router(name);
    if (registered == nullptr) {
        auto names = registered_router_names();
        names.emplace_back("top_k");
        throw Error{ErrorCode::config, "router.options: router", "top_k, or a registered router",
                    "\"" + name + "\"", did_you_mean(nearest(name, names))};
    }
    return make_router<Wide<Real>>(*registered, std::move(made));
}

}  // namespace moegrad
