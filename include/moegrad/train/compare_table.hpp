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

inline std::vector<std::string> table_cells(const ComparedArm& arm,
                                            const std::vector<CompareMetric>& metrics) {
    std::vector<std::string> cells{arm.name};
    for (const CompareMetric& metric : metrics)
        cells.push_back(interval(arm.measure(metric.key), metric.times, metric.decimals));
    cells.push_back(plain(arm.measure("load"), 1, 3));
    cells.push_back(plain(arm.measure("flops_saved"), 100, 1, " %"));
    cells.push_back(interval(arm.measure("fact_auroc"), 1, 3));
    cells.push_back(plain(arm.measure("trainable"), 1, 0));
    return cells;
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
        for (const CompareMetric& metric : result.metrics) {
            const ComparedPair pair = difference_of(result.pairs, arm.name, reference.name, metric.key);
            const Estimate& e = pair.difference;
            const double times = metric.times;
            const int decimals = metric.decimals;
            row.push_back(metric.key == std::string("nll")   ? " nll"
                          : metric.key == std::string("acc") ? "accuracy"
                                                             : metric.word);
            row.push_back(format("{:+.{}f} [{:+.{}f}, {:+.{}f}]", times * e.value, decimals, times * e.low,
                                 decimals, times * e.high, decimals));
            row.push_back(verdict(pair));
        }
        rows.push_back(std::move(row));
    }
    return rows.empty() ? std::string() : "against " + reference.name + ":\n" + aligned(rows);
}

/// Pairs that no metric tells apart.
inline std::string not_told_apart(const CompareResult& result) {
    std::string all;
    for (const ComparedPair& pair : result.pairs) {
        if (pair.metric != result.metrics.front().key) continue;
        bool same = true;
        for (const CompareMetric& metric : result.metrics)
            same = same && find_pair(result.pairs, pair.a, pair.b, metric.key)->better() == 0;
        if (!same) continue;
        all += (all.empty() ? "" : "; ") + pair.a + " and " + pair.b;
    }
    return all;
}

}  // namespace detail

/// Arms below the base they started from.
inline std::string compare_table(const CompareResult& result) {
    std::vector<std::vector<std::string>> rows{{""}};
    for (const CompareMetric& metric : result.metrics) rows.front().push_back(metric.title);
    for (const char* title : {"load", "FLOPs saved", "AUROC, facts", "trainable"})
        rows.front().push_back(title);
    rows.push_back(detail::table_cells(result.base, result.metrics));
    rows.back().front() = "base";
    for (const ComparedArm& arm : result.arms) rows.push_back(detail::table_cells(arm, result.metrics));
    return detail::aligned(rows);
}

/// Chance, majority and floor of the task, and the arms whose accuracy is not above the highest of them.
inline std::string floor_text(const CompareResult& result) {
    if (!result.facts) return {};
    const TaskFacts& facts = *result.facts;
    std::string text = task_facts_text(facts) + ", a linear model of the choices' words";
    const auto asked = std::ssize(result.base.runs.front().ids);
    text += facts.questions == asked ? "\n" : format(" over all {} questions\n", facts.questions);
    const auto say = [&](const ComparedArm& arm) {
        const auto accuracy = arm.measure(kAccuracy.key);
        if (!accuracy || accuracy->low > facts.highest()) return;
        text += format("  {}: {}\n", arm.name,
                       accuracy->high < facts.highest() ? "below the floor" : "not above the floor");
    };
    say(result.base);
    for (const ComparedArm& arm : result.arms) say(arm);
    return text;
}

/// The arms that their training did not make better by the first metric, by paired differences from the base; nothing where it
/// made all better. Such an arm has shown nothing.
inline std::string base_text(const CompareResult& result) {
    const std::string metric = result.metrics.front().key;
    const auto base = result.base.runs.front().items.at(metric);
    std::string same, worse;
    for (const ComparedArm& arm : result.arms) {
        const ItemsBySeed before(arm.runs.size(), base);
        const ComparedPair pair{arm.name, result.base.name, metric,
                                paired_over_items_and_seeds(arm.items(metric), before)};
        std::string& list = pair.better() < 0 ? worse : same;
        if (pair.better() <= 0) list += (list.empty() ? "" : ", ") + arm.name;
    }
    return (worse.empty() ? "" : "Worse than the base they started from: " + worse + ".\n") +
           (same.empty() ? "" : "Cannot be told from the base they started from: " + same + ".\n");
}

/// What the differences say and what they do not.
inline std::string compare_text(const CompareResult& result) {
    const std::size_t S = result.seeds.size();
    const bool questions = result.metrics.front().key == std::string("acc");
    std::string text = floor_text(result);
    text += format("95 % intervals over {} {}", result.base.runs.front().ids.size(),
                   questions ? "questions" : "texts");
    text += S == 1 ? ", one seed: how another start would have ended is not in them.\n"
                   : format(" and {} seeds, both counted as random draws.\n", S);
    if (S == 2) text += "Two seeds hardly show how far starts differ; three or more do.\n";
    const bool routes = result.base.runs.front().measures.count("load") > 0;
    if (routes && !result.assay)
        text +=
            "No assay (eval.heldout is not given): whether routing matters on this base was not checked.\n";
    if (result.arms.size() > 1)
        text += questions
                    ? "Paired differences: accuracy in points, nll in nats per question (less is better).\n"
                    : "Paired differences of bits per byte (less is better).\n";
    if (result.assay && !result.assay->passed())
        text += result.assay->undecided()
                    ? "The assay saw too few documents (eval.documents): no ground yet for statements about "
                      "routers.\n"
                    : "The base failed the assay: nothing here is a statement about routers.\n";
    text += base_text(result);
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
    std::string text = "training, which varies: tokens/s, ms per step, peak memory; and all questions, s\n";
    std::vector<std::vector<std::string>> rows;
    for (const ComparedArm& arm : result.arms) {
        double speed = 0, step = 0, ask = 0, peak = 0;
        for (const CompareRun& run : arm.runs) {
            speed += run.tokens_per_second / static_cast<double>(arm.runs.size());
            step += run.step_seconds / static_cast<double>(arm.runs.size());
            ask += run.ask_seconds / static_cast<double>(arm.runs.size());
            peak = std::max(peak, run.peak_bytes);
        }
        if (step == 0) continue;  // the runs of another arm, asked again
        rows.push_back({"  " + arm.name, format("{:.1f}k", speed / 1000), format("{:.1f}", 1000 * step),
                        format("{:.0f} MiB", peak / (1 << 20)), format("{:.2f}", ask)});
    }
    return text + detail::aligned(rows);
}

}  // namespace moegrad
