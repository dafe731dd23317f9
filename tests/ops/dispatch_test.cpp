#include <moegrad/ops/dispatch.hpp>

#include <moegrad/core/transfer.hpp>

#include "support/device_status.hpp"
#include "support/op_check.hpp"

#include <algorithm>

using namespace moegrad;

namespace {

struct Slot {
    std::int32_t expert, token, index;
};

/// Every field of a plan, from a stable sort of the used slots.
void check_plan(Context& context, const Tensor<std::int32_t>& expert, Index E) {
    Tape tape(context);
    DispatchPlan plan = dispatch(tape, test::tensor_on(context, expert), E);
    plan.expert_begin = host(plan.expert_begin);
    plan.row_token = host(plan.row_token);
    plan.row_slot = host(plan.row_slot);
    plan.slot_row = host(plan.slot_row);
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

void check_against_sort(const Tensor<std::int32_t>& expert, Index E) {
    test::on_each_device([&](Context& context) { check_plan(context, expert, E); });
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
    // Several chunks of a device's sort, more experts than threads of a warp, and a count that no chunk divides.
    check_against_sort(random_experts(3 * kSortItems / 4 + 37, 5, 64, 9, 12), 64);
    check_against_sort(random_experts(2 * kSortItems, 1, 256, 0, 13), 256);
    check_against_sort(random_experts(kSortItems + 1, 2, 3000, 5, 14),
                       3000);  // fewer warps, each with more counts
    test::add_reference_record(dispatch_slot, Number::float32);
    if (has_cuda()) test::add_reference_record(dispatch_slot, Number::float32, Device::cuda);
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

TEST_CASE("dispatch: a row budget bounds the rows; more of them is an error, or the device's overflow flag") {
    const auto expert = Tensor<std::int32_t>::from({3, 2}, {1, -1, 0, 2, 1, -2});
    Tape tape(test::context());
    const DispatchPlan plan = dispatch(tape, expert, 3, 4);
    CHECK(plan.bound == 4);
    CHECK(plan.row_token.size() == 4);
    CHECK(dispatch(tape, expert, 3, 100).bound == 6);
    CHECK_THROWS_WITH_AS(dispatch(tape, expert, 3, 3), doctest::Contains("at most 3 rows"), Error);
    if (!has_cuda()) return;
    test::take_status();
    Tape far(test::cuda_context());
    dispatch(far, placed(expert, Device::cuda), 3, 4);
    CHECK_FALSE(test::take_status().any());
    const DispatchPlan cut = dispatch(far, placed(expert, Device::cuda), 3, 3);
    const auto begin = host(cut.expert_begin), slot_row = host(cut.slot_row), row_slot = host(cut.row_slot);
    CHECK(std::vector<std::int32_t>(begin.data(), begin.data() + 4) == std::vector<std::int32_t>{0, 1, 3, 3});
    CHECK(std::vector<std::int32_t>(row_slot.data(), row_slot.data() + 3) ==
          std::vector<std::int32_t>{2, 0, 4});
    CHECK(std::vector<std::int32_t>(slot_row.data(), slot_row.data() + 6) ==
          std::vector<std::int32_t>{1, -1, 0, -1, 2, -1});
    if (test::device_reports()) CHECK(test::take_status().overflow == 1);
}

TEST_CASE("dispatch: on a GPU a slot whose expert does not exist has no row") {
    if (!has_cuda()) return;
    test::take_status();
    Tape tape(test::cuda_context());
    const auto expert = Tensor<std::int32_t>::from({2, 2}, {0, 1, 7, 3});
    const DispatchPlan plan = dispatch(tape, placed(expert, Device::cuda), 3);
    const auto begin = host(plan.expert_begin), slot_row = host(plan.slot_row);
    CHECK(begin.data()[3] == 2);
    CHECK(std::vector<std::int32_t>(slot_row.data(), slot_row.data() + 4) ==
          std::vector<std::int32_t>{0, 1, -1, -1});
    if (test::device_reports()) CHECK(test::take_status().bad_index == 1);
}

TEST_CASE("dispatch: one group has all rows") {
    test::on_each_device([](Context& context) {
        for (const Index rows : {0, 1, 7, 131}) {
            Tape tape(context);
            const DispatchPlan plan = one_group(tape, rows);
            const auto begin = host(plan.expert_begin);
            CHECK(begin.size() == 2);
            CHECK(begin.data()[0] == 0);
            CHECK(begin.data()[1] == rows);
            CHECK(plan.bound == rows);
            CHECK(DispatchView(plan).one_group());
        }
    });
}
