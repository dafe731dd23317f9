#include <moegrad/ops/dispatch.hpp>

#include "support/op_check.hpp"

#include <algorithm>

using namespace moegrad;

namespace {

struct Slot {
    std::int32_t expert, token, index;
};

/// Every field of a plan, from a stable sort of the used slots.
void check_against_sort(const Tensor<std::int32_t>& expert, Index E) {
    Tape tape(test::context());
    const DispatchPlan plan = dispatch(tape, expert, E);
    const Index T = expert.extent(0), K = expert.extent(1);
    CHECK(plan.experts == E);
    CHECK(plan.tokens == T);
    CHECK(plan.slots == K);
    CHECK(plan.bound == T * K);

    std::vector<Slot> used;
    for (Index i = 0; i < T * K; ++i) {
        const std::int32_t e = expert.data()[i];
        if (e >= 0) used.push_back({e, static_cast<std::int32_t>(i / K), static_cast<std::int32_t>(i)});
    }
    std::stable_sort(used.begin(), used.end(),
                     [](const Slot& a, const Slot& b) { return a.expert < b.expert; });

    REQUIRE(plan.expert_begin.data()[E] == static_cast<std::int32_t>(used.size()));
    for (Index e = 0; e <= E; ++e) {
        const auto begin =
            std::count_if(used.begin(), used.end(), [&](const Slot& s) { return s.expert < e; });
        CHECK(plan.expert_begin.data()[e] == begin);
    }
    std::vector<std::int32_t> slot_row(static_cast<std::size_t>(T * K), -1);
    for (Index row = 0; row < T * K; ++row) {
        const bool in_use = row < static_cast<Index>(used.size());
        const Slot slot = in_use ? used[static_cast<std::size_t>(row)] : Slot{-1, -1, -1};
        CHECK(plan.row_token.data()[row] == slot.token);
        CHECK(plan.row_slot.data()[row] == slot.index);
        if (in_use) slot_row[static_cast<std::size_t>(slot.index)] = static_cast<std::int32_t>(row);
    }
    CHECK(std::equal(slot_row.begin(), slot_row.end(), plan.slot_row.data()));
}

Tensor<std::int32_t> random_experts(Index T, Index K, Index E, Index below_zero, std::uint64_t seed) {
    Random random(seed);
    auto expert = Tensor<std::int32_t>::zeros({T, K});
    for (std::int32_t& e : expert.values()) {
        e = static_cast<std::int32_t>(random.next_below(static_cast<std::uint64_t>(E + below_zero))) -
            static_cast<std::int32_t>(below_zero);
    }
    return expert;
}

}  // namespace

TEST_CASE("dispatch: a stable sort of the used slots gives the same plan") {
    for (Index T : {0, 1, 7, 129}) {
        for (Index K : {1, 2, 5}) {
            for (Index E : {1, 4, 13}) {
                for (Index below_zero : {0, 3}) {
                    CAPTURE(T);
                    CAPTURE(K);
                    CAPTURE(E);
                    check_against_sort(random_experts(T, K, E, below_zero, 11), E);
                }
            }
        }
    }
    test::add_reference_record(dispatch_slot, Number::float32);
}

TEST_CASE("dispatch: all slots on one expert, none on any") {
    check_against_sort(Tensor<std::int32_t>::from({3, 2}, {2, 2, 2, 2, 2, 2}), 4);
    check_against_sort(Tensor<std::int32_t>::from({2, 2}, {-1, -2, -3, -1}), 4);
    check_against_sort(Tensor<std::int32_t>::zeros({4, 0}), 2);
    check_against_sort(Tensor<std::int32_t>::from({1, 2}, {-1, -2}), 0);
}

TEST_CASE("dispatch: an expert that does not exist is an error that names the token") {
    Tape tape(test::context());
    CHECK_THROWS_WITH_AS(dispatch(tape, Tensor<std::int32_t>::from({2, 2}, {0, 1, -1, 3}), 3),
                         doctest::Contains("expert 3 for token 1, slot 1"), Error);
    CHECK_THROWS_AS(dispatch(tape, Tensor<std::int32_t>::zeros({4}), 3), Error);
}
