#pragma once
// Routers from outside, by name. A router struct with a static `make` is registered once,
//
//     const moegrad::RegisterRouter<MyRouter> registered{"my_router"};
//
// and `adapter.method = "my_router"` then puts one into every MoE layer of a Mixtral, or over the LoRA experts of every
// target of a dense model. Its parameters are saved and loaded with the adapter under <layer>.router.<their name>.
//
//     template <class Real> struct MyRouter {          // satisfies moegrad::Router, and
//         static MyRouter make(moegrad::RouterBuild<Real> build);
//     };
//
// One that does without router.top_k says so, and router.top_k is then refused:
//
//         static std::string instead_of_top_k(const RouterOptions&);  // "set per_token in router.options"; "": it reads it

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <moegrad/core/nearest.hpp>
#include <moegrad/routing/gate_router.hpp>
#include <moegrad/routing/router_build.hpp>

namespace moegrad {

struct RegisteredRouter {
    std::string name;
    std::string version;  // of its code: a run with another one is another run
    AnyRouter<float> (*in_float)(RouterBuild<float>) = nullptr;
    AnyRouter<double> (*in_double)(RouterBuild<double>) = nullptr;
    std::string (*instead_of_top_k)(const RouterOptions&) = nullptr;
};

inline std::vector<RegisteredRouter>& registered_routers() {
    static std::vector<RegisteredRouter> all;
    return all;
}

inline std::vector<std::string> registered_router_names() {
    std::vector<std::string> names;
    for (const auto& router : registered_routers()) names.push_back(router.name);
    return names;
}

template <class Real, template <class> class Mine>
AnyRouter<Real> make_registered(RouterBuild<Real> build) {
    static_assert(Router<Mine<Real>, Real>, "routing/router.hpp says what a router must have");
    return Mine<Real>::make(std::move(build));
}

template <template <class> class Mine>
std::string registered_instead_of_top_k([[maybe_unused]] const RouterOptions& options) {
    if constexpr (requires { Mine<float>::instead_of_top_k(options); }) {
        return Mine<float>::instead_of_top_k(options);
    } else {
        return {};
    }
}

/// Two routers of one name are an error when the name is used.
template <template <class> class Mine>
struct RegisterRouter {
    explicit RegisterRouter(const char* name, const char* version = "") {
        const RegisteredRouter router{name, version, &make_registered<float, Mine>,
                                      &make_registered<double, Mine>, &registered_instead_of_top_k<Mine>};
        const auto same = [&](const RegisteredRouter& other) {
            return other.name == router.name && other.in_float == router.in_float;
        };
        auto& all = registered_routers();
        if (std::none_of(all.begin(), all.end(), same)) all.push_back(router);
    }
};

/// The router registered under `name`, or null.
inline const RegisteredRouter* find_router(const std::string& name) {
    const RegisteredRouter* found = nullptr;
    for (const auto& router : registered_routers()) {
        if (router.name != name) continue;
        if (found != nullptr) {
            throw Error{ErrorCode::config, "registered routers", "one of each name",
                        "two are called \"" + name + "\""};
        }
        found = &router;
    }
    return found;
}

namespace detail {

/// Names of a router's parameters: below its path, each once. The gate keeps the checkpoint's.
template <class Real>
void name_parameters(AnyRouter<Real>& router, const std::string& path, const std::vector<std::string>& gate) {
    std::vector<std::string> seen;
    for (auto* parameter : router.parameters()) {
        if (parameter == nullptr || !parameter->defined()) {
            throw Error{ErrorCode::config, path, "parameters that have a shape", "an empty one"};
        }
        const std::string& name = parameter->name();
        if (std::find(gate.begin(), gate.end(), name) == gate.end() && !name.starts_with(path + ".")) {
            parameter->rename(path + "." + name);
        }
        if (name == path + "." || std::find(seen.begin(), seen.end(), name) != seen.end()) {
            throw Error{ErrorCode::config, path, "a name of its own for every parameter", "\"" + name + "\"",
                        "the adapter's file knows them by these names"};
        }
        seen.push_back(name);
    }
}

/// A router has the whole gate or none of it: a LoRA that is not among the parameters would never train.
template <class Real>
bool owns_gate(AnyRouter<Real>& router, const std::string& path, const std::vector<std::string>& gate) {
    std::size_t owned = 0;
    for (auto* parameter : router.parameters()) {
        owned += static_cast<std::size_t>(std::count(gate.begin(), gate.end(), parameter->name()));
    }
    if (owned != 0 && owned != gate.size()) {
        throw Error{
            ErrorCode::config, path, "all parameters of the gate or none",
            format("{} of {}", owned, gate.size()),
            "return gate.parameters() and route by gate.logits(), or set router.mode to freeze or full"};
    }
    return owned != 0;
}

}  // namespace detail

/// Whether somebody asked for the gate to be trained: a router that does without it is then a mistake.
enum class GateUse { optional, required };

/// Throws where somebody gave a router.top_k that the router would not read.
inline void refuse_unread_top_k(const RegisteredRouter& router, const RouterOptions& options, Index top_k) {
    const std::string instead = router.instead_of_top_k(options);
    if (top_k == 0 || instead.empty()) return;
    throw Error{ErrorCode::config, "router.top_k", "a router that reads it", router.name + " does not",
                "leave it out: " + instead};
}

/// Makes the router and holds it to what the layer needs: E experts, named parameters, no option unread.
template <class Real>
AnyRouter<Real> make_router(const RegisteredRouter& registered, RouterBuild<Real> build,
                            GateUse use = GateUse::optional) {
    const std::string path = build.path;
    const Index experts = build.experts;
    const RouterOptions options = build.options;  // counts what is read together with the router's copy
    std::vector<std::string> gate;
    for (auto* parameter : build.gate.parameters()) gate.push_back(parameter->name());
    AnyRouter<Real> router;
    if constexpr (std::is_same_v<Real, double>) {
        router = registered.in_double(std::move(build));
    } else {
        router = registered.in_float(std::move(build));
    }
    options.require_all_read(registered.name);
    if (router.experts() != experts || router.slots() < 1) {
        throw Error{ErrorCode::config, "router " + registered.name,
                    format("{} experts and at least 1 slot", experts),
                    format("{} experts and {} slots", router.experts(), router.slots())};
    }
    detail::name_parameters(router, path, gate);
    if (!detail::owns_gate(router, path, gate) && use == GateUse::required) {
        throw Error{ErrorCode::config, "router.mode", "a router that uses the checkpoint's gate",
                    registered.name + " does without it", "leave router.mode out"};
    }
    return router;
}

}  // namespace moegrad
