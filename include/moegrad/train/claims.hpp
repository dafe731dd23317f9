#pragma once
// Claims of papers, held against runs of ours. A claim names a comparison (a recipe of `compare`), two of its arms and what
// is said of them:
//   better      a is better than b by `metric`: the paired difference is beside zero, on a's side
//   kept        a costs nothing: the paired difference of `metric`, towards worse, is below the room, `margin` of b's value
//   no_loss     the same, and a runs fewer FLOPs than b
//   less        `metric` of a, a number per run (load_cv, load, step_seconds, ask_seconds), is below that of b
//   sooner      a reaches b's loss in fewer steps, seed by seed (claim_numbers.hpp)
//   off_budget  the load of a is nearer to `budget` than that of b:   | load - budget |, a number per run
// With a_from and b_from, two more arms, `better` is said of what a change costs: of a - a_from beside b - b_from.
// Verdicts, from the distance that the difference lies on the claim's side of zero, or of the room:
//     p = 2 P(t > |distance| / se);   above its level cannot tell, else holds on this side, does not hold on the other
// Of several claims judged together the levels are Holm's. One run of a number per run tells nothing. The
// smallest effect that such an experiment shows in four cases of five is 2.80 standard errors; it is printed before the
// result.       Holm 1979; intervals and pairs: compare_statistics.hpp

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>
#include <vector>

#include <moegrad/train/claim_numbers.hpp>
#include <moegrad/train/compare_suite.hpp>

