#include <moegrad/ops/null_slots.hpp>

#include "support/op_check.hpp"

using namespace moegrad;

namespace {
/// Expert choices [T, 3] that cycle through true, null, unused and dropped.
Tensor<std::int32_t> experts(Index T) {
    auto expert = Tensor<std::int32_t>::zeros({T, 3});
    const std::int32_t codes[] = {0, kNull, 3, kUnused, kNull, kNull, kDropped, 1};
    for (Index i = 0; i < expert.size(); ++i) expert.data()[i] = codes[i % 8];
    return expert;
}
}  // namespace

TEST_CASE("null_slots: gradients of keep_true and null_weight") {
    test::check_op(
        {&null_slots_slot},
        [](Index T) {
            return std::vector{Shape{T, 3}};
        },
        []<test::NeverRounded Real>(Tape& tape, const test::Inputs<Real>& in) {
            const auto expert = placed(experts(in[0].extent(0)), tape.device());
            return std::vector{keep_true(tape, in[0], expert), null_weight(tape, in[0], expert),
                               keep_true(tape, in[0], expert), null_weight(tape, in[0], expert)};
        },
        {.cuda_rows = {300}});
}

TEST_CASE("null_slots: classify tells true, null, unused and padding apart") {
    auto segments = Segments::of_lengths({2, 1});
    segments.valid.data()[2] = 0;
    const auto choice = Tensor<std::int32_t>::from({3, 3}, {0, 4, 2, 5, -1, 3, 0, 1, 5});
    test::on_each_device([&](Context& context) {
        Tape tape(context);
        const auto expert = host(classify_slots<float>(tape, test::tensor_on(context, choice),
                                                       placed(segments, context.device()), 4));
        const std::int32_t want[] = {0, kNull, 2, kNull, kUnused, 3, kUnused, kUnused, kUnused};
        for (std::size_t i = 0; i < 9; ++i) CHECK(expert.values()[i] == want[i]);
    });
}

TEST_CASE("null_slots: values") {
    Tape tape(test::context());
    const Var<double> w(Tensor<double>::from({1, 4}, {0.5, 0.25, 0.125, 0.0625}));
    const auto expert = Tensor<std::int32_t>::from({1, 4}, {kNull, 2, kNull, kUnused});
    const auto kept = keep_true(tape, w, expert);
    CHECK(kept.value().values()[1] == 0.25);
    CHECK(kept.value().values()[0] + kept.value().values()[2] + kept.value().values()[3] == 0);
    CHECK(null_weight(tape, w, expert).value().values()[0] == 0.625);
}
