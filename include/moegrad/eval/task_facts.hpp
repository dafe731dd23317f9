#pragma once
// TaskFacts: what a task's numbers are held against. NAME-facts.json lies beside NAME-questions.jsonl and is found by that name:
//   {"task", "train", "questions", "left_out", "chance", "majority", "floor": {"value", "low", "high", "n"}}
//   chance     expected accuracy of a blind guess
//   majority   share of the place at which the right choice stands most often
//   floor      accuracy of a linear n-gram model of the choices, eval/ngram_floor.hpp
// An arm of a comparison that is not above all three has shown nothing about the task.

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <moegrad/eval/ngram_floor.hpp>
#include <moegrad/io/json_writer.hpp>

namespace moegrad {

struct TaskFacts {
    std::string task;
    Index train = 0, questions = 0, left_out = 0;  // left_out: questions that stand in the training part too
    double chance = 0, majority = 0;
    Estimate floor;

    /// What an arm has to be above.
    double highest() const { return std::max({chance, majority, floor.value}); }
};

inline TaskFacts measure_task(const std::string& task, const std::vector<ChoiceItem>& train,
                              const std::vector<ChoiceItem>& questions, Index left_out) {
    return {.task = task,
            .train = std::ssize(train),
            .questions = std::ssize(questions),
            .left_out = left_out,
            .chance = chance_of(questions),
            .majority = majority_of(questions),
            .floor = NgramFloor(train).accuracy(questions)};
}

inline Json to_json(const TaskFacts& facts) {
    Json floor = Json::object(), json = Json::object();
    floor.add("value", facts.floor.value);
    floor.add("low", facts.floor.low);
    floor.add("high", facts.floor.high);
    floor.add("n", static_cast<std::int64_t>(facts.floor.n));
    json.add("task", facts.task);
    json.add("train", static_cast<std::int64_t>(facts.train));
    json.add("questions", static_cast<std::int64_t>(facts.questions));
    json.add("left_out", static_cast<std::int64_t>(facts.left_out));
    json.add("chance", facts.chance);
    json.add("majority", facts.majority);
    json.add("floor", std::move(floor));
    return json;
}

/// "chance 50.0, majority 50.5, floor 60.2 [58.0, 62.4]", in percent.
inline std::string task_facts_text(const TaskFacts& facts) {
    return format("chance {:.1f}, majority {:.1f}, floor {:.1f} [{:.1f}, {:.1f}]", 100 * facts.chance,
                  100 * facts.majority, 100 * facts.floor.value, 100 * facts.floor.low,
                  100 * facts.floor.high);
}

/// Of NAME-questions.jsonl; nothing where the name is another one or no such file lies there.
inline std::optional<TaskFacts> read_task_facts(const std::string& questions) {
    constexpr std::string_view ending = "-questions.jsonl";
    if (!questions.ends_with(ending)) return std::nullopt;
    const std::string path = questions.substr(0, questions.size() - ending.size()) + "-facts.json";
    if (!file_exists(path)) return std::nullopt;
    const Json json = parse_json_file(path);
    const JsonRef root(json, path, ErrorCode::format);
    const auto share = [](const JsonRef& one) { return one.number(0, 1); };
    constexpr Index most = Index{1} << 40;
    const JsonRef floor = root.at("floor");
    return TaskFacts{.task = root.at("task").string(),
                     .train = root.at("train").integer(0, most),
                     .questions = root.at("questions").integer(0, most),
                     .left_out = root.at("left_out").integer(0, most),
                     .chance = share(root.at("chance")),
                     .majority = share(root.at("majority")),
                     .floor = {share(floor.at("value")), share(floor.at("low")), share(floor.at("high")),
                               floor.at("n").integer(0, most)}};
}

}  // namespace moegrad
