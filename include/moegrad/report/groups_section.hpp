#pragma once
// Accuracy by domain and by level, a row of dots each.

#include <moegrad/eval/statistics.hpp>
#include <moegrad/report/page.hpp>

#include <map>

namespace moegrad::report {

namespace detail {

struct Count {
    std::int64_t right = 0, all = 0, questions = 0;
};

/// Counts by `key(item)`; questions are those of the first run, the others answer the same.
template <class Key>
std::map<std::string, Count> count_by(const Arm& arm, const Key& key) {
    std::map<std::string, Count> counts;
    for (std::size_t r = 0; r < arm.runs.size(); ++r) {
        for (const Item& item : arm.runs[r].items) {
            Count& count = counts[key(item)];
            count.right += item.correct ? 1 : 0;
            count.all += 1;
            count.questions += r == 0 ? 1 : 0;
        }
    }
    return counts;
}

/// Wilson's interval as if every question was answered once: more seeds do not make more questions.
inline Measure accuracy_of(const Count& count) {
    const double share = static_cast<double>(count.right) / static_cast<double>(count.all);
    const std::int64_t n = std::max<std::int64_t>(count.questions, 1);
    const Estimate estimate = proportion(std::llround(share * static_cast<double>(n)), n);
    return {share, std::min(estimate.low, share), std::max(estimate.high, share)};
}

/// Rows of dots: a row per group, a line per arm.
template <class Key>
std::string dot_rows(const ReportData& data, const std::string& kind, const Key& key, Csv& csv) {
    std::vector<std::map<std::string, Count>> counts;
    std::map<std::string, std::int64_t> groups;
    for (const Arm& arm : data.arms) {
        counts.push_back(count_by(arm, key));
        for (const auto& [group, count] : counts.back())
            groups[group] = std::max(groups[group], count.questions);
    }
    if (groups.size() < 2) return "";
    std::string out = "<div class=\"dots\">";
    for (const auto& [group, questions] : groups) {
        out += moegrad::format(
            "<div class=\"dotrow\"><span class=\"name\">{} <small>{} questions</small></span><div>",
            escape(group), grouped(questions));
        for (std::size_t i = 0; i < data.arms.size(); ++i) {
            const auto found = counts[i].find(group);
            if (found == counts[i].end()) continue;
            const Measure acc = accuracy_of(found->second);
            const std::string tip = data.arms[i].name + ", " + group + ": " + fixed(100 * acc.value, 1) +
                                    " % (" + fixed(100 * acc.low, 1) + " to " + fixed(100 * acc.high, 1) +
                                    ")";
            out += moegrad::format(
                "<svg class=\"inline\" data-arm=\"{}\" data-tip=\"{}\" role=\"img\" "
                "aria-label=\"{}\">{}</svg>",
                i, escape(tip), escape(tip), whisker_svg(acc.value, acc.low, acc.high, arm_class(data, i)));
            csv.add(kind).add(group).add(data.arms[i].name).add(found->second.questions).add(acc.value);
            csv.add(acc.low).add(acc.high).end();
        }
        out += "</div></div>\n";
    }
    out +=
        "<div class=\"dotaxis\"><span></span><p><i>0 %</i><i>25 %</i><i>50 %</i><i>75 %</i><i>100 "
        "%</i></p></div>";
    return out + "</div>\n";
}

}  // namespace detail

inline void add_groups_section(Page& page, const ReportData& data) {
    const bool items = std::any_of(data.arms.begin(), data.arms.end(), [](const Arm& arm) {
        return arm.first([](const RunFolder& run) { return !run.items.empty(); }) != nullptr;
    });
    if (!items) {
        page.add("groups", "By domain and level",
                 absent("No eval/items.jsonl in the run folders: no accuracy per domain."));
        return;
    }
    Csv csv({"group", "value", "arm", "questions", "acc", "low", "high"});
    const std::string domains = detail::dot_rows(
        data, "domain", [](const Item& item) { return item.domain; }, csv);
    const std::string levels = detail::dot_rows(
        data, "level", [](const Item& item) { return moegrad::format("level {}", item.level); }, csv);
    const std::string link = page.file("accuracy_groups.csv", csv);
    const std::string note =
        about(data, adapters(data), question_split(data)) +
        " Intervals: Wilson, 95 %, counting a question once whatever the number of seeds.";
    std::string html = arm_legend(data);
    if (!domains.empty()) html += Figure{"By domain", "", note, link}.html(domains);
    if (!levels.empty()) html += Figure{"By level", "", note, link}.html(levels);
    if (domains.empty() && levels.empty()) html += absent("All questions are of one domain and level.");
    page.add("groups", "By domain and level", html);
}

}  // namespace moegrad::report
