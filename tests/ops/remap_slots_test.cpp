#include <moegrad/ops/remap_slots.hpp>

#include "support/op_check.hpp"

using namespace moegrad;

namespace {

/// Slots with experts 0 .. 6, nulls, drops and unused ones.
Tensor<std::int32_t> remap_expert(Index T, Index K) {
    auto expert = Tensor<std::int32_t>::zeros({T, K});
    for (Index i = 0; i < T * K; ++i) expert.data()[i] = static_cast<std::int32_t>(i * 7 % 10) - 3;
    return expert;
}

void check_remap(Context& context) {
    const std::vector<Index> list{5, 0, 3};
    for (Index T : {0, 1, 7, 301}) {
        for (Index K : {1, 2, 5, 16}) {
            const auto expert = remap_expert(T, K);
            Tape tape(context);
            const auto at = placed(expert, context.device());
            const auto among = host(remap_slots(tape, at, SlotTable::among(7, list)));
            const auto without = host(remap_slots(tape, at, SlotTable::without(7, list)));
            const auto back = host(remap_slots(tape, at, SlotTable::back(list)));
            for (Index i = 0; i < T * K; ++i) {
                const std::int32_t e = expert.data()[i];
                const auto found = std::find(list.begin(), list.end(), e);
                const bool there = found != list.end();
                CHECK(among.data()[i] == (e < 0   ? e
                                          : there ? static_cast<std::int32_t>(found - list.begin())
                                                  : kUnused));
                CHECK(without.data()[i] == (e < 0 ? e : there ? kUnused : e));
                CHECK(back.data()[i] == (e < 0 ? e
                                         : e < 3
                                             ? static_cast<std::int32_t>(list[static_cast<std::size_t>(e)])
                                             : kUnused));
            }
        }
    }
}

}  // namespace

TEST_CASE("remap_slots: tables of some experts, of the others, and back") {
    check_remap(test::context());
    test::add_reference_record(remap_slots_slot, Number::float32);
}

TEST_CASE("remap_slots: the same on a GPU") {
    if (!has_cuda()) return;
    check_remap(test::cuda_context());
    test::add_reference_record(remap_slots_slot, Number::float32, Device::cuda);
}

TEST_CASE("remap_slots: experts that are not there, and tables that are too large, are errors") {
    CHECK_THROWS_AS(SlotTable::among(4, {4}), Error);
    CHECK_THROWS_AS(SlotTable::without(4, {-1}), Error);
    CHECK_THROWS_AS(SlotTable(SlotTable::kMost + 1), Error);
    Tape tape(test::context());
    CHECK_THROWS_AS(remap_slots(tape, Tensor<std::int32_t>::zeros({3}), SlotTable(2)), Error);
}
