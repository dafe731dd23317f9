#pragma once
// The conformance suite of the router contract (routing/router.hpp): what every router must keep, whoever wrote it.
// Each check returns sentences into a Report, so that a planted liar can be shown to fail.
//
//     const Report report = check_router(router_case<MyEntry>());      // empty when all is well
//
// contract   marks, ranges, weights, sums, shapes, counts          padding    rows with valid = 0 change nothing
// gradient   weights, passthrough and each penalty against central differences, selection held
// threads    the same bits for 1 to 4                              edges      0 and 1 tokens, E = 1, K = E, equal
// scope      permuted, cut, repeated tokens, as far as promised               tokens, a NaN

#include <moegrad/testing/router_cases.hpp>

#include <cmath>
#include <set>

namespace moegrad::test {

struct Report {
    struct Failure {
        std::string check, what;
    };
    std::vector<Failure> failures;

    void fail(std::string check, std::string what) {
        failures.push_back({std::move(check), std::move(what)});
    }
    bool passed() const { return failures.empty(); }
    bool names(const std::string& check) const {
        return std::any_of(failures.begin(), failures.end(),
                           [&](const Failure& f) { return f.check == check; });
    }
    std::string text() const {
        std::string all;
        for (const Failure& f : failures) all += f.check + ": " + f.what + "\n";
        return all;
    }
};

/// Sizes drawn at random, slots up to what the router allows.
inline RouterSize random_size(const RouterCase& router, Random& random) {
    const auto below = [&random](std::uint64_t n) { return static_cast<Index>(random.next_below(n)); };
    RouterSize size{.features = 1 + below(9),
                    .experts = 1 + below(6),
                    .nulls = below(5),
                    .slots = 1,
                    .routers = 1 + below(3)};
    size.slots = 1 + below(static_cast<std::uint64_t>(router.most_slots(size)));
    return size;
}

template <class Real>
class ContractCheck {
public:
    ContractCheck(const RouterCase& router, const AnyRouter<Real>& made, const RouterBatch<Real>& batch,
                  const Outcome<Real>& outcome, Report& report)
        : router_(router), made_(made), batch_(batch), outcome_(outcome), report_(report) {}

    void run() {
        const Index T = batch_.tokens(), K = made_.slots();
        const Shape slots{T, K};
        if (!(outcome_.expert.shape() == slots) || !(outcome_.weight.shape() == slots)) {
            return fail(format("expert {}, weight {} instead of {}", outcome_.expert.shape().text(),
                               outcome_.weight.shape().text(), slots.text()));
        }
        if (outcome_.passthrough.defined() && !(outcome_.passthrough.shape() == Shape{T})) {
            return fail("passthrough " + outcome_.passthrough.shape().text());
        }
        for (Index t = 0; t < T; ++t) token(t);
        for (const auto& penalty : outcome_.penalties) check_penalty(penalty);
        for (const auto& trace : outcome_.traces) {
            if (!(trace.shape() == Shape{T})) fail("trace " + trace.shape().text());
        }
        counts();
    }

private:
    void fail(const std::string& what) { report_.fail("contract", what); }

    void token(Index t) {
        const bool valid = batch_.segments.valid.data()[t] != 0;
        double sum = 0;
        Index used = 0;
        std::set<std::int32_t> seen;
        for (Index k = 0; k < made_.slots(); ++k) {
            const std::int32_t e = outcome_.expert.matrix()(t, k);
            const double w = static_cast<double>(outcome_.weight.matrix()(t, k));
            if (e >= made_.experts() || e < kDropped) fail(format("token {}: expert {}", t, e));
            if (!std::isfinite(w) || w < 0) fail(format("token {}: weight {}", t, w));
            if (e < 0 && w != 0)
                fail(format("token {}: weight {} on a slot without an expert ({})", t, w, e));
            if (!valid && e != kUnused) fail(format("token {} is padding and uses {}", t, e));
            if (e >= 0 && !seen.insert(e).second) fail(format("token {}: expert {} twice", t, e));
            used += e >= 0;
            sum += w;
        }
        const bool passes = outcome_.passthrough.defined();
        if (passes) {
            const double w = static_cast<double>(outcome_.passthrough.data()[t]);
            if (!std::isfinite(w) || w < 0 || (!valid && w != 0))
                fail(format("token {}: passthrough {}", t, w));
            sum += w;
        }
        used_ += valid ? used : 0;
        if (!valid || (used == 0 && !passes)) return;
        const double room = std::is_same_v<Real, float> ? 2e-6 : 1e-12;
        const double most = router_.sum == WeightSum::each_at_most_one ? static_cast<double>(used) : 1;
        const bool fits = sum <= most + room && (router_.sum != WeightSum::one || sum >= 1 - room);
        if (!fits) fail(format("token {}: weights sum to {}", t, sum));
    }

    void check_penalty(const PenaltyValues<Real>& penalty) {
        const Index values = penalty.unit == PenaltyUnit::sequence ? batch_.segments.count()
                             : penalty.unit == PenaltyUnit::token  ? batch_.tokens()
                                                                   : 1;
        if (penalty.name.empty()) fail("a penalty without a name");
        if (!(penalty.value.shape() == Shape{values})) {
            return fail(
                format("penalty {}: {} instead of [{}]", penalty.name, penalty.value.shape().text(), values));
        }
        for (Real value : penalty.value.values()) {
            if (!std::isfinite(value)) fail("penalty " + penalty.name + " is not finite");
        }
    }

