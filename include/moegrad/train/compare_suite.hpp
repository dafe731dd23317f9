#pragma once
// CompareSuite: the same arms and seeds on several tasks, each task a comparison in a folder of its own, and what they say
// together: a row per arm, a column per task, and the mean over tasks that share a metric.
//   mean over tasks: tasks are taken as they are, not as draws; errors of different tasks are independent
//   paired: the mean over tasks of each task's paired difference to the first arm

#include <cmath>
#include <string>
#include <vector>

#include <moegrad/train/compare_files.hpp>

namespace moegrad {

struct CompareSuite {
    std::string name, output;
    std::vector<CompareSpec>
        tasks;  // output of each: below that of the suite, or the suite's own where there is one
};

/// Mean of independent estimates.
inline Estimate mean_of_tasks(const std::vector<Estimate>& tasks) {
    detail::require_items("compare: tasks", tasks.size());
    double value = 0, squares = 0;
    for (const Estimate& one : tasks) {
        value += one.value;
        squares += (one.high - one.low) * (one.high - one.low) / 4;
    }
    const double n = static_cast<double>(tasks.size()), half = std::sqrt(squares) / n;
    return {value / n, value / n - half, value / n + half, static_cast<Index>(tasks.size())};
}

/// One metric over the tasks that have it.
class SuiteColumn {
public:
    SuiteColumn(const std::vector<CompareResult>& tasks, const CompareMetric& metric) : metric_(metric) {
        for (const CompareResult& task : tasks) {
            if (std::string(task.metrics.front().key) == metric.key) tasks_.push_back(&task);
        }
    }
    bool empty() const { return tasks_.empty(); }
    const CompareMetric& metric() const { return metric_; }

    Estimate mean(std::size_t arm) const {
        std::vector<Estimate> all;
        for (const auto* task : tasks_) all.push_back(*task->arms[arm].measure_whole(metric_.key));
        return ComparedArm::within(mean_of_tasks(all), true, metric_.share);
    }
    /// Of an arm to the first one.
    ComparedPair difference(std::size_t arm) const {
        std::vector<Estimate> all;
        const auto& names = tasks_.front()->arms;
        for (const auto* task : tasks_) {
            all.push_back(
                detail::difference_of(task->pairs, names[arm].name, names[0].name, metric_.key).difference);
        }
        return {names[arm].name, names[0].name, metric_.key, mean_of_tasks(all)};
    }

private:
    CompareMetric metric_;
    std::vector<const CompareResult*> tasks_;
};

namespace detail {

inline std::vector<SuiteColumn> suite_columns(const std::vector<CompareResult>& tasks) {
    std::vector<SuiteColumn> all;
    for (const CompareMetric& metric : {kAccuracy, kBitsPerByte}) {
        SuiteColumn column(tasks, metric);
        if (!column.empty()) all.push_back(std::move(column));
    }
    return all;
}

}  // namespace detail

/// Arms x tasks: the first metric of each task, then the means.
inline std::string suite_table(const std::vector<CompareResult>& tasks) {
    std::vector<std::vector<std::string>> rows{{""}};
    const auto columns = detail::suite_columns(tasks);
    for (const CompareResult& task : tasks) rows[0].push_back(task.task + ", " + task.metrics.front().title);
    for (const SuiteColumn& column : columns) rows[0].push_back(format("mean, {}", column.metric().title));
    const auto cells = [&](const auto& arm_of) {
        std::vector<std::string> row;
        for (const CompareResult& task : tasks) {
            const CompareMetric& metric = task.metrics.front();
            const auto& arm = arm_of(task);
            if (row.empty()) row.push_back(arm.name);
            row.push_back(detail::interval(arm.measure(metric.key), metric.times, metric.decimals));
        }
        return row;
    };
    rows.push_back(cells([](const CompareResult& task) -> const ComparedArm& { return task.base; }));
    for (std::size_t i = 0; i < tasks.front().arms.size(); ++i) {
        rows.push_back(cells([i](const CompareResult& task) -> const ComparedArm& { return task.arms[i]; }));
        for (const SuiteColumn& column : columns) {
            const CompareMetric& metric = column.metric();
            rows.back().push_back(detail::interval(column.mean(i), metric.times, metric.decimals));
        }
    }
    return detail::aligned(rows);
}

/// Every arm against the first one, over all tasks.
inline std::string suite_text(const std::vector<CompareResult>& tasks) {
    std::string text = format("{} tasks, taken as they are; against {}, mean of the paired differences:\n",
                              tasks.size(), tasks.front().arms.front().name);
    std::vector<std::vector<std::string>> rows;
    for (std::size_t i = 1; i < tasks.front().arms.size(); ++i) {
        rows.push_back({"  " + tasks.front().arms[i].name});
        for (const SuiteColumn& column : detail::suite_columns(tasks)) {
            const ComparedPair pair = column.difference(i);
            const CompareMetric& metric = column.metric();
            const Estimate& e = pair.difference;
            rows.back().push_back(metric.word);
            rows.back().push_back(format("{:+.{}f} [{:+.{}f}, {:+.{}f}]", metric.times * e.value,
                                         metric.decimals, metric.times * e.low, metric.decimals,
                                         metric.times * e.high, metric.decimals));
            rows.back().push_back(detail::verdict(pair));
        }
    }
    return text + detail::aligned(rows);
}

/// task,arm,metric,value,low,high
inline std::string suite_csv(const std::vector<CompareResult>& tasks) {
    std::string text = "task,arm,metric,value,low,high\n";
    for (const CompareResult& task : tasks) {
        const auto row = [&](const ComparedArm& arm) {
            for (const std::string& metric : detail::compared_columns(task)) {
                if (const auto e = arm.measure(metric))
                    text +=
                        format("{},{},{},{},{},{}\n", task.task, arm.name, metric, e->value, e->low, e->high);
            }
        };
        row(task.base);
        for (const ComparedArm& arm : task.arms) row(arm);
    }
    return text;
}

}  // namespace moegrad
