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

}  // namespace moegrad::test
