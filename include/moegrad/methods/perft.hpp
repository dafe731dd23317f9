#pragma once
// PERFT: adapters around whole feed-forwards, routed or not.   arXiv 2411.08212, 2508.02587 (its sections 3, 4).
//     h: what the feed-forward gets;   Delta_j: s B A drop(h), or W2 silu(drop(W1 h))
//     perft_r   y = F(h) + sum_{j in top-k'(G(h))} G_j(h) Delta_j(h),   G = softmax(W_t h) over N     a router of its own
//     perft_e   y = sum_{e in S} w_e (E_e(h) + Delta_e(h))     one Delta per expert, under the routing of the layer
//     perft_d   y = F(h) + sum_{j = 1..N} Delta_j(h)           no gate, no 1/N
//     perft_s   perft_d with N = 1
// F is the MoE layer, or the dense feed-forward of a Llama (not for perft_e). The base stays frozen, its router too; ordinary
// LoRA comes beside it where adapter.target names Linears (by default none).
// Rank and alpha are adapter.r (also the width of W1) and adapter.lora_alpha. router.options:
//     expert = lora | adapter
//     init = perft | zero_b      perft: A, W1 ~ N(0, 2 / r), B, W2 ~ 1e-6 N(0, 1), so that step 0 is the base only nearly,
//                                as the released code; zero_b: as any LoRA here, B = W2 = 0
//     base_balance = true        (on a mixture of experts) the balance loss of the frozen base router too, as in the paper: it moves the hidden states
//     experts = N, 4 (perft_r), 2 (perft_d)
// and of perft_r: top_k = k', 2;  router = top_k, or any registered router with its own options;
//     renormalise = true         (with top_k) whether the k' weights sum to 1, as the base does it: Mixtral always, OLMoE never. With it
//                                and k' = 1 only the balance loss trains the router
//     weight_source = own | base    base: the released OLMoE code's (nn/base_weighted_experts.hpp)
// Losses: "balance" of both routers, slot form (adamoe_eq3), coefficient 0.02, that of Mixtral's configuration (OLMoE: 0.01).
// The released code computes each over the tokens of all layers in one pool; ours is one value per layer and sequence, summed
// (router.aux = "hf_concat" pools, the base's routers and the new ones apart).

#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <moegrad/methods/branch_router.hpp>
#include <moegrad/nn/adapter_experts.hpp>
#include <moegrad/nn/always_router.hpp>
#include <moegrad/nn/base_weighted_experts.hpp>
#include <moegrad/nn/lora_experts.hpp>

namespace moegrad {

namespace detail {

/// What the four have in common.
template <class Real>
class PerftBuilder {
public:
    explicit PerftBuilder(MethodBuild<Real>& build)
        : build_(build),
          adapter_(!build.options.either("expert", "lora", "adapter")),
          zero_b_(!build.options.either("init", "perft", "zero_b")) {
        if (!build.model.config().is_mixture()) return;  // no router of the base to balance
        const bool base = build.options.flag("base_balance", true);
        PenaltySettings settings = build.spec.penalties();
        if (settings.balance == BalanceLoss::by_method) settings.balance = BalanceLoss::adamoe_eq3;
        for (auto& layer : build.model.layers()) {
            for (auto& moe : layer.moe) {
                auto* router = moe.router.template get<TopKRouter<Wide<Real>>>();
                if (router == nullptr) continue;
                router->penalties = base ? settings : PenaltySettings{};
                router->usual = base ? coefficients() : std::vector<PenaltyCoefficient>{};
            }
        }
    }

    static std::vector<PenaltyCoefficient> coefficients() { return {{"balance", 0.02}}; }

    std::unique_ptr<ExpertSet<Real>> experts(const std::string& name, Index N) const {
        const Index D = build_.model.config().hidden_size;
        const LoraOptions& options = build_.spec.lora;
        if (!adapter_) {
            LoraParameters<Real> lora(name, N, D, D, options, build_.spec.seed, build_.modules.next());
            if (!zero_b_) start(lora.A, lora.B);
            return std::make_unique<LoraExperts<Real>>(std::move(lora));
        }
        auto set = std::make_unique<AdapterExperts<Real>>(name, N, options.rank, D,
                                                          Dropout{options.dropout, build_.modules.next()});
        if (zero_b_) {
            const std::uint32_t stream = build_.modules.next();
            change_values<Real>(set->w1(), [&](const auto& w) { fill_kaiming(w, build_.spec.seed, stream); });
        } else {
            start(set->w1(), set->w2());
        }
        return set;
    }

