#include <moegrad/ops/capacity.hpp>

#include "support/device_status.hpp"
#include "support/op_check.hpp"

#include <numeric>

using namespace moegrad;

namespace {

using CapacityScope = BalanceOptions::Scope;
constexpr CapacityOrder kCapacityOrders[] = {CapacityOrder::choice, CapacityOrder::token,
                                             CapacityOrder::priority};

/// Where slot (t, k) stands in the order: the smaller asks first.
std::tuple<double, double, double> capacity_rank(const CapacityOptions& options, double priority, Index t,
                                                 Index k) {
    const auto token = static_cast<double>(t), slot = static_cast<double>(k);
    if (options.order == CapacityOrder::token) return {token, slot, 0};
    return {slot, options.order == CapacityOrder::priority ? -priority : 0, token};
}

/// The definition: a slot stays when fewer than C slots of its expert and group stand before it.
template <class Real>
Tensor<std::int32_t> capacity_reference(const Tensor<std::int32_t>& expert, const Tensor<Real>& priority,
                                        const Segments& segments, const CapacityOptions& options) {
    auto kept = Tensor<std::int32_t>::zeros(expert.shape());
    const Index T = expert.extent(0), K = expert.extent(1);
    const auto group = [&](Index t) {
        return options.scope == CapacityScope::sequence ? segments.segment.data()[t] : 0;
    };
    const auto rank = [&](Index t, Index k) {
        return capacity_rank(options, static_cast<double>(priority.matrix()(t, 0)), t, k);
    };
    for (Index t = 0; t < T; ++t) {
        Index n = 0;
        for (Index u = 0; u < T; ++u) n += group(u) == group(t) && segments.valid.data()[u] != 0;
        for (Index k = 0; k < K; ++k) {
            const std::int32_t e = expert.matrix()(t, k);
            Index before = 0;
            for (Index u = 0; u < T; ++u)
                for (Index j = 0; j < K; ++j)
                    before += group(u) == group(t) && expert.matrix()(u, j) == e && rank(u, j) < rank(t, k);
            const bool stays =
                before <
                std::max<Index>(options.least, static_cast<Index>(static_cast<double>(n) * options.factor /
                                                                  static_cast<double>(options.experts)));
            kept.matrix()(t, k) = e < 0 || stays ? e : kDropped;
        }
    }
    return kept;
}

template <class Real>
void check_capacity(Context& context) {
    Random random(3);
    const auto below = [&](Index n) {
        return static_cast<Index>(random.next_below(static_cast<std::uint64_t>(n)));
    };
    for (Index T : {0, 1, 7, 150}) {
        for (Index E : {1, 3, 8}) {
            const Index K = 1 + below(std::min<Index>(E, 3));
            const std::vector<Index> lengths{T / 3, 0, T - T / 3};
            auto segments = Segments::of_lengths(lengths);
            auto expert = Tensor<std::int32_t>::zeros({T, K});
            auto priority = Tensor<Real>::zeros({T, K});
            for (Index t = 0; t < T; ++t) {
                segments.valid.data()[t] = below(5) != 0;
                priority.matrix()(t, 0) = static_cast<Real>(below(7)) / Real(8);  // many equals
                const Index first = below(E) * below(2);
                for (Index k = 0; k < K; ++k)
                    expert.matrix()(t, k) = segments.valid.data()[t] == 0 ? kUnused
                                            : below(9) == 0               ? kNull
                                                            : static_cast<std::int32_t>((first + k) % E);
            }
            for (auto order : kCapacityOrders) {
                for (auto scope : {CapacityScope::sequence, CapacityScope::micro}) {
                    for (double factor : {0.3, 1.0, 1.25, 100.0}) {
                        const CapacityOptions options{factor, 1, order, scope, E};
                        Tape tape(context);
                        const Device device = context.device();
                        const auto got =
                            host(capacity<Real>(tape, placed(expert, device), placed(priority, device),
                                                placed(segments, device), options));
                        const auto want = capacity_reference(expert, priority, segments, options);
                        for (Index i = 0; i < T * K; ++i) CHECK(got.data()[i] == want.data()[i]);
                    }
                }
            }
        }
    }
}

std::vector<std::int32_t> capacity_of(const CapacityOptions& options) {
    // Five tokens of two slots over three experts.
    const auto expert = Tensor<std::int32_t>::from({5, 2}, {0, 1, 0, 1, 1, 0, 0, 2, 1, 2});
    const auto priority = Tensor<float>::from({5, 2}, {0.4f, 0, 0.6f, 0, 0.5f, 1, 0.9f, 0, 0.5f, 0});
    Tape tape(test::context());
    const auto kept = capacity(tape, expert, priority, Segments::of_lengths({5}), options);
    return {kept.values().begin(), kept.values().end()};
}

}  // namespace

