#pragma once
// moegrad demo --methods: every method on the tiny models, the dense one where a method starts from a dense model, and Parrot's
// experts on a task of images: one table.

#include <string>
#include <vector>

#include "compare_toml.hpp"
#include "compare_verb.hpp"
#include "demo_world.hpp"
#include "image_quiz.hpp"
#include "shipped.hpp"

namespace moegrad {

/// A row of the table: method, base, accuracy, nll, load, numbers that train, time of a step.
inline std::vector<std::string> method_row(const ComparedArm& arm, const std::string& base) {
    double step = 0;
    for (const CompareRun& run : arm.runs)
        step += 1000 * run.step_seconds / static_cast<double>(arm.runs.size());
    return {arm.name + (arm.control ? " (control)" : ""),
            base,
            detail::interval(arm.measure("acc"), 100, 1),
            detail::interval(arm.measure("nll"), 1, 3),
            detail::plain(arm.measure("load"), 1, 2),
            detail::plain(arm.measure("trainable"), 1, 0),
            arm.name == "base" ? std::string("-") : format("{:.1f}", step)};
}

/// Each arm against its base's control, in a word.
inline void add_verdicts(const CompareResult& result, std::vector<std::vector<std::string>>& rows) {
    const std::string& control = result.arms.front().name;
    for (std::size_t i = 0; i < result.arms.size(); ++i) {
        const auto pair = i == 0 ? ComparedPair{}
                                 : detail::difference_of(result.pairs, result.arms[i].name, control, "nll");
        rows[rows.size() - result.arms.size() + i].push_back(i == 0 ? std::string("-")
                                                                    : detail::verdict(pair));
    }
}

/// Parrot's gate with the question's own text, and with one text for all.
inline void add_image_quiz(std::vector<std::vector<std::string>>& rows, bool quick) {
    Context context;
    context.scalars().learning_rate = 1e-2;
    const std::uint64_t steps = quick ? 60 : 600;
    ImageQuiz guided, blind;
    const auto row = [&](const char* name, double right) {
        rows.push_back({name, "image quiz", format("{:.1f}", 100 * right), "-", "3.00", "-", "-", "-"});
    };
    row("parrot", image_quiz_score(guided, context, steps));
    row("parrot, one text for all (control)", image_quiz_score(blind, context, steps, false));
}

inline void run_demo_methods(const std::string& out, int threads, std::uint64_t seed, bool quick) {
    std::vector<std::vector<std::string>> rows{{"", "base", "accuracy %", "nll of the answer", "load",
                                                "trainable", "ms/step", "nll against the control"}};
    std::string reports;
    for (const char* base : {"tiny-mixtral", "tiny-llama"}) {
        const std::string half = std::string(base) == "tiny-mixtral" ? "mixtral" : "llama";
        CompareSpec spec = read_compare_toml(shipped("recipes/demo-methods-" + half + ".toml")).tasks.front();
        write_demo_world(out + "/world");
        use_demo_world(spec, out + "/world");
        spec.base.model = shipped(base);
        for (std::uint64_t& one : spec.seeds) one += seed;
        spec.output = out + "/" + half;
        spec.threads = threads;
        if (quick) {
            spec.base.steps = std::max<Index>(1, spec.base.steps / 20);
            spec.seeds.resize(1);
            spec.limit = 60;
            spec.documents = 20;
        }
        const CompareResult result = run_compare<float>(spec, LiveLine());
        rows.push_back(method_row(result.base, base));
        rows.back().front() = "base";
        rows.back().push_back("-");
        for (const ComparedArm& arm : result.arms) rows.push_back(method_row(arm, base));
        add_verdicts(result, rows);
        reports += "report: " + write_report(spec.output) + "\n";
    }
    add_image_quiz(rows, quick);
    std::printf("\n%s\n", detail::aligned(rows).c_str());
    std::printf(
        "Brackets: 95 %% intervals over questions and seeds. Times vary. Methods of one base are comparable, "
        "those of "
        "two are not.\n%s",
        reports.c_str());
}

}  // namespace moegrad
