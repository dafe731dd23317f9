// The conformance suite can fail: routers that lie about one thing each, and the check that must name them.

#include <moegrad/testing/router_scope.hpp>

#include <doctest/doctest.h>

using namespace moegrad;

namespace {

/// An honest top-k router with one lie, told before or after it routes.
template <class Real, class Lie>
struct Liar {
    static constexpr bool reads_on_host = true;  // lies are told there
    TopKRouter<Real> honest;

    Index slots() const { return honest.slots(); }
    Index experts() const { return honest.experts(); }
    RouterScope scope() const {
        if constexpr (requires { Lie::scope; }) return Lie::scope;
        return RouterScope::token;
    }
    std::vector<Parameter<Real>*> parameters() { return honest.parameters(); }

    Routing<Real> route(Tape& tape, const RouteInput<Real>& input) {
        RouteInput<Real> seen = input;
        Segments segments = input.segments;
        if constexpr (requires { Lie::before(tape, seen, segments); }) Lie::before(tape, seen, segments);
        const RouteInput<Real> told{
            .x = seen.x, .token = input.token, .segments = segments, .mode = input.mode};
        auto routing = honest.route(tape, told);
        if constexpr (requires { Lie::after(tape, routing, input); }) Lie::after(tape, routing, input);
        return routing;
    }
};

template <class Lie>
struct LiarEntry {
    static constexpr WeightSum sum = WeightSum::one;
    static std::string name() { return "liar"; }
    static Index most_slots(const RouterSize& size) { return size.experts; }
    template <class Real>
    static AnyRouter<Real> make(const RouterSize& size, std::uint64_t seed,
                                const PenaltySettings& penalties) {
        auto gate = detail::random_gate<Real>("gate", size.experts, size, GateTraining::full, seed, 0);
        return Liar<Real, Lie>{{.gate = std::move(gate), .k = size.slots, .penalties = penalties}};
    }
};

template <class Real>
Tensor<Real> changed(const Tensor<Real>& from) {
    return test::copy_of(from);
}

struct Honest {};

struct SubtractsTheBatchMean {
    template <class Real>
    static void before(Tape&, RouteInput<Real>& input, Segments&) {
        const auto x = changed(input.x.value());
        const Index T = x.extent(0), D = x.extent(1);
        for (Index d = 0; d < D; ++d) {
            Real mean = 0;
            for (Index t = 0; t < T; ++t) mean += x.data()[t * D + d] / Real(static_cast<float>(T));
            for (Index t = 0; t < T; ++t) x.data()[t * D + d] -= mean;
        }
        input.x = Var<Real>(x, input.x.gradient());
    }
};

struct LooksAcrossSamples : SubtractsTheBatchMean {
    static constexpr RouterScope scope = RouterScope::sequence;
};

struct LooksAtTheRowNumber {
    template <class Real>
    static void after(Tape&, Routing<Real>& routing, const RouteInput<Real>&) {
        for (Index t = 1; t < routing.expert.extent(0); t += 2) routing.expert.matrix()(t, 0) = 0;
    }
};

struct DoublesTheGradient {
    template <class Real>
    static void after(Tape& tape, Routing<Real>& routing, const RouteInput<Real>&) {
        if (!routing.weight.needs_gradient()) return;
        const auto y = tape.wrap(routing.weight.value(), true);
        tape.record(y.gradient(), [dy = y.gradient(), dw = routing.weight.gradient()] {
            auto target = dw->target();
            for (std::size_t i = 0; i < target.tensor.values().size(); ++i) {
                const Real before = target.write == Write::accumulate ? target.tensor.values()[i] : Real(0);
                target.tensor.values()[i] = before + Real(2) * dy->tensor().values()[i];
            }
        });
        routing.weight = y;
    }
};

struct DetachesTheWeights {
    template <class Real>
    static void after(Tape&, Routing<Real>& routing, const RouteInput<Real>&) {
        routing.weight = Var<Real>(routing.weight.value());
    }
};

struct DetachesAPenalty {
    template <class Real>
    static void after(Tape&, Routing<Real>& routing, const RouteInput<Real>&) {
        routing.penalties.back().value = Var<Real>(routing.penalties.back().value.value());
    }
};

struct WeighsAnUnusedSlot {
    template <class Real>
    static void after(Tape&, Routing<Real>& routing, const RouteInput<Real>&) {
        for (auto& e : routing.expert.values()) e = kUnused;
    }
};

struct ChoosesAnExpertTwice {
    template <class Real>
    static void after(Tape&, Routing<Real>& routing, const RouteInput<Real>&) {
        for (Index t = 0; t < routing.expert.extent(0); ++t) {
            for (Index k = 1; k < routing.expert.extent(1); ++k) {
                routing.expert.matrix()(t, k) = routing.expert.matrix()(t, 0);
            }
        }
    }
};

struct InventsAnExpert {
    template <class Real>
    static void after(Tape&, Routing<Real>& routing, const RouteInput<Real>&) {
        for (auto& e : routing.expert.values()) e = e == 0 ? 1000 : e;
    }
};

struct WeighsHalf {
    template <class Real>
    static void after(Tape&, Routing<Real>& routing, const RouteInput<Real>&) {
        for (Real& w : routing.weight.value().values()) w *= Real(0.5);
    }
};

struct RoutesPadding {
    template <class Real>
    static void before(Tape&, RouteInput<Real>&, Segments& segments) {
        segments.valid = changed(segments.valid);
        for (auto& v : segments.valid.values()) v = 1;
    }
};

struct LetsPaddingIntoThePenalty {
    template <class Real>
    static void after(Tape&, Routing<Real>& routing, const RouteInput<Real>& input) {
        for (auto& penalty : routing.penalties) {
            if (penalty.unit != PenaltyUnit::sequence) continue;
            const auto value = changed(penalty.value.value());
            for (Real& v : value.values()) v += Real(static_cast<float>(input.x.extent(0)));
            penalty.value = Var<Real>(value, penalty.value.gradient());
        }
    }
};

struct CountsThreads {
    template <class Real>
    static void after(Tape& tape, Routing<Real>& routing, const RouteInput<Real>&) {
        if (tape.context().pool().size() < 3) return;
        for (Real& w : routing.weight.value().values()) w *= Real(1.0000005);
    }
};

struct SwallowsNaN {
    template <class Real>
    static void before(Tape&, RouteInput<Real>& input, Segments&) {
        const auto x = changed(input.x.value());
        for (Real& value : x.values()) value = std::isnan(value) ? Real(0) : value;
        input.x = Var<Real>(x, input.x.gradient());
    }
};

struct CountsExpertsBackwards {
    template <class Real>
    static void after(Tape&, Routing<Real>& routing, const RouteInput<Real>&) {
        for (auto& e : routing.expert.values()) e = e >= 0 && e < 5 ? 4 - e : e;  // relabelling has 5 experts
    }
};

template <class Lie>
test::Report told() {
    return test::check_router(test::router_case<LiarEntry<Lie>>(), 20);
}

/// The check that names the lie must fail, with a sentence.
template <class Lie>
void must_fail(const std::string& check) {
    const auto report = told<Lie>();
    INFO(report.text());
    CHECK(report.names(check));
}

}  // namespace