TEST_CASE_TEMPLATE("capacity: the definition, slot by slot", Real, float, double) {
    check_capacity<Real>(test::context());
    test::add_reference_record(capacity_slot, number_of<Real>());
}

TEST_CASE("capacity: the same on a GPU") {
    if (!has_cuda()) return;
    check_capacity<float>(test::cuda_context());
    test::add_reference_record(capacity_slot, Number::float32, Device::cuda);
}

TEST_CASE("capacity golden: order of the places, by hand") {
    constexpr std::int32_t D = kDropped;
    // C = floor(5 1.25 / 3) = 2. First choices: 0 0 1 0 1, so 0 is full after token 1, 1 after token 4.
    CHECK(capacity_of({1.25, 1, CapacityOrder::choice, CapacityScope::sequence, 3}) ==
          std::vector<std::int32_t>{0, D, 0, D, 1, D, D, 2, 1, 2});
    // Token by token: 1 is full after token 1.
    CHECK(capacity_of({1.25, 1, CapacityOrder::token, CapacityScope::sequence, 3}) ==
          std::vector<std::int32_t>{0, 1, 0, 1, D, D, D, 2, D, 2});
    // Tokens 3, 1, 2, 4, 0.
    CHECK(capacity_of({1.25, 1, CapacityOrder::priority, CapacityScope::sequence, 3}) ==
          std::vector<std::int32_t>{D, D, 0, D, 1, D, 0, 2, 1, 2});
    // min_capacity.
    CHECK(capacity_of({0.1, 3, CapacityOrder::choice, CapacityScope::sequence, 3}) ==
          std::vector<std::int32_t>{0, 1, 0, D, 1, D, 0, 2, 1, 2});
    CHECK(CapacityOptions{.factor = 1.25, .least = 4, .experts = 8}.places(100) == 15);
    CHECK(CapacityOptions{.factor = 1.25, .least = 4, .experts = 8}.places(10) == 4);
}

TEST_CASE("capacity: a replay returns what was recorded; what does not fit is an error") {
    Tape tape(test::context(), Mode::inference);
    Selections held;
    tape.set_selections(&held);
    const auto segments = Segments::of_lengths({3});
    const auto expert = Tensor<std::int32_t>::from({3, 1}, {0, 0, 0});
    const CapacityOptions options{1, 1, CapacityOrder::priority, CapacityScope::sequence, 3};
    const auto first = capacity(tape, expert, Tensor<float>::from({3, 1}, {1, 2, 3}), segments, options);
    held.rewind();
    const auto again = capacity(tape, expert, Tensor<float>::from({3, 1}, {3, 2, 1}), segments, options);
    for (Index t = 0; t < 3; ++t) CHECK(again.data()[t] == first.data()[t]);
    CHECK(first.data()[2] == 0);
    Tape plain(test::context());
    CHECK_THROWS_AS(capacity(plain, expert, Tensor<float>(), segments, options), Error);
    CHECK_THROWS_AS(capacity(plain, expert, Tensor<float>(), segments, CapacityOptions{}), Error);
    CHECK_THROWS_AS(capacity(plain, Tensor<std::int32_t>::from({3, 1}, {0, 7, 0}), Tensor<float>(), segments,
                             CapacityOptions{1, 1, CapacityOrder::choice, CapacityScope::sequence, 3}),
                    Error);
}

TEST_CASE("capacity: a NaN priority is an error, and reported on a GPU, but for padding") {
    const auto run = [](Context& context, bool valid) {
        Tape tape(context);
        auto segments = Segments::of_lengths({4});
        segments.valid.data()[1] = valid;
        const std::int32_t second = valid ? 0 : kUnused;
        const auto expert = Tensor<std::int32_t>::from({4, 1}, {0, second, 0, 0});
        const auto priority = Tensor<float>::from({4, 1}, {1, NAN, -INFINITY, 3});
        const auto kept =
            host(capacity(tape, placed(expert, context.device()), test::tensor_on(context, priority),
                          placed(segments, context.device()),
                          CapacityOptions{1e-9, 2, CapacityOrder::priority, CapacityScope::sequence, 1}));
        return std::vector<std::int32_t>(kept.values().begin(), kept.values().end());
    };
    const std::vector<std::int32_t> padded{0, kUnused, kDropped, 0};
    CHECK(run(test::context(), false) == padded);
    CHECK_THROWS_WITH_AS(run(test::context(), true), doctest::Contains("NaN for token 1"), Error);
    if (!test::device_reports()) return;
    test::take_status();
    CHECK(run(test::cuda_context(), false) == padded);
    CHECK_FALSE(test::take_status().any());
    CHECK(run(test::cuda_context(), true) == std::vector<std::int32_t>{0, kDropped, kDropped, 0});
    CHECK(test::take_status().not_finite == 1);
}