    void counts() {
        const auto valid = batch_.segments.valid.values();
        const auto tokens = std::count_if(valid.begin(), valid.end(), [](std::uint8_t v) { return v != 0; });
        if (outcome_.stats.tokens() != tokens) {
            fail(format("statistics of {} tokens instead of {}", outcome_.stats.tokens(), tokens));
        }
        const double load = tokens == 0 ? 0 : static_cast<double>(used_) / static_cast<double>(tokens);
        if (outcome_.stats.load() != load) fail(format("load {} instead of {}", outcome_.stats.load(), load));
    }

    const RouterCase& router_;
    const AnyRouter<Real>& made_;
    const RouterBatch<Real>& batch_;
    const Outcome<Real>& outcome_;
    Report& report_;
    Index used_ = 0;
};

template <class Real>
void check_contract(const RouterCase& router, AnyRouter<Real>& made, const RouterBatch<Real>& batch,
                    Report& report) {
    const auto outcome = decide(made, batch);
    ContractCheck<Real>(router, made, batch, outcome, report).run();
}

/// Random sizes and batches, padding here and there.
inline void check_contract(const RouterCase& router, Report& report, int cases = 60) {
    Random random(11);
    for (int n = 0; n < cases; ++n) {
        const RouterSize size = random_size(router, random);
        const auto seed = static_cast<std::uint64_t>(n);
        const std::vector<Index> lengths{static_cast<Index>(random.next_below(6)),
                                         static_cast<Index>(random.next_below(9))};
        auto made = router.make<float>(size, seed);
        auto batch = random_batch<float>(size.features, lengths, seed);
        for (auto& valid : batch.segments.valid.values()) valid = random.next_below(5) != 0;
        check_contract(router, made, batch, report);
    }
}

/// Central differences, selection held: what a step of backward sees.
class GradientCheck {
public:
    GradientCheck(AnyRouter<double>& router, const RouterBatch<double>& batch, Report& report)
        : router_(router), batch_(batch), report_(report) {
        train_everything(router_);
        Tape tape(routing_context(), Mode::inference);
        tape.set_selections(&held_);
        objectives_ = call_router(router_, tape, Var<double>(batch_.x), batch_.segments).penalties.size() + 1;
    }

    void run() {
        for (std::size_t n = 0; n < objectives_; ++n) analytic(n);
        compare("x", batch_.x, 0);
        std::size_t place = 1;
        for (auto* parameter : router_.parameters()) compare(parameter->name(), parameter->value(), place++);
    }

private:
    /// Objective 0: the weights and the passthrough; then one per penalty.
    static std::vector<Var<double>> objective(const Routing<double>& routing, std::size_t n) {
        if (n > 0) return {routing.penalties[n - 1].value};
        if (!routing.passthrough.defined()) return {routing.weight};
        return {routing.weight, routing.passthrough};
    }

    void analytic(std::size_t n) {
        forget(router_);
        Tape tape(routing_context());
        held_.rewind();
        tape.set_selections(&held_);
        const Var<double> x(batch_.x,
                            std::make_shared<Gradient<double>>(Tensor<double>::zeros(batch_.x.shape())));
        auto routing = call_router(router_, tape, x, batch_.segments);
        moegrad::detail::seed_projection<double>(objective(routing, n));
        tape.backward();
        std::vector<Tensor<double>> gradients{x.gradient()->tensor()};
        for (auto& gradient : parameter_gradients(router_)) gradients.push_back(gradient);
        gradients_.push_back(std::move(gradients));
    }

    std::vector<double> values() {
        Tape tape(routing_context(), Mode::inference);
        held_.rewind();
        tape.set_selections(&held_);
        const auto routing = call_router(router_, tape, Var<double>(batch_.x), batch_.segments);
        std::vector<double> all;
        for (std::size_t n = 0; n < objectives_; ++n) {
            all.push_back(moegrad::detail::project<double>(objective(routing, n)));
        }
        return all;
    }

    void compare(const std::string& name, const Tensor<double>& input, std::size_t place) {
        constexpr double h = 1e-5;
        for (std::size_t i = 0; i < input.values().size(); ++i) {
            const double kept = input.values()[i];
            input.values()[i] = kept + h;
            const auto above = values();
            input.values()[i] = kept - h;
            const auto below = values();
            input.values()[i] = kept;
            for (std::size_t n = 0; n < objectives_; ++n) {
                const double numeric = (above[n] - below[n]) / (2 * h);
                const double got = gradients_[n][place].values()[i];
                if (std::abs(got - numeric) <= 1e-7 + 1e-6 * std::abs(numeric)) continue;
                report_.fail("gradient",
                             format("objective {}, {} element {}: analytic {:.9g}, numeric {:.9g}", n, name,
                                    i, got, numeric));
            }
        }
    }

    AnyRouter<double>& router_;
    const RouterBatch<double>& batch_;
    Report& report_;
    Selections held_;
    std::size_t objectives_ = 0;
    std::vector<std::vector<Tensor<double>>> gradients_;  // [objective][x, then the parameters]
};

inline void check_gradient(const RouterCase& router, Report& report, int cases = 4) {
    Random random(23);
    for (int n = 0; n < cases; ++n) {
        const RouterSize size = random_size(router, random);
        const auto seed = static_cast<std::uint64_t>(100 + n);
        auto made = router.make<double>(size, seed);
        auto batch = random_batch<double>(size.features, {3, 2, 0, 1}, seed);
        if (n % 2 == 1) batch.segments.valid.data()[1] = 0;
        GradientCheck(made, batch, report).run();
    }
}

}  // namespace moegrad::test
