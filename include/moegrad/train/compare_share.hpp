#pragma once
// How the work of comparisons is shared by processes: in stages, whose units need nothing of each other and write into folders of
// their own; a stage begins when the one before is over.
//     stage 3 d      the setting that an arm of depth d takes its load with, a unit for every seed
//     stage 3 d + 1  a unit for every learning rate
//     stage 3 d + 2  a unit for every seed: the runs
// d: how many arms stand before an arm in the longest row of arms that take something from each other (load_of, picks_of, of).

#include <algorithm>
#include <string>
#include <vector>

#include <moegrad/train/compare_spec.hpp>

namespace moegrad {

/// What the line of a share's log ends in when a run is done.
inline constexpr const char* kRunDone = "run done";

/// Places in CompareSpec::arms of what an arm takes from; each stands before it.
inline std::vector<std::size_t> taken_from(const std::vector<CompareArm>& arms, std::size_t i) {
    std::vector<std::size_t> places;
    for (std::size_t j = 0; j < i; ++j) {
        const std::string& name = arms[j].name;
        if (name == arms[i].load_of || name == arms[i].picks_of || name == arms[i].of) places.push_back(j);
    }
    return places;
}

/// Of every arm.
inline std::vector<std::size_t> arm_depths(const std::vector<CompareArm>& arms) {
    std::vector<std::size_t> depths(arms.size(), 0);
    for (std::size_t i = 0; i < arms.size(); ++i)
        for (const std::size_t j : taken_from(arms, i)) depths[i] = std::max(depths[i], depths[j] + 1);
    return depths;
}

enum class UnitKind { setting, rate, run };

/// One thing that one process does.
struct CompareUnit {
    std::size_t task = 0, arm = 0;
    UnitKind kind = UnitKind::run;
    std::size_t place = 0;  // in CompareSpec::rates, else in seeds
    double size = 0;        // steps of training
};

/// Units that need nothing of each other, larger ones first; of equal ones in order.
using CompareStage = std::vector<CompareUnit>;

namespace detail {

/// Steps of a run. Where train.epochs decides, 1,000 stand for what is not known before the data is read; a changed run is asked, not
/// trained.
inline double unit_steps(const CompareSpec& spec, const CompareArm& arm) {
    if (!arm.of.empty()) return 0;
    const Index steps = run_config_of(spec, arm, 0, 1).steps;
    return steps > 0 ? static_cast<double>(steps) : 1000;
}

/// How many units of a kind an arm has.
inline std::size_t unit_count(const CompareSpec& spec, const CompareArm& arm, UnitKind kind) {
    switch (kind) {
        case UnitKind::setting: return arm.at_a_load() ? spec.seeds.size() : 0;
        case UnitKind::rate: return arm.of.empty() ? spec.rates.size() : 0;
        case UnitKind::run: return spec.seeds.size();
    }
    return 0;
}

}  // namespace detail

/// All stages of all tasks that have anything to do.
inline std::vector<CompareStage> compare_stages(const std::vector<CompareSpec>& tasks) {
    std::vector<CompareStage> stages;
    for (std::size_t t = 0; t < tasks.size(); ++t) {
        const auto depths = arm_depths(tasks[t].arms);
        for (std::size_t i = 0; i < depths.size(); ++i) {
            const CompareArm& arm = tasks[t].arms[i];
            stages.resize(std::max(stages.size(), 3 * depths[i] + 3));
            for (const UnitKind kind : {UnitKind::setting, UnitKind::rate, UnitKind::run}) {
                CompareStage& stage = stages[3 * depths[i] + static_cast<std::size_t>(kind)];
                const double size = kind == UnitKind::setting ? 0 : detail::unit_steps(tasks[t], arm);
                for (std::size_t n = 0; n < detail::unit_count(tasks[t], arm, kind); ++n)
                    stage.push_back({t, i, kind, n, size});
            }
        }
    }
    std::erase_if(stages, [](const CompareStage& stage) { return stage.empty(); });
    for (CompareStage& stage : stages) {
        std::stable_sort(stage.begin(), stage.end(),
                         [](const CompareUnit& a, const CompareUnit& b) { return a.size > b.size; });
    }
    return stages;
}

/// The units of process `place` of `count`: each unit, larger ones first, goes to the process that has least so far. A unit without
/// training counts as a step, so that such ones are dealt out too.
inline CompareStage share_of(const CompareStage& units, std::size_t place, std::size_t count) {
    std::vector<double> sizes(count, 0.0);
    CompareStage share;
    for (const CompareUnit& unit : units) {
        const auto least = std::min_element(sizes.begin(), sizes.end());
        *least += std::max(unit.size, 1.0);
        if (static_cast<std::size_t>(least - sizes.begin()) == place) share.push_back(unit);
    }
    return share;
}

}  // namespace moegrad
