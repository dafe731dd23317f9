#pragma once
// PenaltyCoefficients: what a run multiplies each penalty of its routers with. balance and z have keys of their own
// (router.aux_coef, router.z_coef); the others are named in router.coefs, "entropy=0.01, pa=0.05", and have what their
// router says (`coefficients()`) where nothing is given.

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include <moegrad/methods/model_routers.hpp>
#include <moegrad/train/run_config.hpp>

namespace moegrad {

/// The usual coefficients of a model's routers; where two differ, the first one's.
template <class Real>
std::map<std::string, double> usual_coefficients(Decoder<Real>& model) {
    std::map<std::string, double> all;
    for (auto& [name, router] : model_routers(model)) {
        for (const auto& [penalty, value] : router->coefficients()) all.emplace(penalty, value);
    }
    return all;
}

/// balance and z first, then those that routers bring, by name.
template <class Real>
std::vector<std::string> penalty_names(Decoder<Real>& model) {
    std::vector<std::string> names{"balance", "z"};
    for (const auto& [name, value] : usual_coefficients(model)) {
        if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
    }
    return names;
}

class PenaltyCoefficients {
public:
    PenaltyCoefficients() = default;
    /// Throws for a name in router.coefs that no router of the model has.
    template <class Real>
    PenaltyCoefficients(const RunConfig& config, Decoder<Real>& model) : usual_(usual_coefficients(model)) {
        const RouterOptions given(config.coefficients);
        for (auto& [name, value] : usual_) value = given.number(name, value);
        given.require_all_read("penalties of this model");
        const bool asked =
            !config.aux_coefficient.empty() || config.adapter.balance != BalanceLoss::by_method;
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
    std::map<std::string, double> usual_;
    EpochCoefficient balance_;
    double z_ = 0;
    bool balance_of_router_ = false;
};

}  // namespace moegrad
