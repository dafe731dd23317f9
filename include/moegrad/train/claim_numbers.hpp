#pragma once
// Claim: what models/claims.toml says of two arms; and what its runs come to, task by task: paired differences, of items
// where the metric has them, else of a number per run.
//     sooner   l_w(n) = mean of the training losses of steps n - w + 1 .. n,   w = a twentieth of the steps, 1 at least
//              goal   = l_w of b at its end, of the same seed;   first(x) = the first n with l_w(n) <= goal, of x
//              steps + 1 where x never is.   A run that ends at the goal by chance is behind it before: against a.

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include <moegrad/train/compare_result.hpp>

namespace moegrad {

struct Claim {
    std::string id;              // "adamoe/table4"
    std::string paper;           // title, arXiv number, table
    std::string says;            // the claim in one sentence
    std::string published;       // the paper's numbers
    std::string recipe;          // below models/recipes
    std::string test;            // better, kept, no_loss, less, sooner, off_budget
    std::string a, b;            // arms of the recipe
    std::string a_from, b_from;  // arms that are taken off; both or none
    std::string metric = "nll";
    double margin = 0.005;
    double budget = 0;  // the load that off_budget is held against
    std::string state;  // what our last full run came to, as models/claims.toml records it
    std::string place;

    bool has_room() const { return test == "no_loss" || test == "kept"; }
    /// What is compared, in words.
    std::string measured() const {
        if (test == "sooner") return "steps to the loss";
        return test == "off_budget" ? format("load off {}", budget) : metric;
    }
};

inline void check_claim(const Claim& claim) {
    const auto fail = [&](const char* expected, const std::string& got) {
        throw Error{ErrorCode::config, claim.place, expected, got};
    };
    if (claim.id.empty() || claim.says.empty() || claim.recipe.empty() || claim.a.empty() || claim.b.empty())
        fail("id, says, recipe, a and b", "one of them empty");
    const auto known = {"better", "kept", "no_loss", "less", "sooner", "off_budget"};
    if (std::find(known.begin(), known.end(), claim.test) == known.end())
        fail("test better, kept, no_loss, less, sooner or off_budget", "\"" + claim.test + "\"");
    if (claim.a_from.empty() != claim.b_from.empty() || (!claim.a_from.empty() && claim.test != "better"))
        fail("a_from and b_from together, with test better", claim.a_from + " and " + claim.b_from);
    if ((claim.test == "off_budget") != (claim.budget > 0))
        fail("a budget above zero with test off_budget, and there alone", format("{}", claim.budget));
}

namespace detail {

inline const ComparedArm& claimed_arm(const CompareResult& task, const Claim& claim,
                                      const std::string& name) {
    for (const ComparedArm& arm : task.arms) {
        if (arm.name == name) return arm;
    }
    throw Error{ErrorCode::config, claim.place, "an arm of " + claim.recipe, "\"" + name + "\""};
}

/// l_w(n) for n = 0 .. steps - 1; infinite before w steps are done.
inline std::vector<double> smoothed_losses(const std::vector<double>& loss) {
    const std::size_t w = std::max<std::size_t>(1, loss.size() / 20);
    std::vector<double> smooth(loss.size(), std::numeric_limits<double>::infinity());
    for (std::size_t n = w; n <= loss.size(); ++n) {
        double sum = 0;
        for (std::size_t i = n - w; i < n; ++i) sum += loss[i];
        smooth[n - 1] = sum / static_cast<double>(w);
    }
    return smooth;
}

/// The number of steps after which the loss is at the goal.
inline double steps_to(const std::vector<double>& loss, double goal) {
    const auto smooth = smoothed_losses(loss);
    const auto at = std::find_if(smooth.begin(), smooth.end(), [&](double l) { return l <= goal; });
    return static_cast<double>(at - smooth.begin() + 1);
}

/// The number that a claim compares, for every run of `arm`.
inline std::vector<double> numbers_of(const CompareResult& task, const Claim& claim, const std::string& arm) {
    const ComparedArm &asked = claimed_arm(task, claim, arm), &b = claimed_arm(task, claim, claim.b);
    std::vector<double> all;
    for (std::size_t s = 0; s < asked.runs.size(); ++s) {
        const CompareRun& run = asked.runs[s];
        if (claim.test == "sooner") {
            if (run.loss.empty() || b.runs[s].loss.empty())
                throw Error{ErrorCode::config, claim.place, "arms that train", arm + " or " + claim.b};
            all.push_back(steps_to(run.loss, smoothed_losses(b.runs[s].loss).back()));
            continue;
        }
        const std::string metric = claim.test == "off_budget" ? "load" : claim.metric;
        const auto number = run.number(metric);
        if (!number)
            throw Error{ErrorCode::config, claim.place, "a metric that every run has",
                        format("{}, which {} has not", metric, run.folder.empty() ? arm : run.folder)};
        all.push_back(claim.test == "off_budget" ? std::abs(*number - claim.budget) : *number);
    }
    return all;
}

/// Those of `from` taken off where it is named.
inline std::vector<double> claimed_numbers(const CompareResult& task, const Claim& claim,
                                           const std::string& arm, const std::string& from) {
    std::vector<double> all = numbers_of(task, claim, arm);
    if (from.empty()) return all;
    const std::vector<double> off = numbers_of(task, claim, from);
    for (std::size_t s = 0; s < all.size(); ++s) all[s] -= off[s];
    return all;
}

/// Whether runs have one number; else every question or text has one.
inline bool is_per_run(const CompareResult& task, const Claim& claim) {
    return claim.test == "sooner" || claim.test == "off_budget" ||
           !claimed_arm(task, claim, claim.a).runs.front().items.contains(claim.metric);
}

/// Items of `arm`, those of `from` taken off where it is named.
inline ItemsBySeed claimed_items(const CompareResult& task, const Claim& claim, const std::string& arm,
                                 const std::string& from) {
    ItemsBySeed items = claimed_arm(task, claim, arm).items(claim.metric);
    if (from.empty()) return items;
    const ItemsBySeed off = claimed_arm(task, claim, from).items(claim.metric);
    for (std::size_t s = 0; s < items.size(); ++s)
        for (std::size_t i = 0; i < items[s].size(); ++i) items[s][i] -= off[s][i];
    return items;
}

/// a - b of one task; of numbers per run the runs are paired by seed.
inline Estimate claim_difference(const CompareResult& task, const Claim& claim) {
    if (!is_per_run(task, claim))
        return paired_over_items_and_seeds(claimed_items(task, claim, claim.a, claim.a_from),
                                           claimed_items(task, claim, claim.b, claim.b_from));
    std::vector<double> each = claimed_numbers(task, claim, claim.a, claim.a_from);
    const std::vector<double> other = claimed_numbers(task, claim, claim.b, claim.b_from);
    for (std::size_t s = 0; s < each.size(); ++s) each[s] -= other[s];
    if (each.size() > 1) return mean(each);
    constexpr double unknown = std::numeric_limits<double>::infinity();
    return {each.front(), -unknown, unknown, 1};
}

}  // namespace detail

}  // namespace moegrad
