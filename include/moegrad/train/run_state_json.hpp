#pragma once
// RunState as JSON, to the bit: doubles as the shortest text that reads back the same; inf and nan as words.

#include <cmath>
#include <limits>
#include <string>

#include <moegrad/io/json_value.hpp>
#include <moegrad/train/run_state.hpp>

namespace moegrad {

namespace detail {

inline Json number_json(double value) {
    if (std::isnan(value)) return Json("nan");
    if (std::isinf(value)) return Json(value > 0 ? "inf" : "-inf");
    return Json(value);
}

inline double number_from(const JsonRef& json) {
    if (const std::string* word = json.value().string()) {
        if (*word == "nan") return std::numeric_limits<double>::quiet_NaN();
        if (*word == "inf") return std::numeric_limits<double>::infinity();
        if (*word == "-inf") return -std::numeric_limits<double>::infinity();
    }
    constexpr double most = std::numeric_limits<double>::max();
    return json.number(-most, most);
}

}  // namespace detail

inline Json to_json(const RunState& state) {
    Json json = Json::object();
    json.add("step", state.step);
    json.add("best", detail::number_json(state.best));
    json.add("best_step", state.best_step);
    json.add("evaluations_without_gain", state.evaluations_without_gain);
    json.add("average", detail::number_json(state.average));
    json.add("tokens", state.tokens);
    json.add("supervised", state.supervised);
    json.add("seconds", detail::number_json(state.seconds));
    json.add("evaluated", state.evaluated);
    json.add("nll_before", detail::number_json(state.nll_before));
    json.add("metrics_bytes", static_cast<std::int64_t>(state.metrics_bytes));
    json.add("stream", state.stream);
    return json;
}

inline RunState run_state_from(const JsonRef& json) {
    const auto count = [&](const char* key, Index least = 0) {
        return json.at(key).integer(least, std::numeric_limits<Index>::max());
    };
    RunState state;
    state.step = count("step");
    state.best = detail::number_from(json.at("best"));
    state.best_step = count("best_step", -1);
    state.evaluations_without_gain = count("evaluations_without_gain");
    state.average = detail::number_from(json.at("average"));
    state.tokens = count("tokens");
    state.supervised = count("supervised");
    state.seconds = detail::number_from(json.at("seconds"));
    state.evaluated = json.at("evaluated").boolean();
    state.nll_before = detail::number_from(json.at("nll_before"));
    state.metrics_bytes = static_cast<std::uint64_t>(count("metrics_bytes"));
    state.stream = count("stream");
    return state;
}

}  // namespace moegrad
