#pragma once
// RunFolder: what a run left in its folder, as the report needs it. Nothing in it is required: a file that is not there
// leaves its field empty; one that is damaged is an Error with file and line.
//   config.toml         one `key = "value"` per line, as the run wrote it
//   metrics.jsonl       {"step", "ce", "lr", "grad_norm", "tokens", "supervised", <penalty>: raw, "weighted":
//                       {<penalty>: times its coefficient}, "routers": {name: {"load", "experts_per_token": [K + 1],
//                       "all_null", "entropy", "slots": [C]}}} and, between them, {"step", "eval_nll", "eval_load"}
//   eval/results.json   {"task", "n", "metrics": {name: {"value", "low", "high"}}, "load", "flops_saved", ..}
//   eval/items.jsonl    {"id", "domain", "level", "answer", "chosen", "correct", "loglikelihood": [..], "nll"} and, when
//                       the evaluation keeps them, "context", "question", "choices"
//   eval/tokens.json    {"layers", "experts", "slots", "texts": [{"id", "tokens": [{"text", "fact", "experts": [[..]]}]}],
//                       "routers": [name per layer]}

#include <moegrad/io/json_lines.hpp>

#include <cmath>
#include <filesystem>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace moegrad::report {

inline constexpr double kNothing = std::numeric_limits<double>::quiet_NaN();

/// A number with its 95 % interval where there is one; NaN where there is none.
struct Measure {
    double value = kNothing, low = kNothing, high = kNothing;

    bool known() const { return !std::isnan(value); }
    bool has_interval() const { return !std::isnan(low) && !std::isnan(high) && high > low; }
};
using Measures = std::map<std::string, Measure>;

struct RouterLine {
    std::string name;
    double load = kNothing, all_null = kNothing, entropy = kNothing;
    std::vector<double> experts_per_token, slots;
};

/// One line of metrics.jsonl. `values`: every other number of the line, in its order; "weighted balance" of "weighted".
struct MetricsLine {
    std::int64_t step = 0;
    std::vector<std::pair<std::string, double>> values;
    std::vector<RouterLine> routers;

    double value(std::string_view name) const {
        for (const auto& [key, value] : values)
            if (key == name) return value;
        return kNothing;
    }
};

struct Item {
    std::string id, domain, question;
    std::int64_t level = 0, answer = 0, chosen = 0;
    bool correct = false;
    double nll = kNothing;
    std::vector<std::string> choices;
    std::vector<double> loglikelihood;
};

struct Token {
    std::string text;
    bool fact = false;
    std::vector<std::vector<std::int64_t>> experts;  // per layer, the true experts
};
struct TokenText {
    std::string id;
    std::vector<Token> tokens;
};
struct TokenTexts {
    std::int64_t layers = 0, experts = 0, slots = 0;
    std::vector<std::string> routers;  // a name per layer; may be empty
    std::vector<TokenText> texts;
};

struct RunFolder {
    std::string name;    // of the folder, without its path
    bool found = false;  // whether any of its files is there
    std::vector<std::pair<std::string, std::string>> config;
    std::vector<MetricsLine> steps, evaluations;
    std::string task;
    std::int64_t questions = 0;
    Measures measures;
    std::vector<Item> items;
    TokenTexts tokens;

    std::string setting(std::string_view key) const {
        for (const auto& [one, value] : config)
            if (one == key) return value;
        return {};
    }
};

inline constexpr double kHuge = std::numeric_limits<double>::max();
inline constexpr std::int64_t kMany = std::int64_t{1} << 53;

namespace detail {

inline std::vector<double> numbers(const JsonRef& list) {
    std::vector<double> all;
    for (std::size_t i = 0; i < list.array().size(); ++i) all.push_back(list.item(i).number(-kHuge, kHuge));
    return all;
}
inline double number_or_nothing(const JsonRef& object, std::string_view key) {
    const auto found = object.find_value(key);
    return found ? found->number(-kHuge, kHuge) : kNothing;
}
inline std::string string_or(const JsonRef& object, std::string_view key, std::string otherwise = {}) {
    const auto found = object.find_value(key);
    return found ? found->string() : otherwise;
}
inline std::int64_t integer_or(const JsonRef& object, std::string_view key, std::int64_t otherwise) {
    const auto found = object.find_value(key);
    return found ? found->integer(-kMany, kMany) : otherwise;
}

inline RouterLine router_line(const std::string& name, const JsonRef& json) {
    RouterLine router{name,
                      number_or_nothing(json, "load"),
                      number_or_nothing(json, "all_null"),
                      number_or_nothing(json, "entropy"),
                      {},
                      {}};
    if (const auto list = json.find_value("experts_per_token")) router.experts_per_token = numbers(*list);
    if (const auto list = json.find_value("slots")) router.slots = numbers(*list);
    return router;
}

inline void read_metrics(const std::string& path, RunFolder& run) {
    read_json_lines(path, [&](const JsonRef& json) {
        MetricsLine line;
        line.step = json.at("step").integer(0, kMany);
        for (const JsonMember& member : json.members()) {
            if (member.key == "step") continue;
            if (member.key == "routers") {
                const JsonRef routers = json.member(member);
                for (const JsonMember& router : routers.members())
                    line.routers.push_back(router_line(router.key, routers.member(router)));
            } else if (member.key == "weighted") {
                const JsonRef weighted = json.member(member);
                for (const JsonMember& one : weighted.members())
                    line.values.emplace_back("weighted " + one.key,
                                             weighted.member(one).number(-kHuge, kHuge));
            } else if (const auto value = member.value.number()) {
                line.values.emplace_back(member.key, *value);
            }
        }
        (std::isnan(line.value("ce")) ? run.evaluations : run.steps).push_back(std::move(line));
    });
}

/// Only what a run writes: key = "value". Tables and other TOML are not read.
inline void read_config(const std::string& path, RunFolder& run) {
    const MappedFile file(path);
    std::string_view rest = file.text();
    while (!rest.empty()) {
        const std::size_t end = rest.find('\n');
        const std::string_view line = rest.substr(0, end);
        rest.remove_prefix(end == rest.npos ? rest.size() : end + 1);
        const std::size_t equals = line.find(" = \"");
        if (equals == line.npos || line.back() != '"' || line.size() < equals + 5) continue;
        run.config.emplace_back(line.substr(0, equals), line.substr(equals + 4, line.size() - equals - 5));
    }
}

}  // namespace detail

/// A metric: an object with value and perhaps low and high, or a number.
inline Measure read_measure(const JsonRef& json) {
    if (json.value().number()) return {json.number(-kHuge, kHuge), kNothing, kNothing};
    return {json.at("value").number(-kHuge, kHuge), detail::number_or_nothing(json, "low"),
            detail::number_or_nothing(json, "high")};
}

}  // namespace moegrad::report
