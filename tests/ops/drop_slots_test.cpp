#include <moegrad/ops/drop_slots.hpp>

#include "support/device_status.hpp"
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

/// thin_slots against its definition, with dropout's own words.
template <class Real>
void check_thin(Context& context, Index T, Index K, const SlotThinning& thinning, const DrawKey& key) {
    CAPTURE(T);
    CAPTURE(thinning.threshold);
    const Segments segments = Segments::of_lengths({T / 2, T - T / 2});
    const Slots slots(T, K);
    const auto w = test::random_tensor<Real>({T, K}, 5, 0.2, 0.3);
    const Device device = context.device();
    Tape tape(context);
    const auto left = host(thin_slots<Real>(tape, placed(slots.expert, device), placed(w, device),
                                            placed(segments, device), thinning, key));
    StepScalars scalars;
    scalars.seed = key.seed;
    scalars.step = key.by_step ? 0 : ~std::uint64_t{0};
    const auto mask = dropout_mask(scalars, {.rate = 0, .module = key.module}, 0x64726f70);
    for (Index t = 0; t < T; ++t) {
        for (Index k = 0; k < K; ++k) {
            const auto words = dropout_words(mask, segments.sample.data()[t], segments.position.data()[t],
                                             static_cast<std::uint32_t>(k / 4));
            const double u =
                std::floor(static_cast<double>(words[static_cast<std::size_t>(k % 4)]) / 256) / 0x1p24;
            const double weight = static_cast<double>(w.matrix()(t, k));
            const bool stays = k == 0 || (thinning.by_chance ? u * thinning.threshold < weight
                                                             : weight > thinning.threshold);
            const std::int32_t was = slots.expert.matrix()(t, k);
            CHECK(left.matrix()(t, k) == (stays || was < 0 ? was : kDropped));
        }
    }
}

template <class Real>
void check_thin(Context& context) {
    for (Index T : {0, 1, 7, 301}) {
        for (Index K : {1, 2, 5}) {
            for (double threshold : {0.0, 0.2, 0.5, std::numeric_limits<double>::infinity()}) {
                check_thin<Real>(context, T, K, {threshold, false}, {7, 2, true});
                if (std::isfinite(threshold))
                    check_thin<Real>(context, T, K, {threshold, true}, {7, 2, false});
            }
        }
    }
}

}  // namespace

TEST_CASE_TEMPLATE("drop_slots: the words of dropout decide, slot 0 stays", Real, float, double) {
    check_all<Real>(test::context());
    check_thin<Real>(test::context());
    test::add_reference_record(drop_slots_slot, number_of<Real>());
}

TEST_CASE("drop_slots: the same on a GPU") {
    if (!has_cuda()) return;
    check_all<float>(test::cuda_context());
    check_thin<float>(test::cuda_context());
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
    CHECK_THROWS_AS(thin_slots<float>(tape, three, Tensor<float>::zeros({3, 1}), segments, {}, {}), Error);
}

TEST_CASE("thin_slots: a NaN weight is an error, and reported on a GPU, but where there is no expert") {
    const auto run = [](Context& context, std::int32_t expert) {
        Tape tape(context);
        const auto slots = Tensor<std::int32_t>::from({1, 2}, {0, expert});
        const auto w = Tensor<float>::from({1, 2}, {1, NAN});
        return host(thin_slots<float>(tape, placed(slots, context.device()), test::tensor_on(context, w),
                                      placed(Segments::of_lengths({1}), context.device()), {0.2, false}, {}))
            .data()[1];
    };
    CHECK(run(test::context(), kNull) == kNull);
    CHECK_THROWS_WITH_AS(run(test::context(), 1), doctest::Contains("NaN for token 0, slot 1"), Error);
    Tape tape(test::context());
    for (double threshold : {-0.1, std::numeric_limits<double>::quiet_NaN()}) {
        CHECK_THROWS_WITH_AS(
            thin_slots<float>(tape, Tensor<std::int32_t>::zeros({1, 2}), Tensor<float>::zeros({1, 2}),
                              Segments::of_lengths({1}), {threshold, true}, {}),
            doctest::Contains("threshold"), Error);
    }
    if (!test::device_reports()) return;
    test::take_status();
    CHECK(run(test::cuda_context(), kNull) == kNull);
    CHECK_FALSE(test::take_status().any());
    CHECK(run(test::cuda_context(), 1) == kDropped);
    CHECK(test::take_status().not_finite == 1);
}
