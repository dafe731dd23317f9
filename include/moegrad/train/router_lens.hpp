#pragma once
// Router lens: which experts a model sends a data file's tokens to, layer by layer, and the n that get most: those that
// CEFT trains.   arXiv 2508.19594
//     counts   C[l,e] = sum_samples sum_t 1[e in top-K of t]                            the released code
//     ratio    r[l,e] = mean_samples (1 / (K L_s)) sum_t 1[e in top-K of t]             every sample weighs the same
// They rank differently where lengths differ. All tokens of a sample count, prompt and answer. Samples run one by one.

#include <algorithm>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include <moegrad/core/device_reports.hpp>
#include <moegrad/data/dataset.hpp>
#include <moegrad/data/order.hpp>
#include <moegrad/eval/token_ids.hpp>
#include <moegrad/io/json_writer.hpp>
#include <moegrad/models/decoder.hpp>
#include <moegrad/routing/expert_lists.hpp>

namespace moegrad {

enum class LensMetric { counts, ratio };

struct RouterLens {
    struct Layer {
        std::string name;  // "model.layers.0.mlp"
        std::vector<std::int64_t> counts;
        std::vector<double> ratio;
    };
    Index samples = 0, tokens = 0, slots = 0;
    std::vector<Layer> layers;

    /// Share of a layer's activations by the metric.
    double share(std::size_t layer, std::size_t expert, LensMetric metric) const {
        const Layer& at = layers[layer];
        if (metric == LensMetric::ratio) return at.ratio[expert];
        const double all = static_cast<double>(std::max<Index>(1, tokens) * slots);
        return static_cast<double>(at.counts[expert]) / all;
    }
    /// The n experts of every layer with the highest share, best first; equal shares: the lower number first.
    std::vector<ExpertList> best(Index n, LensMetric metric) const {
        std::vector<ExpertList> all;
        for (std::size_t l = 0; l < layers.size(); ++l) {
            ExpertList order(layers[l].counts.size());
            std::iota(order.begin(), order.end(), 0);
            std::stable_sort(order.begin(), order.end(), [&](Index a, Index b) {
                return share(l, static_cast<std::size_t>(a), metric) >
                       share(l, static_cast<std::size_t>(b), metric);
            });
            if (n < 1 || n > std::ssize(order)) {
                throw Error{ErrorCode::config, "--experts", format("1 to {}", order.size()), format("{}", n)};
            }
            order.resize(static_cast<std::size_t>(n));
            all.push_back(std::move(order));
        }
        return all;
    }
    /// What router.options of ceft takes.
    std::string option(Index n, LensMetric metric) const {
        auto picked = best(n, metric);
        for (auto& list : picked) std::sort(list.begin(), list.end());
        return "picked=" + expert_lists_text(picked);
    }
};

namespace detail {

template <class Real>
void look(Context& context, Decoder<Real>& model, const Dataset& data, std::int32_t pick, RouterLens& lens) {
    const std::vector<std::int32_t> picks{pick};
    const Batch batch = make_batch(data, picks);
    Tape tape(context, Mode::inference);
    const auto token = placed_ids(batch.token.values(), model.config().vocab_size, context.device());
    const auto segments = placed(batch.segments, context.device());
    Forward<Real> forward{tape, token, segments};
    model.hidden(forward);
    for (auto& layer : lens.layers) {
        const auto record = std::find_if(forward.routings.begin(), forward.routings.end(),
                                         [&](const auto& one) { return one.name == layer.name; });
        if (record == forward.routings.end() || !record->routing.stats.defined()) {
            throw Error{ErrorCode::unsupported, layer.name, "a router that counts what it does",
                        "one that does not"};
        }
        const auto stats = host(record->routing.stats);
        const double all = static_cast<double>(stats.tokens.data()[0] * lens.slots);
        for (std::size_t e = 0; e < layer.counts.size(); ++e) {
            const std::int64_t n = stats.slots.data()[e];
            layer.counts[e] += n;
            if (all > 0) layer.ratio[e] += static_cast<double>(n) / all;
        }
    }
    lens.tokens += batch.token.size();
    ++lens.samples;
}

}  // namespace detail

inline constexpr std::uint64_t kLensSeed = 826;

/// `limit` of the samples, drawn at random; with limit 0, or where there are no more, all of them in their order.
inline std::vector<std::int32_t> lens_picks(std::size_t samples, Index limit,
                                            std::uint64_t seed = kLensSeed) {
    std::vector<std::int32_t> picks(samples);
    std::iota(picks.begin(), picks.end(), 0);
    if (limit == 0 || limit >= std::ssize(picks)) return picks;
    Random random(seed);
    shuffle(std::span<std::int32_t>(picks), random);
    picks.resize(static_cast<std::size_t>(limit));
    return picks;
}

/// picks: the samples to look at.
template <class Real>
RouterLens look_through(Context& context, Decoder<Real>& model, const Dataset& data,
                        std::span<const std::int32_t> picks) {
    RouterLens lens;
    for (auto& layer : model.layers()) {
        for (auto& moe : layer.moe) {
            const auto experts = static_cast<std::size_t>(moe.experts.count());
            lens.layers.push_back(
                {moe.name, std::vector<std::int64_t>(experts), std::vector<double>(experts)});
            lens.slots = moe.router.slots();
        }
    }
    if (lens.layers.empty()) throw Error{ErrorCode::config, "lens", "a mixture of experts", "a dense model"};
    for (const std::int32_t pick : picks) detail::look(context, model, data, pick, lens);
    require_no_reports(context.device(), "lens");
    for (auto& layer : lens.layers) {
        for (double& r : layer.ratio) r /= static_cast<double>(std::max<Index>(1, lens.samples));
    }
    return lens;
}

/// Every layer's picked experts with their shares, then the option.
inline std::string lens_text(const RouterLens& lens, Index n, LensMetric metric) {
    std::string text = format(
        "{} samples, {} tokens, {} slots each; share of {} in percent, uniform {:.1f}\n", lens.samples,
        lens.tokens, lens.slots, metric == LensMetric::ratio ? "a sample's activations" : "all activations",
        100.0 / static_cast<double>(lens.layers.front().counts.size()));
    const auto best = lens.best(n, metric);
    for (std::size_t l = 0; l < best.size(); ++l) {
        text += "  " + lens.layers[l].name;
        for (const Index e : best[l]) {
            text += format("  {}: {:.1f}", e, 100 * lens.share(l, static_cast<std::size_t>(e), metric));
        }
        text += "\n";
    }
    return text + lens.option(n, metric) + "\n";
}

inline Json lens_json(const RouterLens& lens, Index n, LensMetric metric) {
    Json json = Json::object();
    json.add("options", lens.option(n, metric));
    json.add("metric", metric == LensMetric::ratio ? "ratio" : "counts");
    json.add("samples", lens.samples);
    json.add("tokens", lens.tokens);
    json.add("slots", lens.slots);
    Json::Array layers;
    for (const auto& layer : lens.layers) {
        Json::Array counts, ratio;
        for (const std::int64_t count : layer.counts) counts.emplace_back(count);
        for (const double r : layer.ratio) ratio.emplace_back(r);
        Json one = Json::object();
        one.add("name", layer.name);
        one.add("counts", Json(std::move(counts)));
        one.add("ratio", Json(std::move(ratio)));
        layers.push_back(std::move(one));
    }
    json.add("layers", Json(std::move(layers)));
    return json;
}

}  // namespace moegrad
