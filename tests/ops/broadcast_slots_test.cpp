#include <moegrad/ops/broadcast_slots.hpp>

#include "support/device_status.hpp"
#include "support/op_check.hpp"

#include <limits>

using namespace moegrad;

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// The definition, slot by slot.
template <class Real>
void check(Context& context, Index T, Index K, Index C, double threshold, Broadcast when) {
    CAPTURE(T);
    CAPTURE(K);
    CAPTURE(threshold);
    auto choice = Tensor<std::int32_t>::zeros({T, K});
    for (Index i = 0; i < T * K; ++i)
        choice.data()[i] = static_cast<std::int32_t>((5 * i + i / 3) % (C + 1) - 1);
    auto h = test::random_tensor<Real>({T}, 3);
    for (Index t = 0; t < T; t += 3) h.data()[t] = Real(0.5);  // on the threshold
    Tape tape(context);
    const auto wide = host(broadcast_slots(tape, test::tensor_on(context, choice),
                                           test::tensor_on(context, h), threshold, C, when));
    REQUIRE(wide.shape() == Shape{T, C});
    for (Index t = 0; t < T; ++t) {
        const double score = static_cast<double>(h.data()[t]);
        const bool all = when == Broadcast::above ? score > threshold : score >= threshold;
        for (Index c = 0; c < C; ++c) {
            const std::int32_t kept = c < K ? choice.matrix()(t, c) : kUnused;
            CHECK(wide.matrix()(t, c) == (all ? static_cast<std::int32_t>(c) : kept));
        }
    }
}

template <class Real>
void check_all(Context& context) {
    for (Index T : {0, 1, 7, 301}) {
        for (Index C : {1, 2, 5, 67}) {
            for (Index K : {Index{1}, C}) {
                for (double threshold : {-kInfinity, 0.5, kInfinity}) {
                    check<Real>(context, T, K, C, threshold, Broadcast::above);
                    check<Real>(context, T, K, C, threshold, Broadcast::from);
                }
            }
        }
    }
}

}  // namespace

TEST_CASE_TEMPLATE("broadcast_slots: tokens above, or from, the threshold take every column", Real, float,
                   double) {
    check_all<Real>(test::context());
    test::add_reference_record(broadcast_slots_slot, number_of<Real>());
}

TEST_CASE("broadcast_slots: the same on a GPU") {
    if (!has_cuda()) return;
    check_all<float>(test::cuda_context());
    test::add_reference_record(broadcast_slots_slot, Number::float32, Device::cuda);
}

TEST_CASE("broadcast_slots: a replay returns what was recorded and does not look at the scores") {
    Selections selections;
    const auto choice = Tensor<std::int32_t>::from({1, 1}, {2});
    Tape first(test::context(), Mode::inference);
    first.set_selections(&selections);
    broadcast_slots(first, choice, Tensor<float>::from({1}, {1}), 0.5, 3);
    selections.rewind();
    Tape replay(test::context());
    replay.set_selections(&selections);
    const auto again = broadcast_slots(replay, choice, Tensor<float>::from({1}, {0}), 0.5, 3);
    for (std::int32_t c : {0, 1, 2}) CHECK(again.data()[c] == c);
    selections.rewind();
    CHECK_THROWS_WITH_AS(broadcast_slots(replay, choice, Tensor<float>::from({1}, {0}), 0.5, 4),
                         doctest::Contains("broadcast_slots"), Error);
}

TEST_CASE("broadcast_slots: a NaN is an error that names its token; a GPU reports it") {
    const auto choice = Tensor<std::int32_t>::from({3, 1}, {1, 1, 1});
    const auto h = Tensor<float>::from({3}, {1, 0, std::numeric_limits<float>::quiet_NaN()});
    Tape tape(test::context());
    CHECK_THROWS_WITH_AS(broadcast_slots(tape, choice, h, 0.5, 2), doctest::Contains("NaN for token 2"),
                         Error);
    if (!test::device_reports()) return;
    test::take_status();
    Tape there(test::cuda_context());
    const auto wide = host(broadcast_slots(there, placed(choice, Device::cuda), placed(h, Device::cuda), 0.5,
                                           2, Broadcast::from));
    CHECK(wide.matrix()(0, 0) == 0);
    CHECK(wide.matrix()(2, 0) == 1);
    CHECK(wide.matrix()(2, 1) == kUnused);
    CHECK(test::take_status().not_finite == 1);
}

TEST_CASE("broadcast_slots: shapes and thresholds that do not fit are errors") {
    Tape tape(test::context());
    const auto choice = Tensor<std::int32_t>::zeros({2, 3});
    const auto h = Tensor<float>::zeros({2});
    CHECK_THROWS_AS(broadcast_slots(tape, choice, h, 0.5, 2), Error);
    CHECK_THROWS_AS(broadcast_slots(tape, choice, Tensor<float>::zeros({3}), 0.5, 3), Error);
    CHECK_THROWS_AS(broadcast_slots(tape, choice, h, NAN, 3), Error);
}
