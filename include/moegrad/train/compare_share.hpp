#pragma once
// How the runs of comparisons are shared by processes: arms that take something from each other stay together, groups of
// them are independent. No two shares have a folder in common.

#include <algorithm>
#include <string>
#include <vector>

#include <moegrad/train/compare_spec.hpp>

namespace moegrad {

/// Places in CompareSpec::arms, rising.
using ArmGroup = std::vector<std::size_t>;

/// What a line of a share's log ends in when a run is done.
inline constexpr const char* kRunDone = "run done";

/// Arms joined by load_of, picks_of and of; groups in the order of their first arms.
inline std::vector<ArmGroup> arm_groups(const std::vector<CompareArm>& arms) {
    std::vector<ArmGroup> groups;
    for (std::size_t i = 0; i < arms.size(); ++i) {
        const CompareArm& arm = arms[i];
        ArmGroup joined;
        const auto is_taken_from = [&](const ArmGroup& group) {
            return std::any_of(group.begin(), group.end(), [&](std::size_t j) {
                const std::string& name = arms[j].name;
                return name == arm.load_of || name == arm.picks_of || name == arm.of;
            });
        };
        for (ArmGroup& group : groups) {
            if (!is_taken_from(group)) continue;
            joined.insert(joined.end(), group.begin(), group.end());
            group.clear();
        }
        joined.push_back(i);
        std::sort(joined.begin(), joined.end());
        groups.push_back(std::move(joined));
        std::erase_if(groups, [](const ArmGroup& group) { return group.empty(); });
        std::sort(groups.begin(), groups.end());
    }
    return groups;
}

/// One group of one task.
struct CompareUnit {
    std::size_t task = 0;
    ArmGroup arms;
    double size = 0;  // steps of training
};

/// Steps that a group trains: each arm with every seed and once at every rate. Where train.epochs decides, 1,000 stand for
/// what is not known before the data is read.
inline double steps_of(const CompareSpec& spec, const ArmGroup& group) {
    const double runs = static_cast<double>(spec.seeds.size() + spec.rates.size());
    double steps = 0;
    for (const std::size_t i : group) {
        if (!spec.arms[i].of.empty()) continue;  // asked, not trained
        const Index each = run_config_of(spec, spec.arms[i], 0, 1).steps;
        steps += runs * (each > 0 ? static_cast<double>(each) : 1000);
    }
    return steps;
}

/// All units of all tasks, larger ones first; of equal ones in order.
inline std::vector<CompareUnit> compare_units(const std::vector<CompareSpec>& tasks) {
    std::vector<CompareUnit> units;
    for (std::size_t t = 0; t < tasks.size(); ++t) {
        for (ArmGroup& group : arm_groups(tasks[t].arms)) {
            const double size = steps_of(tasks[t], group);
            units.push_back({t, std::move(group), size});
        }
    }
    std::stable_sort(units.begin(), units.end(),
                     [](const CompareUnit& a, const CompareUnit& b) { return a.size > b.size; });
    return units;
}

/// The units of process `place` of `count`: each unit, larger ones first, goes to the process that has least so far.
inline std::vector<CompareUnit> share_of(const std::vector<CompareUnit>& units, std::size_t place,
                                         std::size_t count) {
    std::vector<double> sizes(count, 0.0);
    std::vector<CompareUnit> share;
    for (const CompareUnit& unit : units) {
        const auto least = std::min_element(sizes.begin(), sizes.end());
        *least += unit.size;
        if (static_cast<std::size_t>(least - sizes.begin()) == place) share.push_back(unit);
    }
    return share;
}

}  // namespace moegrad
