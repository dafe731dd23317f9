#pragma once
// Router saturation over training (OLMoE, Muennighoff et al. 2024, arXiv 2409.02060, Eq. 4): of N tokens
//   saturation(t) = 1/N sum_i |E_i(t) and E_i(T)| / k
// E_i(t): the k experts of token i in state t, a checkpoint or another adapter; T: the last state, the one that is looked
// at. Where tokens choose as many as they like, k is |E_i(t)|, and N counts the tokens with an expert in state t.
//   saturation.csv            state, router, saturation

#include <algorithm>
#include <string>
#include <vector>

#include <moegrad/eval/model_analytics.hpp>

namespace moegrad {

/// Of the experts that `state` chose, the share that `last` chooses too. Both: [tokens] [experts of the token].
inline double saturation(const TokenExperts& state, const TokenExperts& last) {
    double sum = 0;
    std::int64_t tokens = 0;
    for (std::size_t t = 0; t < std::min(state.size(), last.size()); ++t) {
        if (state[t].empty()) continue;
        std::int64_t same = 0;
        for (const std::int32_t e : state[t]) same += std::count(last[t].begin(), last[t].end(), e);
        sum += static_cast<double>(same) / static_cast<double>(state[t].size());
        ++tokens;
    }
    return tokens == 0 ? 0 : sum / static_cast<double>(tokens);
}

/// One state against the last one, a value per router.
struct StateSaturation {
    std::string state;
    std::vector<double> routers{};

    double mean() const {
        double sum = 0;
        for (const double one : routers) sum += one;
        return routers.empty() ? 0 : sum / static_cast<double>(routers.size());
    }
};

/// Router by router; `state` must have every router of `last`, and have seen the same tokens.
inline StateSaturation state_saturation(const std::string& name, const ModelAnalytics& state,
                                        const ModelAnalytics& last) {
    StateSaturation all{name};
    for (std::size_t r = 0; r < last.routers.size(); ++r) {
        if (r >= state.routers.size() || state.routers[r].name() != last.routers[r].name()) {
            throw Error{ErrorCode::config, "saturation of " + name,
                        "the routers of the model: " + last.routers[r].name(),
                        r < state.routers.size() ? state.routers[r].name() : "fewer",
                        "both must route in the same places"};
        }
        all.routers.push_back(saturation(state.experts[r], last.experts[r]));
    }
    return all;
}

/// A row per state and router. RFC 4180: a name may have a comma in it.
inline std::string saturation_csv(const ModelAnalytics& last, const std::vector<StateSaturation>& states) {
    std::string text = "state,router,saturation\n";
    for (const StateSaturation& one : states) {
        std::string name;
        for (const char c : one.state) name += c == '"' ? std::string("\"\"") : std::string(1, c);
        if (one.state.find_first_of(",\"\r\n") != std::string::npos) name = '"' + name + '"';
        for (std::size_t r = 0; r < last.routers.size(); ++r)
            text += format("{},{},{}\n", name, last.routers[r].name(), one.routers[r]);
    }
    return text;
}

/// A line per router, a column per state, and their means over the routers.
inline std::string saturation_text(const ModelAnalytics& last, const std::vector<StateSaturation>& states) {
    std::string text =
        "saturation: of the experts that a state chose, the share that the model chooses too\n";
    const auto line = [&](const std::string& name, const auto& cell) {
        text += format("{:<34}", name);
        for (const StateSaturation& one : states) {
            const std::string value = cell(one);
            text +=
                "  " + std::string(std::max(one.state.size(), std::size_t{7}) - value.size(), ' ') + value;
        }
        text += "\n";
    };
    line("router", [](const StateSaturation& one) { return one.state; });
    for (std::size_t r = 0; r < last.routers.size(); ++r)
        line(last.routers[r].name(),
             [r](const StateSaturation& one) { return format("{:.3f}", one.routers[r]); });
    line("mean", [](const StateSaturation& one) { return format("{:.3f}", one.mean()); });
    return text;
}

}  // namespace moegrad
