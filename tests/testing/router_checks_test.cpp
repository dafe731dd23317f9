// The suite as outside projects get it: a good router passes, planted liars fail by the right check.

#include "support/registered_routers.hpp"

#include <moegrad/testing/router_checks.hpp>

#include <doctest/doctest.h>

using namespace moegrad;

namespace {

/// Has a parameter that its route never looks at.
template <class Real>
struct ForgetfulRouter : test::BiasedRouter<Real> {
    std::shared_ptr<Parameter<Real>> idle;
    static ForgetfulRouter make(RouterBuild<Real> build) {
        ForgetfulRouter mine;
        mine.idle = build.zeros("idle", {3, 1});
        static_cast<test::BiasedRouter<Real>&>(mine) = test::BiasedRouter<Real>::make(std::move(build));
        return mine;
    }
    std::vector<Parameter<Real>*> parameters() {
        auto all = test::BiasedRouter<Real>::parameters();
        all.push_back(idle.get());
        return all;
    }
};

/// Says token, but weighs by the number of tokens at hand.
template <class Real>
struct CountingRouter : test::BiasedRouter<Real> {
    static CountingRouter make(RouterBuild<Real> build) {
        return {test::BiasedRouter<Real>::make(std::move(build))};
    }
    Routing<Real> route(Tape& tape, const RouteInput<Real>& input) {
        this->temperature = static_cast<double>(input.x.extent(0));
        return test::BiasedRouter<Real>::route(tape, input);
    }
};

/// HashRouter without the word that its numbers mean something.
template <class Real>
struct SilentHashRouter {
    HashRouter<Real> hash;
    static SilentHashRouter make(RouterBuild<Real> build) {
        return {HashRouter<Real>::make(std::move(build))};
    }
    Index slots() const { return hash.slots(); }
    Index experts() const { return hash.experts(); }
    RouterScope scope() const { return hash.scope(); }
    std::vector<Parameter<Real>*> parameters() { return {}; }
    Routing<Real> route(Tape& tape, const RouteInput<Real>& input) { return hash.route(tape, input); }
};

template <template <class> class Mine>
test::Report report_of_outside(const char* name) {
    test::OutsideRouter<Mine>::title = name;
    const auto router = test::router_case<test::OutsideRouter<Mine>>();
    auto report = test::check_router(router, 40);
    test::check_learning(router, report);
    return report;
}

}  // namespace

TEST_CASE("router checks: a router from outside passes, with its options") {
    CHECK(test::run_router_checks<test::BiasedRouter>("biased", "temperature=2", 40) == 0);
}

TEST_CASE("router checks: a router whose experts' numbers mean something says so and passes") {
    CHECK(test::run_router_checks<HashRouter>("hash", "", 40) == 0);
    const auto report = report_of_outside<SilentHashRouter>("silent_hash");
    INFO(report.text());
    CHECK(report.names("relabelling"));
}

TEST_CASE("router checks: a parameter that no gradient reaches is found") {
    const auto report = report_of_outside<ForgetfulRouter>("forgetful");
    CHECK(report.failures.size() == 1);
    CHECK(report.names("learning"));
    CHECK(report.text().find("layer.router.idle") != std::string::npos);
    CHECK(test::run_router_checks<ForgetfulRouter>("forgetful", "", 5) == 1);
}

TEST_CASE("router checks: a false promise of scope is found") {
    const auto report = report_of_outside<CountingRouter>("counting");
    CHECK(report.names("split"));
}

TEST_CASE("router checks: an option that the router does not read ends in an error line") {
    CHECK(test::run_router_checks<test::BiasedRouter>("biased", "temprature=2", 5) == 1);
}
