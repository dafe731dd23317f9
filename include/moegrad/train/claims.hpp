#pragma once
// Claims of papers, held against runs of ours. A claim names a comparison (a recipe of `compare`), two of its arms and what
// is said of them:
//   better     a is better than b by `metric`: the paired difference is beside zero, on a's side
//   no_loss    a costs nothing: the paired difference of `metric`, towards worse, is below `margin` of b's value, and a
//              runs fewer FLOPs than b;   p = Phi((d - room) / se),   room = margin |b|,   one-sided
//   less       `metric` of a, a number per run (load_cv, load), is below that of b
// Verdicts: holds; does not hold: the opposite is shown (of no_loss: the lower end of d is above the room); cannot tell.
// Of several claims judged together the p-values are Holm's. One run of a number per run tells nothing. The smallest effect that such an experiment shows in four cases of five is 2.80 standard errors; it is
// printed before the result.       Holm 1979; intervals and pairs: compare_statistics.hpp

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include <moegrad/train/compare_suite.hpp>

namespace moegrad {

struct Claim {
    std::string id;         // "adamoe/options"
    std::string paper;      // title, arXiv number, table
    std::string says;       // the claim in one sentence
    std::string published;  // the paper's numbers
    std::string recipe;     // below models/recipes
    std::string test;       // better, no_loss, less
    std::string a, b;       // arms of the recipe
    std::string metric = "nll";
    double margin = 0.005;
    std::string state;  // what our last full run came to, as models/claims.toml records it
    std::string place;
};

inline void check_claim(const Claim& claim) {
    const auto fail = [&](const char* expected, const std::string& got) {
        throw Error{ErrorCode::config, claim.place, expected, got};
    };
    if (claim.id.empty() || claim.says.empty() || claim.recipe.empty() || claim.a.empty() || claim.b.empty())
        fail("id, says, recipe, a and b", "one of them empty");
    if (claim.test != "better" && claim.test != "no_loss" && claim.test != "less")
        fail("test better, no_loss or less", "\"" + claim.test + "\"");
}

struct ClaimResult {
    Estimate difference;   // a - b, over tasks
    double reference = 0;  // b's value
    double p = 1;          // of the difference being zero, two-sided; of no_loss: of a cost above the room
    double smallest = 0;   // effect shown in four cases of five
    double saved_a = 0, saved_b = 0;
    std::string verdict;
};

namespace detail {

inline double standard_error(const Estimate& e) {
    return (e.high - e.low) / 2 / kNormal95;
}

/// By the normal distribution.
inline double two_sided_p(const Estimate& e) {
    const double error = standard_error(e);
    if (error == 0) return e.value == 0 ? 1 : 0;
    return std::erfc(std::abs(e.value) / error / std::sqrt(2.0));
}

inline std::size_t arm_index(const CompareResult& task, const Claim& claim, const std::string& name) {
    for (std::size_t i = 0; i < task.arms.size(); ++i) {
        if (task.arms[i].name == name) return i;
    }
    throw Error{ErrorCode::config, claim.place, "an arm of " + claim.recipe, "\"" + name + "\""};
}

/// a - b of one task; of a measure without items the runs are paired by seed.
inline Estimate claim_difference(const CompareResult& task, const Claim& claim) {
    const ComparedArm &a = task.arms[arm_index(task, claim, claim.a)],
                      &b = task.arms[arm_index(task, claim, claim.b)];
    if (a.runs.front().items.contains(claim.metric))
        return paired_over_items_and_seeds(a.items(claim.metric), b.items(claim.metric));
    std::vector<double> each;
    for (std::size_t s = 0; s < a.runs.size(); ++s) {
        const auto x = a.runs[s].measures.find(claim.metric), y = b.runs[s].measures.find(claim.metric);
        if (x == a.runs[s].measures.end() || y == b.runs[s].measures.end())
            throw Error{ErrorCode::config, claim.place, "a metric that every run has", claim.metric};
        each.push_back(x->second.value - y->second.value);
    }
    if (each.size() > 1) return mean(each);
    constexpr double unknown = std::numeric_limits<double>::infinity();
    return {each.front(), -unknown, unknown, 1};
}

inline double arm_value(const CompareResult& task, const Claim& claim, const std::string& arm,
                        const std::string& metric) {
    const auto found = task.arms[arm_index(task, claim, arm)].measure(metric);
    return found ? found->value : 0;
}

}  // namespace detail

/// Whether less of it is better.
inline bool less_is_better(const Claim& claim) {
    return claim.test == "less" || claim.metric != "acc";
}

namespace detail {

/// How much worse a may be than b where it costs nothing.
inline double room_of(const Claim& claim, const ClaimResult& result) {
    return claim.margin * std::abs(result.reference);
}

/// Of a cost of at least the room. By the normal distribution.
inline double no_loss_p(const Claim& claim, const ClaimResult& result) {
    const double cost = less_is_better(claim) ? result.difference.value : -result.difference.value;
    const double left = room_of(claim, result) - cost, error = standard_error(result.difference);
    if (left <= 0) return 1;
    return error == 0 ? 0 : 0.5 * std::erfc(left / error / std::sqrt(2.0));
}

}  // namespace detail

/// p_level: what p must be below; Holm's, where several claims are judged together.
inline std::string claim_verdict(const Claim& claim, const ClaimResult& result, double p_level) {
    const Estimate& d = result.difference;
    if (claim.test == "no_loss") {
        const double best = less_is_better(claim) ? d.low : -d.high, room = detail::room_of(claim, result);
        if (best > room) return "does not hold";
        return result.p <= p_level && result.saved_a > result.saved_b ? "holds" : "cannot tell";
    }
    if (result.p > p_level) return "cannot tell";
    return (d.value < 0) == less_is_better(claim) ? "holds" : "does not hold";
}

/// Without the verdict, which needs the other claims.
inline ClaimResult measure_claim(const Claim& claim, const std::vector<CompareResult>& tasks) {
    ClaimResult result;
    std::vector<Estimate> each;
    const double n = static_cast<double>(tasks.size());
    for (const CompareResult& task : tasks) {
        each.push_back(detail::claim_difference(task, claim));
        result.reference += detail::arm_value(task, claim, claim.b, claim.metric) / n;
        result.saved_a += detail::arm_value(task, claim, claim.a, "flops_saved") / n;
        result.saved_b += detail::arm_value(task, claim, claim.b, "flops_saved") / n;
    }
    result.difference = mean_of_tasks(each);
    result.p =
        claim.test == "no_loss" ? detail::no_loss_p(claim, result) : detail::two_sided_p(result.difference);
    result.smallest = 2.80 * detail::standard_error(result.difference);
    return result;
}

/// The level that each p must stay below so that all rejections together err in one case of twenty; 0 where an easier one
/// was not rejected already.
inline std::vector<double> holm_levels(const std::vector<double>& p, double level = 0.05) {
    std::vector<std::size_t> order(p.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::sort(order.begin(), order.end(), [&](std::size_t i, std::size_t j) { return p[i] < p[j]; });
    std::vector<double> levels(p.size());
    for (std::size_t rank = 0; rank < order.size(); ++rank) {
        levels[order[rank]] = level / static_cast<double>(p.size() - rank);
        if (p[order[rank]] > levels[order[rank]]) break;
    }
    return levels;
}

inline void judge_claims(const std::vector<Claim>& claims, std::vector<ClaimResult>& results) {
    std::vector<double> p;
    for (const ClaimResult& one : results) p.push_back(one.p);
    const auto levels = holm_levels(p);
    for (std::size_t i = 0; i < claims.size(); ++i)
        results[i].verdict = claim_verdict(claims[i], results[i], levels[i]);
}

/// The claim, the paper's number and ours, side by side.
inline std::string claim_text(const Claim& claim, const ClaimResult& result) {
    const Estimate& d = result.difference;
    std::string text =
        format("{}: {}\n  paper      {}: {}\n", claim.id, claim.says, claim.paper, claim.published);
    text +=
        format("  smallest   {} of {:.4f} would show in four cases of five\n", claim.metric, result.smallest);
    text += format("  ours       {} - {}, {}: {:+.4f} [{:+.4f}, {:+.4f}] of {:.4f}, p {:.3g}\n", claim.a,
                   claim.b, claim.metric, d.value, d.low, d.high, result.reference, result.p);
    if (claim.test == "no_loss")
        text += format("             FLOPs saved {:.1f} % against {:.1f} %; no loss: below {:+.4f}\n",
                       100 * result.saved_a, 100 * result.saved_b, detail::room_of(claim, result));
    return text + "  verdict    " + result.verdict + "\n";
}

}  // namespace moegrad
