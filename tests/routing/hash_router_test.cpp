// hash: the token id alone decides; nothing is learned.

#include "support/routing_golden.hpp"

#include <doctest/doctest.h>

using namespace moegrad;

namespace {

HashRouter<double> hash_router(Index E, const std::string& options = "") {
    return HashRouter<double>::make(test::build_on_logits(E, options));
}

std::vector<std::int32_t> hash_experts(HashRouter<double> router, const std::vector<std::int32_t>& ids,
                                       std::uint64_t x_seed = 1, std::uint32_t module = 0) {
    const auto T = static_cast<Index>(ids.size());
    const auto batch = test::random_batch<double>(4, {T}, x_seed);
    auto token = Tensor<std::int32_t>::zeros({T});
    std::copy(ids.begin(), ids.end(), token.values().begin());
    Tape tape(test::routing_context(), Mode::inference);
    const RouteInput<double> input{
        .x = Var<double>(batch.x), .token = token, .segments = batch.segments, .module = module};
    const auto outcome = test::detail::outcome_of(router.route(tape, input));
    for (double w : outcome.weight.values()) CHECK(w == 1.0 / static_cast<double>(router.k));
    return {outcome.expert.values().begin(), outcome.expert.values().end()};
}

}  // namespace

TEST_CASE("hash golden: a fixed table (Philox in Python)") {
    CHECK(hash_experts(hash_router(8), {0, 1, 2, 3, 31999}) == std::vector<std::int32_t>{1, 2, 3, 0, 2});
    CHECK(hash_experts(hash_router(8, "per_token=2"), {7}) == std::vector<std::int32_t>{0, 3});
}

TEST_CASE("hash: equal ids have equal experts, whatever the token, its place and its features") {
    const auto a = hash_experts(hash_router(8), {5, 6, 5, 900, 6}, 1),
               b = hash_experts(hash_router(8), {6, 900, 5}, 2);
    CHECK(a[0] == a[2]);
    CHECK(a[1] == a[4]);
    CHECK(b == std::vector<std::int32_t>{a[1], a[3], a[0]});
}

TEST_CASE("hash: every expert has its share of a vocabulary; layers and seeds have tables of their own") {
    std::vector<std::int32_t> ids(4000);
    for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<std::int32_t>(i);
    const auto all = hash_experts(hash_router(8), ids);
    std::vector<Index> count(8);
    for (auto e : all) ++count[static_cast<std::size_t>(e)];
    for (Index n : count) CHECK(std::abs(static_cast<double>(n) - 500) < 105);  // 5 deviations
    CHECK(hash_experts(hash_router(8), ids, 1, 1) != all);
    CHECK(hash_experts(hash_router(8, "seed=43"), ids) != all);
}

TEST_CASE("hash: no parameters, no penalties, no gradient; token ids are needed") {
    AnyRouter<double> router = hash_router(3);
    CHECK(router.parameters().empty());
    CHECK(router.coefficients().empty());
    const auto batch = test::random_batch<double>(4, {6}, 1);
    const auto learned = test::decide_and_learn(router, batch);
    CHECK(learned.penalties.empty());
    for (double g : learned.dx.values()) CHECK(g == 0);
    Tape tape(test::routing_context(), Mode::inference);
    const Tensor<std::int32_t> nothing;
    const RouteInput<double> input{.x = Var<double>(batch.x), .token = nothing, .segments = batch.segments};
    CHECK_THROWS_WITH_AS(router.route(tape, input), doctest::Contains("no token ids"), Error);
    CHECK_THROWS_AS(hash_router(3, "per_token=4"), Error);
    CHECK_THROWS_AS(hash_router(3, "per_token=0"), Error);
}
