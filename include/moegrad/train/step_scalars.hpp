#pragma once
// step_scalars: a step as curves for TensorBoard.
//   train/ce  train/lr  train/grad_norm  train/supervised_share  train/TRACE
//   train/PENALTY (raw)  train/weighted/PENALTY (times its coefficient: what it added to the objective)
// and of the slots n_e that each of the E true experts got in one layer, u_e = E n_e / sum n:
//   moe/cv_{mean,median,min,max}                        standard deviation of u over its mean, over layers
//   moe/expert_utilization_{min,p25,median,p75,max}     u over experts and layers; 1 is even
//   moe/dead_expert_frac_mean                           share of experts without a slot
//   moe/expert_diversity_{mean,min}                     exp(H(n / sum n)) / E
//   moe/load   moe/all_null_share   moe/router_entropy_mean   moe/layer_{i}/{cv,load}

#include <algorithm>
#include <charconv>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <moegrad/core/math.hpp>
#include <moegrad/train/step_report.hpp>

namespace moegrad {

using Scalars = std::vector<std::pair<std::string, double>>;

namespace detail {

/// How evenly one layer used its experts.
struct ExpertUse {
    std::vector<double> utilization;  // u_e
    double cv = 0, diversity = 0, dead = 0;
};

inline ExpertUse expert_use(std::span<const std::int64_t> slots) {
    ExpertUse use;
    double sum = 0, squares = 0, entropy = 0;
    const double E = static_cast<double>(slots.size());
    for (std::int64_t n : slots) sum += static_cast<double>(n);
    for (std::int64_t n : slots) {
        const double share = sum > 0 ? static_cast<double>(n) / sum : 0;
        use.utilization.push_back(E * share);
        squares += (E * share - 1) * (E * share - 1);
        if (share > 0) entropy -= share * log(share);
        use.dead += n == 0 ? 1 / E : 0;
    }
    use.cv = sum > 0 ? sqrt(squares / E) : 0;
    use.diversity = sum > 0 ? exp(entropy) / E : 0;
    return use;
}

/// Between the two nearest of a sorted list, linearly.
inline double quantile_of(const std::vector<double>& sorted, double q) {
    const double at = q * static_cast<double>(sorted.size() - 1);
    const std::size_t low = static_cast<std::size_t>(at);
    const std::size_t high = std::min(low + 1, sorted.size() - 1);
    return sorted[low] + (at - static_cast<double>(low)) * (sorted[high] - sorted[low]);
}

inline double mean_of(const std::vector<double>& values) {
    double sum = 0;
    for (double value : values) sum += value;
    return sum / static_cast<double>(values.size());
}

/// 12 of "model.layers.12.mlp"; 0 without a number.
inline Index layer_number(const std::string& router) {
    Index number = 0;
    const std::size_t at = router.find("layers.");
    if (at != std::string::npos)
        std::from_chars(router.data() + at + 7, router.data() + router.size(), number);
    return number;
}

/// What the routers of one step did, to be summed up over layers.
class RoutingSummary {
public:
    /// `experts`: true experts, the columns before the nulls.
    void add(const std::string& router, const RoutingTotals& totals, std::size_t experts) {
        const std::span<const std::int64_t> slots(totals.slots());
        const ExpertUse use = expert_use(slots.first(std::min(slots.size(), experts)));
        cv_.push_back(use.cv);
        diversity_.push_back(use.diversity);
        dead_.push_back(use.dead);
        entropy_.push_back(totals.entropy());
        nulls_.push_back(totals.all_null_share());
        load_.push_back(totals.load());
        layers_[layer_number(router)].cv.push_back(use.cv);
        layers_[layer_number(router)].load.push_back(totals.load());
        utilization_.insert(utilization_.end(), use.utilization.begin(), use.utilization.end());
    }

    Scalars scalars() {
        Scalars all;
        if (utilization_.empty()) return all;
        for (const auto& [number, layer] : layers_) {
            const std::string prefix = "moe/layer_" + std::to_string(number);
            all.emplace_back(prefix + "/cv", mean_of(layer.cv));
            all.emplace_back(prefix + "/load", mean_of(layer.load));
        }
        std::sort(cv_.begin(), cv_.end());
        std::sort(utilization_.begin(), utilization_.end());
        const Scalars over_layers{
            {"moe/cv_mean", mean_of(cv_)},
            {"moe/cv_median", quantile_of(cv_, 0.5)},
            {"moe/cv_min", cv_.front()},
            {"moe/cv_max", cv_.back()},
            {"moe/expert_utilization_min", utilization_.front()},
            {"moe/expert_utilization_p25", quantile_of(utilization_, 0.25)},
            {"moe/expert_utilization_median", quantile_of(utilization_, 0.5)},
            {"moe/expert_utilization_p75", quantile_of(utilization_, 0.75)},
            {"moe/expert_utilization_max", utilization_.back()},
            {"moe/dead_expert_frac_mean", mean_of(dead_)},
            {"moe/expert_diversity_mean", mean_of(diversity_)},
            {"moe/expert_diversity_min", *std::min_element(diversity_.begin(), diversity_.end())},
            {"moe/load", mean_of(load_)},
            {"moe/all_null_share", mean_of(nulls_)},
            {"moe/router_entropy_mean", mean_of(entropy_)}};
        all.insert(all.end(), over_layers.begin(), over_layers.end());
        return all;
    }

private:
    struct Layer {
        std::vector<double> cv, load;  // Mo-LoRA has a router per Linear
    };
    std::vector<double> cv_, diversity_, dead_, entropy_, nulls_, load_, utilization_;
    std::map<Index, Layer> layers_;
};

}  // namespace detail

inline Scalars routing_scalars(const std::map<std::string, RoutingTotals>& routers, Index experts) {
    detail::RoutingSummary summary;
    for (const auto& [name, totals] : routers) summary.add(name, totals, static_cast<std::size_t>(experts));
    return summary.scalars();
}

inline Scalars step_scalars(const StepReport& report, Index experts) {
    Scalars all{{"train/ce", report.cross_entropy},
                {"train/lr", report.learning_rate},
                {"train/grad_norm", report.gradient_norm},
                {"train/supervised_share", static_cast<double>(report.supervised) /
                                               static_cast<double>(std::max<Index>(1, report.tokens))}};
    for (const auto& [name, value] : report.penalties) all.emplace_back("train/" + name, value);
    for (const auto& [name, value] : report.weighted()) all.emplace_back("train/weighted/" + name, value);
    for (const auto& [name, value] : report.traces) all.emplace_back("train/" + name, value);
    const Scalars routing = routing_scalars(report.routers, experts);
    all.insert(all.end(), routing.begin(), routing.end());
    return all;
}

}  // namespace moegrad
