#pragma once
// The second half of the conformance suite: threads, scope, padding and edges. check_router runs all of it, on a GPU too
// where the program has kernels for one.

#include <moegrad/testing/router_device.hpp>
#include <moegrad/testing/router_relabel.hpp>

#include <limits>

namespace moegrad::test {

/// Rows [begin, end) of a batch, whole segments `from` up to but not including `to`.
template <class Real>
RouterBatch<Real> segments_of(const RouterBatch<Real>& batch, Index from, Index to) {
    const auto* begin = batch.segments.begin.data();
    std::vector<Index> lengths, rows;
    for (Index s = from; s < to; ++s) lengths.push_back(begin[s + 1] - begin[s]);
    for (Index t = begin[from]; t < begin[to]; ++t) rows.push_back(t);
    auto piece = picked(batch, rows);
    const auto kept = piece.segments;
    piece.segments = Segments::of_lengths(lengths);
    piece.segments.valid = kept.valid;
    piece.segments.sample = kept.sample;
    if (batch.segments.task.defined()) piece.segments.task = batch.segments.task.rows(from, to);
    return piece;
}

/// Token by token: row `t` of a and row `u` of b decide alike, to the bit.
template <class Real>
bool same_token(const Outcome<Real>& a, Index t, const Outcome<Real>& b, Index u) {
    const auto row = [](const auto& tensor, Index r) {
        return tensor.shape().rank() == 1 ? tensor.rows(r, r + 1)
                                          : tensor.rows(r, r + 1).reshape({tensor.extent(1)});
    };
    if (!same_values(row(a.expert, t), row(b.expert, u)) ||
        !same_values(row(a.weight, t), row(b.weight, u))) {
        return false;
    }
    if (a.passthrough.defined() && !same_values(row(a.passthrough, t), row(b.passthrough, u))) return false;
    for (std::size_t n = 0; n < a.traces.size(); ++n) {
        if (!same_values(row(a.traces[n], t), row(b.traces[n], u))) return false;
    }
    for (std::size_t n = 0; n < a.penalties.size(); ++n) {
        if (a.penalties[n].unit != PenaltyUnit::token) continue;
        if (!same_values(row(a.penalties[n].value, t), row(b.penalties[n].value, u))) return false;
    }
    return true;
}

inline bool same_counts(const RoutingTotals& a, const RoutingTotals& b) {
    return a.tokens() == b.tokens() && a.slots() == b.slots() && a.entropy() == b.entropy() &&
           a.experts_per_token() == b.experts_per_token() && a.all_null_tokens() == b.all_null_tokens() &&
           a.dropped_slots() == b.dropped_slots();
}

template <class Real>
bool same_list(const std::vector<Tensor<Real>>& a, const std::vector<Tensor<Real>>& b) {
    for (std::size_t i = 0; i < a.size(); ++i) {
        if (!same_values(a[i], b[i])) return false;
    }
    return a.size() == b.size();
}

inline void check_threads(const RouterCase& router, Report& report) {
    const RouterSize size{.features = 33, .experts = 7, .nulls = 5, .slots = 3, .routers = 3};
    const auto batch = random_batch<float>(size.features, {100, 57, 1, 99}, 5);
    Outcome<float> want;
    std::vector<Tensor<float>> gradients;
    for (int threads = 1; threads <= 4; ++threads) {
        auto made = router.make<float>(size, 5);
        const auto got = decide_and_learn(made, batch, threads);
        const auto learned = parameter_gradients(made);
        if (threads == 1) {
            want = got;
            gradients = learned;
            continue;
        }
        for (Index t = 0; t < batch.tokens(); ++t) {
            if (!same_token(want, t, got, t))
                report.fail("threads", format("token {}, {} threads", t, threads));
        }
        for (std::size_t n = 0; n < want.penalties.size(); ++n) {
            if (same_values(want.penalties[n].value, got.penalties[n].value)) continue;
            report.fail("threads", format("penalty {}, {} threads", want.penalties[n].name, threads));
        }
        if (!same_values(want.dx, got.dx)) report.fail("threads", format("dx, {} threads", threads));
        if (!same_list(gradients, learned)) report.fail("threads", format("gradients, {} threads", threads));
        if (!same_counts(want.stats, got.stats))
            report.fail("threads", format("counts, {} threads", threads));
    }
}

/// Token scope: any order, any subset, repeated tokens.
inline void check_token_scope(const RouterCase& router, Random& random, std::uint64_t seed, Report& report) {
    const RouterSize size = random_size(router, random);
    auto made = router.make<float>(size, seed);
    if (made.scope() != RouterScope::token) return;
    const Index T = 1 + static_cast<Index>(random.next_below(12));
    const auto batch = random_batch<float>(size.features, {T}, seed);
    const auto whole = decide(made, batch);
    std::vector<Index> order = batch.row;
    shuffle(std::span<Index>(order), random);
    const auto permuted = decide(made, picked(batch, order));
    for (Index t = 0; t < T; ++t) {
        if (!same_token(permuted, t, whole, order[static_cast<std::size_t>(t)])) {
            report.fail("permutation", format("token {} of {}", t, T));
        }
    }
    if (!same_counts(permuted.stats, whole.stats)) report.fail("permutation", "counts");
    for (auto& source : order) source = static_cast<Index>(random.next_below(static_cast<std::uint64_t>(T)));
    order.push_back(order.front());
    const auto repeated = decide(made, picked(batch, order));
    for (std::size_t t = 0; t < order.size(); ++t) {
        if (!same_token(repeated, static_cast<Index>(t), whole, order[t]))
            report.fail("duplicates", format("{}", t));
    }
}

/// Token and sequence scope: segments alone and together give the same bits, gradients included.
inline void check_split(const RouterCase& router, Random& random, std::uint64_t seed, Report& report) {
    const RouterSize size = random_size(router, random);
    auto made = router.make<float>(size, seed);
    if (made.scope() == RouterScope::batch) return;
    train_everything(made);
    const auto batch = random_batch<float>(size.features, {4, 1, 0, 6, 3}, seed);
    const auto whole = decide_and_learn(made, batch);
    const auto gradients = parameter_gradients(made);
    const auto one_value_per_batch = [](const auto& p) { return p.unit == PenaltyUnit::batch; };
    const bool gradients_promised =
        std::none_of(whole.penalties.begin(), whole.penalties.end(), one_value_per_batch);
    forget(made);
    RoutingTotals stats;
    const Index cut = 1 + static_cast<Index>(random.next_below(4));
    for (const auto& [from, to] : {std::pair{Index{0}, cut}, std::pair{cut, batch.segments.count()}}) {
        const auto piece = segments_of(batch, from, to);
        const auto got = decide_and_learn(made, piece);
        for (Index t = 0; t < piece.tokens(); ++t) {
            if (!same_token(got, t, whole, piece.row[static_cast<std::size_t>(t)])) {
                report.fail("split", format("token {}", t));
            }
        }
        for (std::size_t n = 0; n < whole.penalties.size(); ++n) {
            if (whole.penalties[n].unit != PenaltyUnit::sequence) continue;
            if (same_values(got.penalties[n].value, whole.penalties[n].value.rows(from, to))) continue;
            report.fail("split",
                        format("penalty {} of segments {} to {}", whole.penalties[n].name, from, to));
        }
    }
    if (gradients_promised && !same_list(parameter_gradients(made), gradients))
        report.fail("split", "gradients");
}

/// Rows with valid = 0 put between the others.
inline void check_padding(const RouterCase& router, Random& random, std::uint64_t seed, Report& report) {
    const RouterSize size = random_size(router, random);
    auto made = router.make<float>(size, seed);
    train_everything(made);
    const auto clean = random_batch<float>(size.features, {3, 5}, seed);
    auto padded = random_batch<float>(size.features, {6, 9}, seed + 1000);
    std::vector<Index> place;  // of each clean token: every second row
    for (Index t = 0; t < clean.tokens(); ++t) place.push_back(t < 3 ? 2 * t : 6 + (t - 3) * 2);
    for (Index t = 0; t < padded.tokens(); ++t) {
        padded.segments.valid.data()[t] = 0;
        padded.row[static_cast<std::size_t>(t)] = 1000 + t;
    }
    for (Index t = 0; t < clean.tokens(); ++t) {
        const Index at = place[static_cast<std::size_t>(t)];
        std::copy_n(clean.x.data() + t * size.features, size.features, padded.x.data() + at * size.features);
        padded.segments.valid.data()[at] = 1;
        padded.segments.sample.data()[at] = clean.segments.sample.data()[t];
        padded.segments.position.data()[at] = clean.segments.position.data()[t];
        padded.row[static_cast<std::size_t>(at)] = t;
    }
    const auto want = decide_and_learn(made, clean);
    const auto gradients = parameter_gradients(made);
    forget(made);
    const auto got = decide_and_learn(made, padded);
    for (Index t = 0; t < clean.tokens(); ++t) {
        const Index at = place[static_cast<std::size_t>(t)];
        if (!same_token(got, at, want, t)) report.fail("padding", format("token {}", t));
        if (!same_values(got.dx.rows(at, at + 1), want.dx.rows(t, t + 1)))
            report.fail("padding", format("dx {}", t));
    }
    for (Index t = 0; t < padded.tokens(); ++t) {
        if (padded.segments.valid.data()[t] != 0) continue;
        for (float value : got.dx.rows(t, t + 1).reshape({size.features}).values()) {
            if (value != 0) report.fail("padding", format("padded token {} has a gradient", t));
        }
    }
    for (std::size_t n = 0; n < want.penalties.size(); ++n) {
        if (want.penalties[n].unit == PenaltyUnit::token) continue;
        if (!same_values(got.penalties[n].value, want.penalties[n].value)) {
            report.fail("padding", "penalty " + want.penalties[n].name);
        }
    }
    if (!same_counts(got.stats, want.stats)) report.fail("padding", "counts");
    const auto learned = parameter_gradients(made);
    for (std::size_t i = 0; i < learned.size(); ++i) {
        const auto a = learned[i].values(), b = gradients[i].values();
        if (!std::equal(a.begin(), a.end(), b.begin()))
            report.fail("padding", format("gradient of parameter {}", i));
    }
}

inline void check_edges(const RouterCase& router, Report& report) {
    for (const std::vector<Index>& lengths : {std::vector<Index>{}, {0}, {1}, {0, 1, 0}}) {
        for (Index experts : {1, 3}) {
            RouterSize size{.features = 4, .experts = experts, .nulls = 2, .slots = 1, .routers = 2};
            for (Index slots : {Index{1}, experts, router.most_slots(size)}) {
                size.slots = slots;
                auto made = router.make<float>(size, 3);
                const auto batch = random_batch<float>(size.features, lengths, 3);
                check_contract(router, made, batch, report);
                decide_and_learn(made, batch);
            }
        }
    }
    const RouterSize size{.features = 4, .experts = 4, .nulls = 4, .slots = 2, .routers = 2};
    auto made = router.make<float>(size, 3);
    auto equal = random_batch<float>(size.features, {9}, 3);
    for (Index t = 1; t < 9; ++t) {
        std::copy_n(equal.x.data(), size.features, equal.x.data() + t * size.features);
        equal.segments.position.data()[t] = 0;  // random draws are keyed by it
    }
    check_contract(router, made, equal, report);
    const auto outcome = decide(made, equal);
    for (Index t = 1; t < 9; ++t) {
        // A router of a wider scope may have room for some of them only.
        if (made.scope() == RouterScope::token && !same_token(outcome, t, outcome, 0))
            report.fail("edges", "equal tokens are routed differently");
    }
    equal.x.data()[5 * size.features + 2] = std::numeric_limits<float>::quiet_NaN();
    try {
        decide(made, equal);
        report.fail("edges", "a NaN went through");
    } catch (const Error& error) {
        if (error.code != ErrorCode::value || error.got.empty()) report.fail("edges", error.what());
    }
}

inline Report check_router(const RouterCase& router, int cases = 500) {
    Report report;
    check_contract(router, report, cases);
    check_gradient(router, report);
    check_threads(router, report);
    Random random(37);
    for (int n = 0; n < cases; ++n) {
        const auto seed = static_cast<std::uint64_t>(500 + n);
        check_token_scope(router, random, seed, report);
        check_split(router, random, seed, report);
        check_padding(router, random, seed, report);
    }
    check_edges(router, report);
    check_relabelling(router, report);
    check_device(router, report);
    return report;
}

}  // namespace moegrad::test
