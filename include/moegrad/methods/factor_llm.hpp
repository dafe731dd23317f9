#pragma once
// factor_llm: the dense feed-forward of every layer cut into E slices, of which a router runs K per token.
//     y = (E/K) sum_{e in S} E_e(x)      hard gate; with weighted  (E/K) sum_{e in S} E p_e E_e(x)
// Slices (copies of the dense block) and routers train; the dense block stays frozen as teacher of the penalty "pa",
// 0.05 by default (router.coefs overrides), on the student's own x.            FactorLLM, arXiv 2408.11855
// The factor gives the dense block's mass where the router knows nothing, p = 1/E, for all three gates.
//     router.top_k     K, E/2 where it says nothing
//     router.options   experts=4   split=contiguous|random|kmeans   gate=hard|straight_through|weighted
//                      label=slice_mse|best_subset|contribution     pa=true   confidence=false
// The released code hands back the cross entropy alone, so its hard-gated routers never move: that is pa=false here.
// Of TinyLlama-1.1B with E = 4: 761,266,176 values in slices, 180,312 in routers.

#include <moegrad/methods/factor_split.hpp>
#include <moegrad/methods/model_method.hpp>
#include <moegrad/nn/factor_slices.hpp>
#include <moegrad/routing/factor_router.hpp>

namespace moegrad {

template <class Real>
struct FactorLlm {
    static inline const std::vector<std::string> targets{};
    static bool reads_lora(const AdapterSpec& spec) { return !spec.targets.empty(); }
    static constexpr bool reads_top_k = true;

    static void attach(MethodBuild<Real>& build) {
        const Settings settings(build);
        for (auto& layer : build.model.layers()) factor(build, layer, settings);
    }

private:
    struct Settings {
        Index E, K;
        FactorSplit split;
        FactorGate gate;
        SlicePrior prior;
        bool pa, confidence;

        explicit Settings(const MethodBuild<Real>& build)
            : E(build.options.count("experts", 4)),
              K(build.spec.top_k > 0 ? build.spec.top_k : std::max<Index>(1, E / 2)),
              split(factor_split_named(build.options.text("split", "contiguous"))),
              gate(factor_gate_named(build.options.text("gate", "hard"))),
              prior(prior_named(build.options.text("label", "slice_mse"))),
              pa(build.options.flag("pa", true)),
              confidence(build.options.flag("confidence", false)) {
            const Index F = build.model.config().intermediate_size;
            const Index most = prior == SlicePrior::best_subset ? kMostSubsetSlices : kMostSlices;
            if (E >= 1 && E <= most && F % E == 0 && K >= 1 && K <= E && !build.model.config().is_mixture())
                return;
            throw Error{
                ErrorCode::config, "factor_llm",
                format("a dense model, experts up to {} that divide its width {}, top_k up to them", most, F),
                format("{} experts, top_k {}{}", E, K,
                       build.model.config().is_mixture() ? ", a mixture of experts" : "")};
        }
        /// From weights that sum to 1 (hard), or to K/E where p = 1/E (weighted).
        double scale() const {
            const double e = static_cast<double>(E);
            return gate == FactorGate::weighted ? e * e / static_cast<double>(K) : e;
        }

    private:
        static SlicePrior prior_named(const std::string& name) {
            if (name == "slice_mse") return SlicePrior::slice_mse;
            if (name == "best_subset") return SlicePrior::best_subset;
            if (name == "contribution") return SlicePrior::contribution;
            throw Error{ErrorCode::config, "router.options: label", "slice_mse, best_subset or contribution",
                        name};
        }
    };

    static void factor(MethodBuild<Real>& build, DecoderLayer<Real>& layer, const Settings& settings) {
        auto& dense = *layer.dense;
        const Index F = dense.gate.weight.shape()[0], D = dense.gate.weight.shape()[1];
        const std::string name = "model.layers." + std::to_string(layer.index) + ".mlp.factor";
        for (auto* linear : {&dense.gate, &dense.up, &dense.down}) {
            require_dense(linear->weight);
            if (!linear->adapter) continue;
            throw Error{ErrorCode::config, "adapter.target", "no Linear of the feed-forward with factor_llm",
                        linear->path(), "its slices train in full"};
        }
        Experts<Real> slices(name + ".experts", settings.E, D, F / settings.E);
        copy(build, dense, settings, layer.index, slices);
        auto set = std::make_unique<FactorSlices<Real>>(std::move(slices), dense);
        set->scale = settings.scale();
        set->k = settings.K;
        set->prior = settings.prior;
        set->learns_prior = settings.pa;
        Branch<Real> branch;
        branch.name = name;
        branch.layer = layer.index;
        branch.module = build.modules.next();
        branch.router = router(build, name + ".router", settings, D, branch.module);
        branch.experts = std::move(set);
        layer.branches.push_back(std::move(branch));
        layer.dense_replaced = true;
    }

    static FactorRouter<Wide<Real>> router(MethodBuild<Real>& build, const std::string& path,
                                           const Settings& settings, Index D, std::uint32_t module) {
        FactorRouter<Wide<Real>> router;
        router.gate =
            Gate<Wide<Real>>(std::make_shared<Parameter<Wide<Real>>>(path + ".weight", Shape{settings.E, D}));
        router.bias = std::make_shared<Parameter<Wide<Real>>>(path + ".bias", Shape{settings.E, 1});
        for (auto* parameter : router.parameters()) parameter->set_trainable(true);
        fill_normal(router.gate.weight->value(), 0.02, build.spec.seed, module);
        router.k = settings.K;
        router.mode = settings.gate;
        router.confidence = settings.confidence;
        router.learns_prior = settings.pa;
        return router;
    }

    /// Slice j gets rows order[j F/E ..] of gate and up, and the same columns of down.
    static void copy(MethodBuild<Real>& build, const FeedForward<Real>& dense, const Settings& settings,
                     int layer, Experts<Real>& slices) {
        slices.gate_up.set_trainable(true);
        slices.down.set_trainable(true);
        if (Planning::active()) return;
        const auto gate = host_values<Real>(dense.gate.weight), up = host_values<Real>(dense.up.weight),
                   down = host_values<Real>(dense.down.weight);
        const auto order = slice_permutation(settings.split, gate, up, settings.E, build.spec.seed,
                                             static_cast<std::uint64_t>(layer));
        const Index D = gate.extent(1), F = gate.extent(0), width = slices.width();
        change_values<Real>(slices.gate_up, [&](const Tensor<Wide<Real>>& into) {
            for (Index i = 0; i < F; ++i) {
                const Index row = i / width * 2 * width + i % width,
                            from = order[static_cast<std::size_t>(i)];
                std::copy_n(gate.data() + from * D, D, into.data() + row * D);
                std::copy_n(up.data() + from * D, D, into.data() + (row + width) * D);
            }
        });
        change_values<Real>(slices.down, [&](const Tensor<Wide<Real>>& into) {
            for (Index i = 0; i < F; ++i) {
                for (Index d = 0; d < D; ++d) {
                    into.data()[(i / width * D + d) * width + i % width] =
                        down.data()[d * F + order[static_cast<std::size_t>(i)]];
                }
            }
        });
    }
};

inline const RegisterMethod<FactorLlm> factor_llm_registered{"factor_llm"};

}  // namespace moegrad
