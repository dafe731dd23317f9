// Every router that ships keeps the contract.

#include <moegrad/testing/router_scope.hpp>
#include "support/routing_builtin.hpp"

#include <doctest/doctest.h>

using namespace moegrad;

TEST_CASE("conformance: every router of BuiltinRouters") {
    REQUIRE(test::builtin_router_cases().size() == std::tuple_size_v<BuiltinRouters>);
    for (const auto& router : test::builtin_router_cases()) {
        CAPTURE(router.name);
        const auto report = test::check_router(router);
        INFO(report.text());
        CHECK(report.passed());
    }
}

TEST_CASE("conformance: the names are different") {
    std::set<std::string> names;
    for (const auto& router : test::builtin_router_cases()) CHECK(names.insert(router.name).second);
}
