#include <moegrad/ops/uncertain_tokens.hpp>

#include "support/device_status.hpp"
#include "support/op_check.hpp"

using namespace moegrad;

namespace {

/// Three segments, one empty; padding here and there.
Segments uncertain_segments(Index T) {
    Segments segments = Segments::of_lengths({T / 3, 0, T - T / 3});
    for (Index t = 0; t < T; ++t) segments.valid.data()[t] = t % 5 != 3;
    return segments;
}

/// From the definition, in the plainest way.
template <class Real>
std::vector<int> reference(const Tensor<Real>& h, const Segments& segments, const UncertainOptions& options) {
    double limit = options.threshold;
    if (options.quantile >= 0) {
        std::vector<double> sorted;
        for (Index t = 0; t < h.size(); ++t)
            if (segments.valid.data()[t] != 0) sorted.push_back(static_cast<double>(h.data()[t]));
        std::sort(sorted.begin(), sorted.end());
        const auto at = static_cast<std::size_t>(options.quantile * static_cast<double>(sorted.size()));
        limit = sorted.empty() ? 0 : sorted[std::min(at, sorted.size() - 1)];
    }
    std::vector<int> flags;
    std::vector<Index> used(3, 0);
    for (Index t = 0; t < h.size(); ++t) {
        Index& count = used[static_cast<std::size_t>(segments.segment.data()[t])];
        const bool over = segments.valid.data()[t] != 0 && static_cast<double>(h.data()[t]) >= limit;
        count += over;
        flags.push_back(over && (options.slots < 0 || count <= options.slots));
    }
    return flags;
}

template <class Real>
void check(Context& context, Index T, const UncertainOptions& options) {
    CAPTURE(T);
    CAPTURE(options.quantile);
    CAPTURE(options.slots);
    auto h = test::random_tensor<Real>({T}, 3);
    for (Index t = 1; t < T; t += 4) h.data()[t] = h.data()[t - 1];  // ties
    const Segments segments = uncertain_segments(T);
    Tape tape(context);
    const auto got = uncertain_tokens<Real>(tape, test::tensor_on(context, h),
                                            placed(segments, context.device()), options);
    const auto score = host(got.score), branch = host(got.branch);
    const auto want = reference(h, segments, options);
    for (Index t = 0; t < T; ++t) {
        const Real flag = Real(want[static_cast<std::size_t>(t)]);
        CHECK(score.data()[t] == flag);
        CHECK(branch.matrix()(t, 0) == 1 - flag);
        CHECK(branch.matrix()(t, 1) == flag);
    }
}

template <class Real>
void check_all(Context& context) {
    constexpr double kInfinity = std::numeric_limits<double>::infinity();
    for (Index T : {0, 1, 7, 301, 1003}) {
        for (Index slots : {-1, 0, 1, 3, 40}) {
            for (double threshold : {-kInfinity, -0.5, 0.7, kInfinity})
                check<Real>(context, T, {.threshold = threshold, .slots = slots});
            for (double quantile : {0.0, 0.33, 0.9, 1.0})
                check<Real>(context, T, {.quantile = quantile, .slots = slots});
        }
    }
}

}  // namespace

TEST_CASE_TEMPLATE("uncertain_tokens: threshold, quantile and cap by the definition", Real, float, double) {
    check_all<Real>(test::context());
    test::add_reference_record(uncertain_tokens_slot, number_of<Real>());
}

TEST_CASE("uncertain_tokens: the same on a GPU") {
    if (!has_cuda()) return;
    check_all<float>(test::cuda_context());
    test::add_reference_record(uncertain_tokens_slot, Number::float32, Device::cuda);
}

TEST_CASE("uncertain_tokens: a replay returns what was decided, whatever the scores say now") {
    test::on_each_device([](Context& context) {
        Selections held;
        Tape tape(context, Mode::inference);
        tape.set_selections(&held);
        const auto segments = placed(Segments::of_lengths({3}), context.device());
        const auto run = [&](std::initializer_list<float> h) {
            const auto there = test::tensor_on(context, Tensor<float>::from({3}, h));
            const auto score = host(uncertain_tokens<float>(tape, there, segments, {.threshold = 0.5}).score);
            return std::vector<float>(score.values().begin(), score.values().end());
        };
        CHECK(run({0, 1, 0.5f}) == std::vector<float>{0, 1, 1});
        held.rewind();
        CHECK(run({1, 0, 0}) == std::vector<float>{0, 1, 1});
    });
}

TEST_CASE("uncertain_tokens: shapes and options that do not fit are errors") {
    Tape tape(test::context());
    const auto h = Tensor<float>::zeros({3});
    const auto segments = Segments::of_lengths({3});
    CHECK_THROWS_AS(uncertain_tokens<float>(tape, Tensor<float>::zeros({2}), segments, {}), Error);
    CHECK_THROWS_AS(uncertain_tokens<float>(tape, h, segments, {.threshold = NAN}), Error);
    CHECK_THROWS_AS(uncertain_tokens<float>(tape, h, segments, {.quantile = 1.5}), Error);
}

TEST_CASE("uncertain_tokens: a NaN is an error, and reported on a GPU, but for padding") {
    const auto run = [](Context& context, bool valid, const UncertainOptions& options) {
        Tape tape(context);
        auto segments = Segments::of_lengths({4});
        segments.valid.data()[1] = valid;
        const auto h = test::tensor_on(context, Tensor<float>::from({4}, {0, NAN, 1, 2}));
        const auto score =
            host(uncertain_tokens<float>(tape, h, placed(segments, context.device()), options).score);
        return std::vector<float>(score.values().begin(), score.values().end());
    };
    for (const UncertainOptions& options :
         {UncertainOptions{.threshold = 1}, {.threshold = 1, .slots = 3}, {.quantile = 0.4}}) {
        const std::vector<float> want{0, 0, 1, 1};
        CHECK(run(test::context(), false, options) == want);
        CHECK_THROWS_WITH_AS(run(test::context(), true, options), doctest::Contains("NaN for token 1"),
                             Error);
        if (!test::device_reports()) continue;
        test::take_status();
        CHECK(run(test::cuda_context(), false, options) == want);
        CHECK_FALSE(test::take_status().any());
        CHECK(run(test::cuda_context(), true, options) == want);
        CHECK(test::take_status().not_finite == 1);
    }
}
