#pragma once
// PenaltyCoefficients: what a run multiplies each penalty of its routers with. balance and z have keys of their own
// (router.aux_coef, router.z_coef); the others are named in router.coefs, "entropy=0.01, pa=0.05", and have what their
// router says (`coefficients()`) where nothing is given. A name has one coefficient in a model: routers that want two leave
// the choice to the configuration.

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <moegrad/methods/model_routers.hpp>
#include <moegrad/train/run_config.hpp>

namespace moegrad {

/// The usual coefficients of a model's routers, each value once with the first router that says it.
template <class Real>
std::map<std::string, std::map<double, std::string>> usual_coefficients(Decoder<Real>& model) {
    std::map<std::string, std::map<double, std::string>> all;
    for (auto& [name, router] : model_routers(model)) {
        for (const auto& [penalty, value] : router->coefficients()) all[penalty].emplace(value, name);
    }
    return all;
}

/// balance and z first, then those that routers bring, by name.
template <class Real>
std::vector<std::string> penalty_names(Decoder<Real>& model) {
    std::vector<std::string> names{"balance", "z"};
    for (const auto& [name, values] : usual_coefficients(model)) {
        if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
    }
    return names;
}

class PenaltyCoefficients {
public:
    PenaltyCoefficients() = default;
    /// Throws for a name in router.coefs that no router of the model has.
    template <class Real>
    PenaltyCoefficients(const RunConfig& config, Decoder<Real>& model) {
        const bool asked =
            !config.aux_coefficient.empty() || config.adapter.balance != BalanceLoss::by_method;
        const RouterOptions given(config.coefficients);
        if (asked) refuse_second_balance(given);
        for (const auto& [name, values] : usual_coefficients(model)) {
            const bool said = !given.text(name, "").empty() || (asked && name == "balance");
            if (values.size() > 1 && !said) refuse_two(name, *values.begin(), *values.rbegin());
            usual_[name] = given.number(name, values.begin()->first);
        }
        given.require_all_read("penalties of this model");
        balance_of_router_ = usual_.contains("balance") && !asked;
        balance_ = config.balance_coefficient();
        z_ = config.z_coefficient;
    }

    std::map<std::string, double> at(Index epoch) const {
        auto all = usual_;
        if (!balance_of_router_) all["balance"] = balance_.at(epoch);
        all["z"] = z_;
        return all;
    }

private:
    using Said = std::pair<const double, std::string>;

    static void refuse_second_balance(const RouterOptions& given) {
        const std::string balance = given.text("balance", "");
        if (balance.empty()) return;
        throw Error{ErrorCode::config, "router.coefs", "one of router.aux_coef and router.coefs",
                    "`balance=" + balance + "` beside router.aux or router.aux_coef",
                    "a balance loss that router.aux chooses has its coefficient in router.aux_coef"};
    }
    [[noreturn]] static void refuse_two(const std::string& penalty, const Said& a, const Said& b) {
        throw Error{ErrorCode::config, "router.coefs", "one coefficient of " + penalty,
                    format("{} of {} and {} of {}", a.first, a.second, b.first, b.second),
                    format("router.coefs = \"{}={}\" says which", penalty, a.first)};
    }

    std::map<std::string, double> usual_;
    EpochCoefficient balance_;
    double z_ = 0;
    bool balance_of_router_ = false;
};

}  // namespace moegrad
