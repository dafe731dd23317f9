#include <moegrad/ops/route_stats.hpp>

#include "support/device_status.hpp"
#include "support/op_check.hpp"

using namespace moegrad;

namespace {

constexpr Index kExperts = 3, kColumns = 5, kSlots = 4;

struct Batch {
    Tensor<std::int32_t> expert, choice;
    Tensor<double> p;
    Segments segments;

    explicit Batch(Index T)
        : expert(Tensor<std::int32_t>::zeros({T, kSlots})),
          choice(Tensor<std::int32_t>::zeros({T, kSlots})),
          p(Tensor<double>::zeros({T, kColumns})),
          segments(Segments::of_lengths({T})) {
        for (Index t = 0; t < T; ++t) {
            segments.valid.data()[t] = t % 4 != 1;
            double sum = 0;
            for (Index c = 0; c < kColumns; ++c)
                sum += p.view<2>()(t, c) = static_cast<double>((3 * t + c) % 7);
            for (Index c = 0; c < kColumns; ++c) p.view<2>()(t, c) /= sum;
            for (Index k = 0; k < kSlots; ++k) {
                const auto column = static_cast<std::int32_t>((t * t + k * (t % 3)) % (kColumns + 1) - 1);
                choice.view<2>()(t, k) = column;
                expert.view<2>()(t, k) = column < 0           ? kUnused
                                         : column >= kExperts ? kNull
                                         : (t + k) % 6 == 5   ? kDropped
                                                              : column;
            }
        }
    }

    Batch rows(Index begin, Index end) const {
        Batch part = *this;
        part.expert = expert.rows(begin, end);
        part.choice = choice.rows(begin, end);
        part.p = p.rows(begin, end);
        part.segments.position = segments.position.rows(begin, end);
        part.segments.valid = segments.valid.rows(begin, end);
        return part;
    }

    template <class Real>
    RoutingStats stats(Context& context = test::context()) const {
        const Device device = context.device();
        Tape tape(context);
        return route_stats(tape, placed(expert, device), placed(choice, device),
                           placed(test::convert<Real>(p), device), placed(segments, device));
    }
};

/// The definitions, token by token.
void check_totals(const Batch& batch, const RoutingTotals& totals) {
    std::vector<std::int64_t> slots(kColumns), histogram(kSlots + 1);
    std::vector<double> mass(kColumns);
    std::int64_t tokens = 0, all_null = 0, dropped = 0;
    double entropy = 0;
    for (Index t = 0; t < batch.p.extent(0); ++t) {
        if (batch.segments.valid.data()[t] == 0) continue;
        ++tokens;
        std::size_t used = 0;
        bool nulls = false, lost = false;
        for (Index k = 0; k < kSlots; ++k) {
            const std::int32_t e = batch.expert.view<2>()(t, k), c = batch.choice.view<2>()(t, k);
            if (c >= 0) ++slots[static_cast<std::size_t>(c)];
            if (e >= 0) ++used;
            if (e == kNull) nulls = true;
            if (e == kDropped) lost = true, ++dropped;
        }
        ++histogram[used];
        if (nulls && used == 0 && !lost) ++all_null;
        for (Index c = 0; c < kColumns; ++c) {
            const double value = batch.p.view<2>()(t, c);
            mass[static_cast<std::size_t>(c)] += value;
            if (value > 0) entropy -= value * std::log(value);
        }
    }
    const double n = tokens == 0 ? 1 : static_cast<double>(tokens);
    CHECK(totals.tokens() == tokens);
    CHECK(totals.all_null_tokens() == all_null);
    CHECK(totals.dropped_slots() == dropped);
    CHECK(totals.slots() == slots);
    CHECK(totals.experts_per_token() == histogram);
    CHECK(std::abs(totals.entropy() - entropy / n) < 1e-6);
    for (std::size_t c = 0; c < mass.size(); ++c) CHECK(std::abs(totals.probability(c) - mass[c] / n) < 1e-6);
    double load = 0;
    for (std::size_t i = 0; i < histogram.size(); ++i)
        load += static_cast<double>(i) * static_cast<double>(histogram[i]);
    CHECK(totals.load() == load / n);
    CHECK(totals.all_null_share() == static_cast<double>(all_null) / n);
}

bool equal(const RoutingTotals& a, const RoutingTotals& b) {
    bool same = a.tokens() == b.tokens() && a.slots() == b.slots() &&
                a.experts_per_token() == b.experts_per_token() && a.entropy() == b.entropy() &&
                a.all_null_tokens() == b.all_null_tokens();
    for (std::size_t c = 0; c < kColumns; ++c) same = same && a.probability(c) == b.probability(c);
    return same;
}

}  // namespace

TEST_CASE_TEMPLATE("route_stats: counting token by token gives the same", Real, float, double) {
    for (Index T : {0, 1, 2, 7, 100}) {
        CAPTURE(T);
        const Batch batch(T);
        RoutingTotals totals;
        totals.add(batch.stats<Real>());
        check_totals(batch, totals);
    }
    test::add_reference_record(route_stats_slot, number_of<Real>());
}

