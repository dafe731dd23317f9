#pragma once
// The conformance suite's check that an expert's number means nothing: with the rows of every parameter that has one for
// each expert renumbered, a token uses the same experts under their new numbers, with the same weights.

#include <moegrad/testing/router_conformance.hpp>

namespace moegrad::test {

/// Row e becomes row order[e].
template <class Real>
void relabel_rows(const Tensor<Real>& values, const std::vector<Index>& order) {
    const auto from = copy_of(values);
    const Index columns = values.size() / values.extent(0);
    for (std::size_t r = 0; r < order.size(); ++r) {
        std::copy_n(from.data() + static_cast<Index>(r) * columns, columns,
                    values.data() + order[r] * columns);
    }
}

/// The weight of each expert for token t; 0 for those it does not use, -1 for a dropped one.
template <class Real>
std::map<std::int32_t, double> weights_by_expert(const Outcome<Real>& outcome, Index t) {
    std::map<std::int32_t, double> all;
    for (Index k = 0; k < outcome.expert.extent(1); ++k) {
        const std::int32_t e = outcome.expert.matrix()(t, k);
        if (e >= 0) all[e] = static_cast<double>(outcome.weight.matrix()(t, k));
    }
    return all;
}

inline void check_relabelling(const RouterCase& router, Report& report) {
    if (!router.relabels) return;
    // No other extent is E, so that rows of experts are known by their number.
    const RouterSize size{.features = 7, .experts = 5, .nulls = 3, .slots = 2, .routers = 2};
    for (std::uint64_t seed = 0; seed < 3; ++seed) {
        auto made = router.make<double>(size, seed);
        const auto batch = random_batch<double>(size.features, {6, 3}, seed);
        const auto before = decide(made, batch);
        const std::vector<Index> order{3, 0, 4, 2, 1};
        for (auto* parameter : made.parameters()) {
            if (parameter->shape()[0] == size.experts) relabel_rows(parameter->value(), order);
        }
        const auto after = decide(made, batch);
        for (Index t = 0; t < batch.tokens(); ++t) {
            std::map<std::int32_t, double> want;
            for (const auto& [e, w] : weights_by_expert(before, t)) {
                want[static_cast<std::int32_t>(order[static_cast<std::size_t>(e)])] = w;
            }
            const auto got = weights_by_expert(after, t);
            bool same = got.size() == want.size();
            for (const auto& [e, w] : want) {
                same = same && got.contains(e) && std::abs(got.at(e) - w) <= 1e-12;
            }
            if (!same)
                return report.fail("relabelling",
                                   format("token {} uses others or weighs them differently", t));
        }
    }
}

}  // namespace moegrad::test
