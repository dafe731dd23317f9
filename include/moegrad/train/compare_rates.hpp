#pragma once
// One grid of learning rates for all arms of a comparison. With the first seed an arm trains once at each rate on nine
// tenths of its training data; the rate whose nll on the last tenth is the lowest is the arm's, for every seed. The
// questions that the arms are compared by are not looked at. A run that ends in numbers that are not finite has lost.

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include <moegrad/train/compare_questions.hpp>

namespace moegrad {

struct TriedRate {
    double rate = 0, nll = 0;  // nll infinite: lost
};

/// The lowest nll; of equal ones the first.
inline std::size_t best_rate(const std::vector<TriedRate>& tried) {
    std::size_t best = 0;
    for (std::size_t i = 1; i < tried.size(); ++i)
        if (tried[i].nll < tried[best].nll) best = i;
    if (std::isfinite(tried[best].nll)) return best;
    throw Error{ErrorCode::value, "rates", "a learning rate at which the held-out nll is finite",
                "none of them", "add smaller ones"};
}

/// "adamoe 0.003"; an end of the grid is said, as the best may lie beyond.
inline std::string best_rate_text(const std::string& arm, const std::vector<TriedRate>& tried) {
    const std::size_t best = best_rate(tried);
    const bool end = best == 0 || best + 1 == tried.size();
    return format("{} {:g}{}", arm, tried[best].rate, end ? " (an end of the grid)" : "");
}

/// One run of config at the rate, in `folder`; rate.json there keeps what came of it. train(config): the held-out nll.
template <class Train>
TriedRate try_rate(RunConfig config, double rate, const std::string& inputs, const std::string& folder,
                   Train train) {
    config.rate.peak = rate;
    config.holdout = 0.1;
    config.eval_data.clear();
    config.output = folder;
    const std::string path = folder + "/rate.json", fingerprint = run_fingerprint(config, inputs);
    constexpr double lost = std::numeric_limits<double>::infinity();
    if (RunMark::has_fingerprint(path, fingerprint)) {
        const Json kept = parse_json_file(path);
        const auto nll = JsonRef(kept, path, ErrorCode::format).find_value("nll");
        return {rate, nll ? nll->number(0, 1e300) : lost};
    }
    Json json = Json::object();
    json.add("fingerprint", fingerprint);
    TriedRate tried{rate, lost};
    try {
        const double nll = train(config);
        if (std::isfinite(nll)) json.add("nll", tried.nll = nll);
    } catch (const Error& error) {
        if (error.code != ErrorCode::value) throw;
    }
    std::filesystem::create_directories(folder);
    write_file_atomically(path, write_json(json) + "\n");
    return tried;
}

}  // namespace moegrad