TEST_CASE("route_stats: a GPU counts what the CPU counts; an entropy may differ by a unit a token") {
    if (!has_cuda()) return;
    for (Index T : {0, 1, 2, 7, 100, 1001}) {
        CAPTURE(T);
        const Batch batch(T);
        const auto want = host(batch.stats<float>()), got = host(batch.stats<float>(test::cuda_context()));
        const auto same = [](const Tensor<std::int64_t>& a, const Tensor<std::int64_t>& b) {
            return std::equal(a.values().begin(), a.values().end(), b.values().begin(), b.values().end());
        };
        CHECK(same(got.tokens, want.tokens));
        CHECK(same(got.slots, want.slots));
        CHECK(same(got.mass, want.mass));
        CHECK(same(got.experts_per_token, want.experts_per_token));
        CHECK(same(got.all_null, want.all_null));
        CHECK(same(got.dropped, want.dropped));
        CHECK(std::abs(got.entropy.values()[0] - want.entropy.values()[0]) <= T);
        CHECK(same(got.words, host(batch.stats<float>(test::cuda_context())).words));
        RoutingTotals totals;
        totals.add(batch.stats<float>(test::cuda_context()));
        check_totals(batch, totals);
    }
    test::add_reference_record(route_stats_slot, Number::float32, Device::cuda);
}

TEST_CASE("route_stats: on a GPU what is no count is left out and reported") {
    if (!test::device_reports()) return;
    test::take_status();
    Tape tape(test::cuda_context());
    const auto stats = [&](float p, std::int32_t column, Index C) {
        auto values = Tensor<float>::zeros({2, C});
        values.values()[1] = p;
        const auto choice = Tensor<std::int32_t>::from({2, 1}, {0, column});
        return host(route_stats(tape, placed(choice, Device::cuda), placed(choice, Device::cuda),
                                placed(values, Device::cuda),
                                placed(Segments::of_lengths({2}), Device::cuda)));
    };
    for (Index C : {3, 9000}) {  // the second: more words than a block's shared memory has
        CHECK(stats(0.25f, 2, C).mass.values()[1] == std::int64_t{1} << 30);
        CHECK_FALSE(test::take_status().any());
        for (float bad : {NAN, -1.0f, INFINITY}) {
            const auto got = stats(bad, 2, C);
            CHECK(got.mass.values()[1] == 0);
            CHECK(got.tokens.values()[0] == 2);
            CHECK(test::take_status().not_finite == 1);
        }
        CHECK(stats(0.25f, static_cast<std::int32_t>(C), C).slots.values()[0] == 1);
        CHECK(test::take_status().bad_index == 1);
    }
}

TEST_CASE("route_stats: micro-batches add up to the whole batch, to the bit, in any order") {
    const Batch batch(50);
    RoutingTotals whole, parts;
    whole.add(batch.stats<float>());
    for (auto [begin, end] : {std::pair<Index, Index>{30, 50}, {0, 1}, {1, 30}}) {
        parts.add(batch.rows(begin, end).stats<float>());
    }
    CHECK(equal(whole, parts));
}

TEST_CASE("route_stats: the AdaMoE example has load 1 and one all-null token of three (golden)") {
    Tape tape(test::context());
    const auto choice = Tensor<std::int32_t>::from({3, 2}, {0, 1, 0, 2, 2, 3});
    const auto expert = Tensor<std::int32_t>::from({3, 2}, {0, 1, 0, kNull, kNull, kNull});
    RoutingTotals totals;
    totals.add(route_stats(tape, expert, choice, Tensor<double>::zeros({3, 4}), Segments::of_lengths({3})));
    CHECK(totals.load() == 1);
    CHECK(totals.experts_per_token() == std::vector<std::int64_t>{1, 1, 1});
    CHECK(totals.all_null_share() == doctest::Approx(1.0 / 3));
    CHECK(totals.slots() == std::vector<std::int64_t>{2, 1, 2, 1});
}

TEST_CASE("route_stats: a token that lost an expert or has no slot in use is not an all-null token") {
    Tape tape(test::context());
    const auto choice = Tensor<std::int32_t>::from({4, 2}, {0, 1, 1, 1, -1, 1, -1, -1});
    const auto expert =
        Tensor<std::int32_t>::from({4, 2}, {kDropped, kNull, kNull, kNull, kUnused, kNull, kUnused, kUnused});
    RoutingTotals totals;
    totals.add(route_stats(tape, expert, choice, Tensor<float>::zeros({4, 2}), Segments::of_lengths({4})));
    CHECK(totals.all_null_tokens() == 2);
    CHECK(totals.dropped_slots() == 1);
    CHECK(totals.experts_per_token() == std::vector<std::int64_t>{4, 0, 0});
}

TEST_CASE("route_stats: a uniform row of 8 has entropy ln 8, a certain one 0") {
    Tape tape(test::context());
    auto p = Tensor<double>::zeros({1, 8});
    for (double& value : p.values()) value = 0.125;
    const auto none = Tensor<std::int32_t>::from({1, 1}, {-1});
    RoutingTotals uniform, certain;
    uniform.add(route_stats(tape, none, none, p, Segments::of_lengths({1})));
    CHECK(std::abs(uniform.entropy() - 2.0794415416798357) < 1e-9);
    for (double& value : p.values()) value = 0;
    p.values()[5] = 1;
    certain.add(route_stats(tape, none, none, p, Segments::of_lengths({1})));
    CHECK(certain.entropy() == 0);
}

TEST_CASE("route_stats: probabilities that are no numbers and shapes that do not fit are errors") {
    Tape tape(test::context());
    const auto none = Tensor<std::int32_t>::zeros({2, 1});
    auto p = Tensor<float>::zeros({2, 3});
    p.values()[4] = std::nanf("");
    CHECK_THROWS_WITH_AS(route_stats(tape, none, none, p, Segments::of_lengths({2})),
                         doctest::Contains("token 1"), Error);
    CHECK_THROWS_WITH_AS(route_stats(tape, none, none, p, Segments::of_lengths({3})),
                         doctest::Contains("segments of 3"), Error);
    const auto beyond = Tensor<std::int32_t>::from({2, 1}, {0, 3});
    CHECK_THROWS_AS(route_stats(tape, none, beyond, Tensor<float>::zeros({2, 3}), Segments::of_lengths({2})),
                    Error);
}
