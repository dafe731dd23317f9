#pragma once
// search_load: the value of a router's option (load_option.hpp) that comes to a load, before anything is trained: the
// adapted base reads samples spread over the training data; the load is monotone in the option, so that the interval is halved.

#include <cmath>
#include <string>

#include <moegrad/train/evaluate_nll.hpp>
#include <moegrad/train/load_option.hpp>
#include <moegrad/train/progress.hpp>
#include <moegrad/train/run_model.hpp>

namespace moegrad {

struct FoundLoad {
    double setting = 0, load = 0;
};

/// set(adapter, value) writes the option.
template <class Real, class Set>
FoundLoad search_load(const RunConfig& config, const Tokenizer& tokenizer, const LoadOption& option,
                      double wanted, Set set) {
    constexpr Index most = 200, together = 16, halvings = 12;
    const Dataset all = load_text_data(config, tokenizer).train;
    const Index count = std::min(most, static_cast<Index>(all.size()));
    Dataset samples;
    for (Index i = 0; i < count; ++i)
        samples.push_back(all[static_cast<std::size_t>(i * static_cast<Index>(all.size()) / count)]);
    Context context({.device = config.device, .threads = config.threads});
    const auto load_at = [&](double value) {
        RunConfig tried = config;
        set(tried, value);
        const auto model = detail::load_adapted<Real>(tried, detail::checked_adapter(tried));
        std::map<std::string, RoutingTotals> routers;
        evaluate_nll(context, *model, samples, together, &routers);
        return mean_load(routers);
    };
    FoundLoad best{0.5, load_at(0.5)};
    double low = 0, high = 1, value = 0.5, load = best.load;
    for (Index n = 0; n < halvings; ++n) {
        (option.rises == (load < wanted) ? low : high) = value;
        value = (low + high) / 2;
        load = load_at(value);
        if (std::abs(load - wanted) < std::abs(best.load - wanted)) best = {value, load};
    }
    return best;
}

}  // namespace moegrad
