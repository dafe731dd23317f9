#pragma once
// A comparison as text: one table, the paired differences in words, one line of speeds. Everything but the speeds is
// the same to the digit on every machine.

#include <moegrad/train/compare_result.hpp>

#include <string>
#include <vector>

namespace moegrad {

namespace detail {

inline std::string interval(const std::optional<Estimate>& e, double times, int decimals) {
    if (!e) return "-";
    return format("{:.{}f} [{:.{}f}, {:.{}f}]", times * e->value, decimals, times * e->low, decimals,
                  times * e->high, decimals);
}
inline std::string plain(const std::optional<Estimate>& e, double times, int decimals,
                         const char* unit = "") {
    return e ? format("{:.{}f}{}", times * e->value, decimals, unit) : std::string("-");
}

inline std::vector<std::string> table_cells(const ComparedArm& arm) {
    return {arm.name,
            interval(arm.measure("acc"), 100, 1),
            interval(arm.measure("nll"), 1, 3),
            plain(arm.measure("load"), 1, 3),
            plain(arm.measure("flops_saved"), 100, 1, " %"),
            interval(arm.measure("fact_auroc"), 1, 3),
            plain(arm.measure("trainable"), 1, 0)};
}

/// Columns as wide as they need; the first to the left, the others to the right.
inline std::string aligned(const std::vector<std::vector<std::string>>& rows) {
    std::vector<std::size_t> width;
    for (const auto& row : rows) {
        width.resize(std::max(width.size(), row.size()));
        for (std::size_t i = 0; i < row.size(); ++i) width[i] = std::max(width[i], row[i].size());
    }
    std::string text;
    for (const auto& row : rows) {
        std::string line;
        for (std::size_t i = 0; i < row.size(); ++i) {
            const std::string room(width[i] - row[i].size(), ' ');
            line += i == 0 ? row[i] + room : "  " + room + row[i];
        }
        text += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
    }
    return text;
}

inline const ComparedPair* find_pair(const std::vector<ComparedPair>& pairs, const std::string& a,
                                     const std::string& b, const std::string& metric) {
    for (const ComparedPair& pair : pairs) {
        if (pair.a == a && pair.b == b && pair.metric == metric) return &pair;
    }
    return nullptr;
}

/// a - b, whichever of the two comes first.
inline ComparedPair difference_of(const std::vector<ComparedPair>& pairs, const std::string& a,
                                  const std::string& b, const std::string& metric) {
    if (const ComparedPair* pair = find_pair(pairs, a, b, metric)) return *pair;
    const ComparedPair* pair = find_pair(pairs, b, a, metric);
    const Estimate& e = pair->difference;
    return {a, b, metric, {-e.value, -e.high, -e.low, e.n}};
}

inline std::string verdict(const ComparedPair& pair) {
    return pair.better() > 0 ? "better" : pair.better() < 0 ? "worse" : "cannot tell";
}

/// One row per later arm, held against arm `first`: over all arms, every pair once.
inline std::string against(const CompareResult& result, std::size_t first) {
    const ComparedArm& reference = result.arms[first];
    std::vector<std::vector<std::string>> rows;
    for (std::size_t i = first + 1; i < result.arms.size(); ++i) {
        const ComparedArm& arm = result.arms[i];
        std::vector<std::string> row{"  " + arm.name};
        for (const auto& [metric, times, decimals] :
             {std::tuple{"acc", 100.0, 1}, std::tuple{"nll", 1.0, 3}}) {
            const ComparedPair pair = difference_of(result.pairs, arm.name, reference.name, metric);
            const Estimate& e = pair.difference;
            row.push_back(metric == std::string("acc") ? "accuracy" : " nll");
            row.push_back(format("{:+.{}f} [{:+.{}f}, {:+.{}f}]", times * e.value, decimals, times * e.low,
                                 decimals, times * e.high, decimals));
            row.push_back(verdict(pair));
        }
        rows.push_back(std::move(row));
    }
    return rows.empty() ? std::string() : "against " + reference.name + ":\n" + aligned(rows);
}

/// Pairs that neither accuracy nor nll tells apart.
inline std::string not_told_apart(const CompareResult& result) {
    std::string all;
    for (const ComparedPair& pair : result.pairs) {
        if (pair.metric != "acc" || pair.better() != 0) continue;
        if (find_pair(result.pairs, pair.a, pair.b, "nll")->better() != 0) continue;
        all += (all.empty() ? "" : "; ") + pair.a + " and " + pair.b;
    }
    return all;
}

}  // namespace detail

/// Arms below the base they started from.
inline std::string compare_table(const CompareResult& result) {
    std::vector<std::vector<std::string>> rows{
        {"", "accuracy %", "nll of the answer", "load", "FLOPs saved", "AUROC, facts", "trainable"}};
    rows.push_back(detail::table_cells(result.base));
    rows.back().front() = "base";
    for (const ComparedArm& arm : result.arms) rows.push_back(detail::table_cells(arm));
    return detail::aligned(rows);
}

/// What the differences say and what they do not.
inline std::string compare_text(const CompareResult& result) {
    const std::size_t S = result.seeds.size();
    std::string text = format("95 % intervals over {} questions", result.base.runs.front().correct.size());
    text += S == 1 ? ", one seed: how another start would have ended is not in them.\n"
                   : format(" and {} seeds, both counted as random draws.\n", S);
    if (S == 2) text += "Two seeds hardly show how far starts differ; three or more do.\n";
    const bool routes = result.base.runs.front().measures.count("load") > 0;
    if (routes && !result.assay)
        text +=
            "No assay (eval.heldout is not given): whether routing matters on this base was not checked.\n";
    if (result.arms.size() > 1)
        text += "Paired differences: accuracy in points, nll in nats per question (less is better).\n";
    if (result.assay && !result.assay->passed())
        text += "The base failed the assay: nothing here is a statement about routers.\n";
    for (std::size_t i = 0; i < result.arms.size(); ++i) text += detail::against(result, i);
    const std::string same = detail::not_told_apart(result);
    if (!same.empty()) text += "Not told apart by anything here: " + same + ".\n";
    const double comparisons = static_cast<double>(result.pairs.size());
    if (comparisons >= 10)
        text += format("Of {} differences about {:.0f} would leave their interval by chance alone.\n",
                       result.pairs.size(), comparisons / 20);
    for (const std::string& note : result.notes) text += note + "\n";
    return text;
}

/// Depends on the machine and its mood.
inline std::string compare_speeds(const CompareResult& result) {
    std::string text = "tokens/s in training (varies):";
    for (const ComparedArm& arm : result.arms) {
        double sum = 0;
        for (const CompareRun& run : arm.runs) sum += run.tokens_per_second;
        text += format("  {} {:.1f}k", arm.name, sum / static_cast<double>(arm.runs.size()) / 1000);
    }
    return text + "\n";
}

}  // namespace moegrad
