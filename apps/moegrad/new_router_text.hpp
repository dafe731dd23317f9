#pragma once
// What `moegrad new router` writes: the files of a small project around one router.

#include <string>
#include <string_view>

namespace moegrad {

namespace detail {

inline constexpr const char* kNewRouterHeader = R"TEXT(#pragma once
// @TYPE@: top-k that lets go of experts far behind the best one.
//     S = { e in top-K : p_e >= floor * p_best },   w = softmax of the logits over S
// A router is a struct with `make` and `route`, and four functions that GateRouter has: slots, experts, scope,
// parameters. It is made of ops, so its gradient comes by itself.

#include <moegrad/methods/router_registry.hpp>

template <class Real>  // float in float models; double where gradients are checked
struct @TYPE@ : moegrad::GateRouter<Real> {
    using moegrad::GateRouter<Real>::gate;  // z = x W^T with the checkpoint's W [E, D]; router.mode: what of it trains
    using moegrad::GateRouter<Real>::k;     // K, slots per token: router.top_k
    static constexpr bool reads_on_host = true;  // route looks at numbers itself: a GPU waits, and records no such step
    Real floor{};
    moegrad::PenaltySettings penalties{};

    /// One per layer. A parameter of its own would be build.zeros("name", shape) or build.normal("name", shape, 0.02):
    /// list it in parameters(), and it is trained, saved and loaded.
    static @TYPE@ make(moegrad::RouterBuild<Real> build) {
        const auto floor = static_cast<Real>(build.options.number("floor", 0.3));  // router.options
        return {{std::move(build.gate), build.top_k}, floor, build.penalties};
    }

    moegrad::Routing<Real> route(moegrad::Tape& tape, const moegrad::RouteInput<Real>& input) {
        const auto z = gate.logits(tape, input.x, input.segments);  // [T, E]
        const auto p = softmax(tape, z);                            // [T, E]
        const auto best = top_k(tape, z.value(), k);                // [T, K] experts, best first
        moegrad::Routing<Real> routing;
        routing.expert = moegrad::classify_slots<Real>(tape, best, input.segments, this->experts());
        // Numbers that are read here come to the host: themselves on a CPU, copies from a GPU.
        const auto share = host(p.value());
        const auto place = host(best), expert = host(routing.expert);
        for (moegrad::Index t = 0; t < best.extent(0); ++t) {
            const Real first = share.matrix()(t, place.matrix()(t, 0));
            for (moegrad::Index slot = 1; slot < k; ++slot) {
                const Real chosen = share.matrix()(t, place.matrix()(t, slot));
                if (chosen < floor * first) expert.matrix()(t, slot) = moegrad::kUnused;  // costs nothing
            }
        }
        copy_values(expert, routing.expert);
        routing.weight = chosen_softmax(tape, z, best, routing.expert);  // [T, K], differentiable
        add_penalties(tape, routing, z, p, best, input.segments, this->experts(), penalties);  // router.aux, z_coef
        routing.stats = route_stats(tape, routing.expert, routing.expert, p.value(), input.segments);  // for the log
        return routing;
    }
};
)TEXT";

inline constexpr const char* kNewRouterTest =
    R"TEXT(// What is special about @TYPE@. The conformance suite runs beside this test.

#include <moegrad/testing/router_checks.hpp>

#include "@NAME@.hpp"

using namespace moegrad;

namespace {

/// Experts per token, over 200 random tokens.
double load(const char* options) {
    test::OutsideRouter<@TYPE@>::options = options;
    auto router = test::OutsideRouter<@TYPE@>::make<float>({.features = 16, .experts = 8, .slots = 3}, 1);
    return test::decide(router, test::random_batch<float>(16, {200}, 2)).stats.load();
}

}  // namespace

int main() {
    const double all = load("floor=0"), some = load("floor=0.5"), one = load("floor=1");
    std::printf("experts per token: %.3f with floor 0, %.3f with 0.5, %.3f with 1\n", all, some, one);
    return all == 3 && all > some && some > one && one == 1 ? 0 : 1;
}
)TEXT";

inline constexpr const char* kNewRouterCmake = R"TEXT(cmake_minimum_required(VERSION 3.25)
project(@NAME@ LANGUAGES CXX)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()

find_package(moegrad CONFIG REQUIRED@HINTS@)
enable_testing()
moegrad_add_router(@NAME@.hpp @TYPE@ TEST @NAME@_test.cpp)
)TEXT";

/// As in models/recipes/demo.toml; a comment, so that the first comparison stays short.
inline constexpr std::string_view kOtherArms = R"TEXT(
# Published routers, and a control at the load of yours. A # in front: left out. Every key is one of `train --help`.
# [[arm]]
# name = "adamoe"                   # 8 null experts, 3 slots
# adapter.method = "adamoe"
# router.null_experts = 8
# router.top_k = 3
# router.null_weights = "all"       # option 1 of the paper; "true", its choice and the default, is option 2
#
# [[arm]]
# name = "mor"                      # two routers under a main one
# adapter.method = "mor"
#
# [[arm]]
# name = "random_drop"              # the second expert dropped at random, to the load that yours came to
# control = true
# adapter.method = "random_drop"
# load_of = "@NAME@"
)TEXT";

inline std::string fill_in(std::string text, std::string_view mark, std::string_view by) {
    for (std::size_t at = text.find(mark); at != text.npos; at = text.find(mark, at + by.size())) {
        text.replace(at, mark.size(), by);
    }
    return text;
}

}  // namespace detail

inline std::string new_router_header(const std::string& type) {
    return detail::fill_in(detail::kNewRouterHeader, "@TYPE@", type);
}
inline std::string new_router_test(const std::string& name, const std::string& type) {
    return detail::fill_in(detail::fill_in(detail::kNewRouterTest, "@TYPE@", type), "@NAME@", name);
}
inline std::string new_router_cmake(const std::string& name, const std::string& type,
                                    const std::string& package) {
    const std::string hints = package.empty() ? "" : " HINTS \"" + package + "\"";
    const std::string text = detail::fill_in(detail::kNewRouterCmake, "@HINTS@", hints);
    return detail::fill_in(detail::fill_in(text, "@TYPE@", type), "@NAME@", name);
}

/// The demo's settings with this router's arm in the place of the others. `recipe`: the text of demo.toml.
inline std::string new_router_recipe(const std::string& name, const std::string& model,
                                     const std::string& recipe) {
    std::string text = "# " + name + " beside the checkpoint's own routing:\n" +
                       "#     build/moegrad world --out world && build/moegrad compare " + name + ".toml\n" +
                       "name = \"" + name + "\"\nseeds = [0, 1, 2]\n\n";
    const std::size_t begin = recipe.find("[base]"), end = recipe.find("[[arm]]");
    std::string settings =
        begin < end && end != recipe.npos ? recipe.substr(begin, end - begin) : "[base]\n\n[eval]\n";
    settings = detail::fill_in(settings, "models/tiny-mixtral", model);
    settings = detail::fill_in(settings, "runs/world/", "world/");
    return text + settings + "[[arm]]\nname = \"top2\"\n\n[[arm]]\nname = \"" + name +
           "\"\nadapter.method = \"" + name + "\"\nrouter.options = \"floor=0.3\"\n" +
           detail::fill_in(std::string(detail::kOtherArms), "@NAME@", name);
}

}  // namespace moegrad
