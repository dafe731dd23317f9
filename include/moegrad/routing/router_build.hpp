#pragma once
// RouterBuild: what a router is made from by its static `make`: one layer's gate, and what the configuration says.

#include <cmath>
#include <memory>
#include <string>
#include <utility>

#include <moegrad/routing/null_gate.hpp>
#include <moegrad/routing/penalties.hpp>
#include <moegrad/routing/router_options.hpp>

namespace moegrad {

/// What a router is made for; each reads what it needs.
struct RouterSize {
    Index features = 8;  // D
    Index experts = 4;   // E
    Index nulls = 4;     // M
    Index slots = 2;     // K
    Index routers = 2;   // J
};

/// What a token's weights, with its passthrough, sum to when it has any; a token without experts has 0. each_at_most_one:
/// to no more than there are slots.
enum class WeightSum { one, at_most_one, each_at_most_one };

/// What a router is made from: one layer, and what the configuration says.
template <class Real>
struct RouterBuild {
    std::string path;  // of its parameters: "model.layers.0.mlp.router"
    int layer = 0;
    Index experts = 0;   // E
    Index features = 0;  // D
    Index top_k = 2;     // router.top_k, or the checkpoint's
    std::uint64_t seed = 0;
    Gate<Real> gate{};  // the checkpoint's gate [E, D], trained as router.mode says; move it out
    PenaltySettings
        penalties{};          // router.aux, router.z_coef: for add_penalties. balance by_method: nobody said
    RouterOptions options{};  // router.options

    /// The penalties, with `usual` as balance loss where the configuration leaves it to the method.
    PenaltySettings penalties_or(BalanceLoss usual) const {
        PenaltySettings settings = penalties;
        if (settings.balance == BalanceLoss::by_method) settings.balance = usual;
        return settings;
    }
    /// A parameter of the router's own that trains: zeros, or normal with the given deviation.
    std::shared_ptr<Parameter<Real>> zeros(const std::string& name, const Shape& shape) const {
        auto parameter = std::make_shared<Parameter<Real>>(path + "." + name, shape);
        parameter->set_trainable(true);
        return parameter;
    }
    /// A gate [M, D] of null experts that trains: copies of the checkpoint's rows; a new one where M is no multiple of E or
    /// the gate is new itself. Undefined for M = 0.
    Gate<Real> null_gate(Index nulls) const {
        if (nulls == 0) return {};
        if (nulls % experts == 0 && !gate.weight->name().starts_with(path)) {
            auto copy = copy_gate(*gate.weight, nulls, path + ".gate2.weight");
            copy->set_trainable(true);
            return Gate<Real>(std::move(copy));
        }
        return Gate<Real>(
            normal("gate2.weight", {nulls, features}, 1 / std::sqrt(3.0 * static_cast<double>(features))));
    }
    std::shared_ptr<Parameter<Real>> normal(const std::string& name, const Shape& shape,
                                            double deviation) const {
        auto parameter = zeros(name, shape);
        std::uint64_t stream = 0xcbf29ce484222325ull;  // FNV-1a of the name: a stream for every parameter
        for (const char c : parameter->name()) {
            stream = (stream ^ static_cast<unsigned char>(c)) * 0x100000001b3ull;
        }
        fill_normal(parameter->value(), deviation, seed, stream);
        return parameter;
    }
};

}  // namespace moegrad