TEST_CASE("liar: without a lie the same router passes") {
    const auto report = told<Honest>();
    INFO(report.text());
    CHECK(report.passed());
}

TEST_CASE("liar: depends on the batch and declares token scope") {
    must_fail<SubtractsTheBatchMean>("split");
    must_fail<SubtractsTheBatchMean>("duplicates");
    must_fail<LooksAtTheRowNumber>("permutation");
}

TEST_CASE("liar: looks across samples and declares sequence scope") {
    must_fail<LooksAcrossSamples>("split");
}

TEST_CASE("liar: the numbers of its experts mean something") {
    must_fail<CountsExpertsBackwards>("relabelling");
}

TEST_CASE("liar: a wrong gradient") {
    must_fail<DoublesTheGradient>("gradient");
    must_fail<DetachesTheWeights>("gradient");
    must_fail<DetachesAPenalty>("gradient");
}

TEST_CASE("liar: breaks the contract of the slots") {
    must_fail<WeighsAnUnusedSlot>("contract");
    must_fail<ChoosesAnExpertTwice>("contract");
    must_fail<InventsAnExpert>("contract");
    must_fail<WeighsHalf>("contract");
}

TEST_CASE("liar: padding") {
    must_fail<RoutesPadding>("contract");
    must_fail<RoutesPadding>("padding");
    must_fail<LetsPaddingIntoThePenalty>("padding");
    must_fail<LetsPaddingIntoThePenalty>("split");
}

TEST_CASE("liar: counts the threads") {
    must_fail<CountsThreads>("threads");
}

TEST_CASE("liar: swallows a NaN") {
    must_fail<SwallowsNaN>("edges");
}
