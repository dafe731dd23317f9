#include <moegrad/ops/drop_slots.hpp>

#include "support/op_check.hpp"

using namespace moegrad;

namespace {

struct Slots {
    Tensor<std::int32_t> choice, expert;  // column 3 is a null, every third token padding

    Slots(Index T, Index K) : choice(Tensor<std::int32_t>::zeros({T, K})), expert(choice) {
        expert = Tensor<std::int32_t>::zeros({T, K});
        for (Index i = 0; i < T * K; ++i) {
            const auto column = static_cast<std::int32_t>(i % 4);
            choice.data()[i] = column;
            expert.data()[i] = i / K % 3 == 2 ? kUnused : column == 3 ? kNull : column;
        }
    }
};

/// Dropout's own words, slot by slot.
template <class Real>
void check(Context& context, Index T, Index K, double rate, const DrawKey& key, std::uint64_t step) {
    CAPTURE(T);
    CAPTURE(rate);
    const Segments segments = Segments::of_lengths({T / 2, T - T / 2});
    const Slots slots(T, K);
    const Device device = context.device();
    context.scalars().step = step;
    Tape tape(context);
    const auto got = drop_slots<Real>(tape, placed(slots.choice, device), placed(slots.expert, device),
                                      placed(segments, device), rate, key);
    context.scalars().step = 0;
    const auto choice = host(got.choice), expert = host(got.expert);
    StepScalars scalars;
    scalars.seed = key.seed;
    scalars.step = key.by_step ? step : ~std::uint64_t{0};
    const auto mask = dropout_mask(scalars, {.rate = rate, .module = key.module}, 0x64726f70);
    for (Index t = 0; t < T; ++t) {
        for (Index k = 0; k < K; ++k) {
            const bool stays = k == 0 || rate == 0 ||
                               dropout_keep(mask, segments.sample.data()[t], segments.position.data()[t], k);
            const std::int32_t was = slots.expert.matrix()(t, k);
            CHECK(choice.matrix()(t, k) == (stays ? slots.choice.matrix()(t, k) : kUnused));
            CHECK(expert.matrix()(t, k) == (stays || was < 0 ? was : kDropped));
        }
    }
}

template <class Real>
void check_all(Context& context) {
    for (Index T : {0, 1, 7, 301}) {
        for (Index K : {1, 2, 5, 16}) {
            for (double rate : {0.0, 0.3, 1.0}) {
                check<Real>(context, T, K, rate, {7, 2, false}, 4);
                check<Real>(context, T, K, rate, {7, 2, true}, 4);
            }
        }
    }
}

}  // namespace

TEST_CASE_TEMPLATE("drop_slots: the words of dropout decide, slot 0 stays", Real, float, double) {
    check_all<Real>(test::context());
    test::add_reference_record(drop_slots_slot, number_of<Real>());
}

TEST_CASE("drop_slots: the same on a GPU") {
    if (!has_cuda()) return;
    check_all<float>(test::cuda_context());
    test::add_reference_record(drop_slots_slot, Number::float32, Device::cuda);
}

TEST_CASE("drop_slots: shapes and rates that do not fit are errors") {
    Tape tape(test::context());
    const auto segments = Segments::of_lengths({3});
    const auto three = Tensor<std::int32_t>::zeros({3, 2});
    CHECK_THROWS_AS(drop_slots<float>(tape, three, Tensor<std::int32_t>::zeros({3, 1}), segments, 0.5, {}),
                    Error);
    CHECK_THROWS_AS(drop_slots<float>(tape, three, three, Segments::of_lengths({2}), 0.5, {}), Error);
    CHECK_THROWS_AS(drop_slots<float>(tape, three, three, segments, 1.5, {}), Error);
}