namespace moegrad {

struct ClaimResult {
    Estimate difference;   // a - b, over tasks
    double reference = 0;  // b's value
    double p = 1;          // of a difference that lies on zero, of no_loss and kept on the room; two-sided
    double smallest = 0;   // effect shown in four cases of five
    Index df =
        0;  // seeds - 1: p is Student's with so many degrees of freedom; 0: one seed, its items, normal
    double saved_a = 0, saved_b = 0;
    bool counted = true;            // FLOPs of both are known: not of adapters on a dense base
    double load_a = 0, load_b = 0;  // experts per token and layer; 0: not known
    std::string verdict;
};

namespace detail {

/// Of what an interval is plus and minus one standard error. The interval's own degrees of freedom may be more than those of the
/// seeds: then p is too large below 0.05, never too small.
inline double point95(Index df) {
    return df == 0 ? kNormal95 : student95(df);
}
/// How many standard errors an effect needs that four experiments in five would show: the 97.5 % and the 80 % points together,
/// the latter to two per cent from three seeds on (five for two).
inline double shown_at(Index df) {
    return df == 0 ? 2.80 : student95(df) + 0.8416 + 0.39 / static_cast<double>(df);
}
inline double standard_error(const Estimate& e, Index df) {
    return (e.high - e.low) / 2 / point95(df);
}

/// Of `distance` from zero, in the units of e. Without any spread it is that of the signs of the seeds, all alike.
inline double two_sided_p(const Estimate& e, double distance, Index df) {
    const double error = standard_error(e, df);
    if (distance == 0) return 1;
    if (error == 0) return std::exp2(-static_cast<double>(df));
    const double t = std::abs(distance) / error;
    return df == 0 ? std::erfc(t / std::sqrt(2.0)) : student_two_sided(t, df);
}

inline double arm_value(const CompareResult& task, const Claim& claim, const std::string& arm,
                        const std::string& metric) {
    const auto found = claimed_arm(task, claim, arm).measure(metric);
    return found ? found->value : 0;
}

/// Whether both arms have it.
inline bool knows(const CompareResult& task, const Claim& claim, const std::string& metric) {
    return claimed_arm(task, claim, claim.a).measure(metric).has_value() &&
           claimed_arm(task, claim, claim.b).measure(metric).has_value();
}

/// What b's value is: the mean over seeds where runs have a number, else that of the items, b_from taken off.
inline double reference_of(const CompareResult& task, const Claim& claim) {
    if (is_per_run(task, claim)) {
        const std::vector<double> all = claimed_numbers(task, claim, claim.b, claim.b_from);
        return std::accumulate(all.begin(), all.end(), 0.0) / static_cast<double>(all.size());
    }
    const double from = claim.b_from.empty() ? 0 : arm_value(task, claim, claim.b_from, claim.metric);
    return arm_value(task, claim, claim.b, claim.metric) - from;
}

}  // namespace detail

/// Whether less of it is better.
inline bool less_is_better(const Claim& claim) {
    if (claim.test == "less" || claim.test == "sooner" || claim.test == "off_budget") return true;
    return claim.metric != "acc" && claim.metric != "fact_auroc" && claim.metric != "flops_saved";
}

namespace detail {

/// How much worse a may be than b where it costs nothing.
inline double room_of(const Claim& claim, const ClaimResult& result) {
    return claim.margin * std::abs(result.reference);
}

/// How far the difference lies on the claim's side.
inline double in_favour(const Claim& claim, const ClaimResult& result) {
    const double better = less_is_better(claim) ? -result.difference.value : result.difference.value;
    return claim.has_room() ? room_of(claim, result) + better : better;
}

}  // namespace detail

/// p_level: what p must be below; Holm's, where several claims are judged together.
inline std::string claim_verdict(const Claim& claim, const ClaimResult& result, double p_level) {
    if (result.p > p_level) return "cannot tell";
    if (detail::in_favour(claim, result) < 0) return "does not hold";
    return claim.test != "no_loss" || result.saved_a > result.saved_b ? "holds" : "cannot tell";
}

/// Without the verdict, which needs the other claims.
inline ClaimResult measure_claim(const Claim& claim, const std::vector<CompareResult>& tasks) {
    ClaimResult result;
    std::vector<Estimate> each;
    const double n = static_cast<double>(tasks.size());
    for (const CompareResult& task : tasks) {
        each.push_back(detail::claim_difference(task, claim));
        const auto seeds = static_cast<Index>(detail::claimed_arm(task, claim, claim.a).runs.size());
        result.df = each.size() == 1 ? seeds - 1 : std::min(result.df, seeds - 1);
        result.reference += detail::reference_of(task, claim) / n;
        result.saved_a += detail::arm_value(task, claim, claim.a, "flops_saved") / n;
        result.saved_b += detail::arm_value(task, claim, claim.b, "flops_saved") / n;
        result.counted = result.counted && detail::knows(task, claim, "flops_saved");
        result.load_a += detail::arm_value(task, claim, claim.a, "load") / n;
        result.load_b += detail::arm_value(task, claim, claim.b, "load") / n;
    }
    result.difference = mean_of_tasks(each);
    result.p = detail::two_sided_p(result.difference, detail::in_favour(claim, result), result.df);
    result.smallest = detail::shown_at(result.df) * detail::standard_error(result.difference, result.df);
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

namespace detail {

/// What both sides cost, where it differs: FLOPs, or the load of experts whose FLOPs are not counted.
inline std::string cost_text(const Claim& claim, const ClaimResult& result) {
    if (result.counted && (claim.test == "no_loss" || result.saved_a != result.saved_b))
        return format("             FLOPs saved {:.1f} % against {:.1f} %\n", 100 * result.saved_a,
                      100 * result.saved_b);
    if (result.counted || result.load_a == result.load_b) return {};
    const auto load = [](double experts) { return experts > 0 ? format("{:.2f}", experts) : "none"; };
    return format(
        "             load {} against {}, experts per token and layer; their FLOPs are not counted\n",
        load(result.load_a), load(result.load_b));
}

/// "a" or "(a - a_from)".
inline std::string claimed(const std::string& arm, const std::string& from) {
    return from.empty() ? arm : format("({} - {})", arm, from);
}

}  // namespace detail

/// The claim, the paper's number and ours, side by side.
inline std::string claim_text(const Claim& claim, const ClaimResult& result) {
    const Estimate& d = result.difference;
    const std::string what = claim.measured();
    std::string text =
        format("{}: {}\n  paper      {}: {}\n", claim.id, claim.says, claim.paper, claim.published);
    text += format("  smallest   {} of {:.4f} would show in four cases of five\n", what, result.smallest);
    text += format("  ours       {} - {}, {}: {:+.4f} [{:+.4f}, {:+.4f}] of {:.4f}, p {:.3g}\n",
                   detail::claimed(claim.a, claim.a_from), detail::claimed(claim.b, claim.b_from), what,
                   d.value, d.low, d.high, result.reference, result.p);
    text += detail::cost_text(claim, result);
    if (claim.has_room())
        text += format("             no loss: below {:+.4f}\n", detail::room_of(claim, result));
    return text + "  verdict    " + result.verdict + "\n";
}

/// The same with the base it ran on, beside the state of our last full run, which was on another base where they differ.
inline std::string claim_report(const Claim& claim, const ClaimResult& result, const std::string& base) {
    return claim_text(claim, result) + "  base       " + base + "\n  last full  " + claim.state + "\n";
}

}  // namespace moegrad
