#include <moegrad/core/transfer.hpp>
#include <moegrad/ops/stats_total.hpp>

#include "support/op_check.hpp"

using namespace moegrad;

namespace {

/// Two batches of 3 columns and 2 slots onto what is there.
template <class Real>
void check_sums(Context& context) {
    const RoutingWords at{3, 2};
    auto first = Tensor<std::int64_t>::zeros({at.count()}),
         second = Tensor<std::int64_t>::zeros({at.count()});
    auto before = Tensor<std::int64_t>::zeros({at.count()});
    for (Index i = 0; i < at.count(); ++i) {
        first.data()[i] = (Index{1} << 40) + i;
        second.data()[i] = 1000 * i;
        before.data()[i] = 7;
    }
    const auto total = test::tensor_on(context, before);
    for (const auto& words : {first, second}) {
        stats_total<Real>(context.stream(), RoutingStats(test::tensor_on(context, words), at), total);
    }
    const auto sum = host(total);
    for (Index i = 0; i < at.count(); ++i) CHECK(sum.data()[i] == 7 + (Index{1} << 40) + 1001 * i);
    RoutingTotals totals;
    totals.add(sum.values(), at);
    CHECK(totals.tokens() == sum.data()[at.tokens()]);
    CHECK(totals.slots() == std::vector<std::int64_t>(sum.data() + 4, sum.data() + 7));
    CHECK(totals.experts_per_token() == std::vector<std::int64_t>(sum.data() + 10, sum.data() + 13));
    test::add_reference_record(stats_total_slot, number_of<Real>(), context.device());
}

}  // namespace

TEST_CASE("stats_total: adds the counts of batches") {
    check_sums<double>(test::context());
    test::on_each_device([](Context& context) { check_sums<float>(context); });
}

TEST_CASE("stats_total: a total of another router is an error") {
    const RoutingStats stats(Tensor<std::int64_t>::zeros({RoutingWords{3, 2}.count()}), {3, 2});
    const auto total = Tensor<std::int64_t>::zeros({RoutingWords{4, 2}.count()});
    CHECK_THROWS_WITH_AS(stats_total<float>(test::context().stream(), stats, total),
                         doctest::Contains("a total of [13]"), Error);
}
