#pragma once
// BuiltinRouters as cases of the conformance suite. Apart from the rest: it instantiates every router twice.

#include <moegrad/testing/router_cases.hpp>

namespace moegrad::test {

inline const std::vector<RouterCase>& builtin_router_cases() {
    static const std::vector<RouterCase> all = []<class... Entry>(std::tuple<Entry...>*) {
        return std::vector<RouterCase>{router_case<Entry>()...};
    }(static_cast<BuiltinRouters*>(nullptr));
    return all;
}

/// Those that take the K best logits of each token, whatever they weigh them with.
inline std::vector<RouterCase> plain_router_cases() {
    std::vector<RouterCase> plain;
    for (const auto& one : builtin_router_cases()) {
        if (one.plain_top_k) plain.push_back(one);
    }
    return plain;
}

}  // namespace moegrad::test