    /// A branch without its router, over N experts.
    Branch<Real> branch(const DecoderLayer<Real>& layer, Index N) const {
        const std::string name = format("model.layers.{}.mlp.perft", layer.index);
        if (N < 1) throw Error{ErrorCode::config, "router.options: experts", "at least 1", format("{}", N)};
        return {name, layer.index, build_.modules.next(), {}, experts(name, N)};
    }

private:
    /// down [N, R, D] ~ N(0, 2 / R),  up ~ 1e-6 N(0, 1)
    void start(Parameter<Real>& down, Parameter<Real>& up) const {
        const double deviation = std::sqrt(2.0 / static_cast<double>(down.shape()[1]));
        for (auto [parameter, by] : {std::pair{&down, deviation}, std::pair{&up, 1e-6}}) {
            const std::uint32_t stream = build_.modules.next();
            change_values<Real>(*parameter, [&, deviation_of = by](const auto& w) {
                fill_normal(w, deviation_of, build_.spec.seed, stream);
            });
        }
    }

    MethodBuild<Real>& build_;
    bool adapter_, zero_b_;
};

/// perft_d over N experts.
template <class Real>
void attach_always(MethodBuild<Real>& build, Index N) {
    const PerftBuilder<Real> perft(build);
    for (auto& layer : build.model.layers()) {
        auto branch = perft.branch(layer, N);
        branch.router = AlwaysRouter<Wide<Real>>{N};
        layer.branches.push_back(std::move(branch));
    }
}

}  // namespace detail

template <class Real>
struct PerftR {
    static inline const std::vector<std::string> targets{};

    static void attach(MethodBuild<Real>& build) {
        const detail::PerftBuilder<Real> perft(build);
        const Index N = build.options.count("experts", 4);
        const bool plain = build.options.text("router", "top_k") == "top_k";
        const bool raw = plain && !build.options.flag("renormalise", true);
        const bool by_base = !build.options.either("weight_source", "own", "base");
        const BranchRouting routing{.experts = N,
                                    .top_k = branch_top_k(build, 0, std::min<Index>(2, N)),
                                    .weights = raw ? TopKWeights::raw : TopKWeights::renormalized,
                                    .coefficients = perft.coefficients()};
        for (auto& layer : build.model.layers()) {
            auto branch = perft.branch(layer, N);
            branch.router = branch_router(build, branch.name + ".router", layer.index, routing);
            if (!by_base) {
                layer.branches.push_back(std::move(branch));
                continue;
            }
            require_weights_of_base(build, layer, routing.top_k);
            auto& moe = layer.moe.front();
            moe.beside.push_back(
                std::make_unique<BaseWeightedExperts<Real>>(std::move(branch), moe.experts.count()));
        }
    }

private:
    static void require_weights_of_base(MethodBuild<Real>& build, const DecoderLayer<Real>& layer, Index k) {
        const Index most = layer.moe.empty() ? 0 : layer.moe.front().router.slots();
        if (k <= most && build.options.text("router", "top_k") == "top_k") return;
        throw Error{ErrorCode::config, "router.options: weight_source",
                    format("base with router=top_k and a top_k of at most {}, the layer's slots", most),
                    format("router={}, top_k={}", build.options.text("router", "top_k"), k)};
    }
};

template <class Real>
struct PerftE {
    static inline const std::vector<std::string> targets{};

    static void attach(MethodBuild<Real>& build) {
        const detail::PerftBuilder<Real> perft(build);
        for (auto& layer : build.model.layers()) {
            if (layer.moe.empty()) {
                throw Error{ErrorCode::config, "adapter.method", "a mixture of experts for perft_e",
                            "a dense model", "perft_r, perft_d and perft_s stand beside any feed-forward"};
            }
            for (auto& moe : layer.moe) {
                moe.beside.push_back(perft.experts(moe.name + ".perft", moe.experts.count()));
            }
        }
    }
};

template <class Real>
struct PerftD {
    static inline const std::vector<std::string> targets{};
    static void attach(MethodBuild<Real>& build) {
        detail::attach_always(build, build.options.count("experts", 2));
    }
};

template <class Real>
struct PerftS {
    static inline const std::vector<std::string> targets{};
    static void attach(MethodBuild<Real>& build) { detail::attach_always(build, 1); }
};

inline const RegisterMethod<PerftR> perft_r_registered{"perft_r"};
inline const RegisterMethod<PerftE> perft_e_registered{"perft_e"};
inline const RegisterMethod<PerftD> perft_d_registered{"perft_d"};
inline const RegisterMethod<PerftS> perft_s_registered{"perft_s"};

}  // namespace moegrad
