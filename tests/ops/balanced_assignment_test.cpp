#include <moegrad/ops/balanced_assignment.hpp>

#include "support/device_status.hpp"
#include "support/op_check.hpp"

#include <algorithm>
#include <limits>
#include <numeric>

using namespace moegrad;

namespace {

template <class Real>
std::vector<std::int32_t> assigned(Context& context, const Tensor<Real>& score, const Segments& segments) {
    Tape tape(context);
    const auto choice =
        host(balanced_assignment(tape, test::tensor_on(context, score), placed(segments, context.device())));
    return {choice.values().begin(), choice.values().end()};
}

/// Whether every expert has its quota and padding nothing.
void check_quotas(const std::vector<std::int32_t>& expert, const Segments& segments, Index E) {
    std::vector<Index> load(static_cast<std::size_t>(E), 0);
    Index N = 0;
    for (std::size_t t = 0; t < expert.size(); ++t) {
        if (segments.valid.values()[t] == 0) {
            CHECK(expert[t] == kUnused);
            continue;
        }
        REQUIRE(expert[t] >= 0);
        ++load.at(static_cast<std::size_t>(expert[t]));
        ++N;
    }
    for (Index e = 0; e < E; ++e) CHECK(load[static_cast<std::size_t>(e)] == N / E + (e < N % E ? 1 : 0));
}

template <class Real>
double sum_of_scores(const Tensor<Real>& score, const std::vector<std::int32_t>& expert) {
    double sum = 0;
    for (std::size_t t = 0; t < expert.size(); ++t) {
        sum += static_cast<double>(score.matrix()(static_cast<Index>(t), expert[t]));
    }
    return sum;
}

/// Of all assignments with those quotas, by trying them all.
double largest_sum(const Tensor<double>& score) {
    const Index T = score.extent(0), E = score.extent(1);
    std::vector<std::int32_t> expert;
    for (Index e = 0; e < E; ++e) {
        expert.insert(expert.end(), static_cast<std::size_t>(balanced_quota(T, E, e)),
                      static_cast<std::int32_t>(e));
    }
    double best = -INFINITY;
    do {
        best = std::max(best, sum_of_scores(score, expert));
    } while (std::next_permutation(expert.begin(), expert.end()));
    return best;
}

/// Few distinct values where `coarse`; skewed: everybody prefers expert 0, then 1, ...
template <class Real>
Tensor<Real> auction_scores(Index T, Index E, Index kind, std::uint64_t seed) {
    auto score = test::random_tensor<Real>({T, E}, seed);
    for (Index i = 0; i < T * E; ++i) {
        Real& value = score.data()[i];
        if (kind == 1) value = Real(std::round(static_cast<double>(value)));
        if (kind == 2) value = value * Real(0.1) - Real(i % E);
        if (kind == 3) value = Real(0);
    }
    return score;
}

/// With some padding.
void check_gpu(Index T, Index E, Index kind) {
    auto segments = Segments::of_lengths({T});
    for (Index t = 0; t < T; t += 5) segments.valid.data()[t] = t % 2 == 0;
    const auto score = auction_scores<float>(T, E, kind, 6);
    CAPTURE(T);
    CAPTURE(E);
    CAPTURE(kind);
    CHECK(assigned(test::cuda_context(), score, segments) == assigned(test::context(), score, segments));
}

}  // namespace

TEST_CASE_TEMPLATE("balanced_assignment: every expert gets N / E tokens, padding none", Real, float, double) {
    for (const Index T : {0, 1, 7, 64, 301}) {
        for (const Index E : {1, 2, 5, 8, 33}) {
            for (const int kind : {0, 1, 2, 3}) {
                auto segments = Segments::of_lengths({T / 3, T - T / 3});
                const auto score = auction_scores<Real>(T, E, kind, 5);
                check_quotas(assigned(test::context(), score, segments), segments, E);
                for (Index t = 0; t < T; t += 4) segments.valid.data()[t] = 0;
                check_quotas(assigned(test::context(), score, segments), segments, E);
            }
        }
    }
    test::add_reference_record(balanced_assignment_slot, number_of<Real>());
}

TEST_CASE("balanced_assignment: the sum is within N eps of the best of all assignments") {
    for (std::uint64_t seed = 0; seed < 40; ++seed) {
        for (const auto& [T, E] : {std::pair<Index, Index>{8, 2}, {8, 4}, {9, 3}, {7, 3}, {6, 6}}) {
            const auto score = auction_scores<double>(T, E, seed % 2 == 0 ? 0 : 2, seed);
            const auto [low, high] = std::minmax_element(score.values().begin(), score.values().end());
            const double room = static_cast<double>(T) * auction_step(*low, *high);
            const auto expert = assigned(test::context(), score, Segments::of_lengths({T}));
            CHECK(sum_of_scores(score, expert) >= largest_sum(score) - room);
        }
    }
}

TEST_CASE("balanced_assignment: where one assignment is far ahead, it is found") {
    // Token t belongs to expert t mod E by 10, beside noise.
    for (const Index E : {2, 3, 8}) {
        const Index T = 5 * E;
        auto score = test::random_tensor<double>({T, E}, 9);
        for (Index t = 0; t < T; ++t) score.matrix()(t, t % E) += 10;
        const auto expert = assigned(test::context(), score, Segments::of_lengths({T}));
        for (Index t = 0; t < T; ++t) CHECK(expert[static_cast<std::size_t>(t)] == t % E);
    }
}

TEST_CASE("balanced_assignment: equal scores fill the experts in order") {
    const auto score = Tensor<float>::zeros({6, 3});
    test::on_each_device([&](Context& context) {
        CHECK(assigned(context, score, Segments::of_lengths({6})) ==
              std::vector<std::int32_t>{0, 0, 1, 1, 2, 2});
    });
}

TEST_CASE("balanced_assignment: experts renumbered, the same tokens under new numbers") {
    const Index T = 60, E = 5;
    const auto score = auction_scores<double>(T, E, 0, 4);
    const std::vector<std::int32_t> order{3, 0, 4, 2, 1};
    auto other = Tensor<double>::zeros({T, E});
    for (Index t = 0; t < T; ++t) {
        for (Index e = 0; e < E; ++e)
            other.matrix()(t, order[static_cast<std::size_t>(e)]) = score.matrix()(t, e);
    }
    const auto before = assigned(test::context(), score, Segments::of_lengths({T}));
    const auto after = assigned(test::context(), other, Segments::of_lengths({T}));
    for (std::size_t t = 0; t < before.size(); ++t) {
        CHECK(after[t] == order[static_cast<std::size_t>(before[t])]);
    }
}

TEST_CASE("balanced_assignment: a GPU assigns as the CPU does, to the index") {
    if (!has_cuda()) return;
    using All = std::vector<Index>;
    const bool limited = test::rows_are_limited();
    for (const Index T : limited ? All{7, 64} : All{0, 1, 7, 33, 97, 256}) {
        for (const Index E : limited ? All{2, 40} : All{1, 2, 5, 8, 40}) {
            for (const Index kind : limited ? All{0, 3} : All{0, 1, 2, 3}) check_gpu(T, E, kind);
        }
    }
    test::add_reference_record(balanced_assignment_slot, Number::float32, Device::cuda);
    if (limited) return;
    check_gpu(200, 2, 3);  // more equal ones than are listed
    for (const Index T : {4096, 5000}) {
        for (const Index E : {3, 8, 64}) {
            for (const Index kind : {0, 2}) check_gpu(T, E, kind);
        }
    }
    check_gpu(8000, 64, 0);  // more than the shared memory of eight blocks
}

TEST_CASE(
    "balanced_assignment: a score that is not finite is an error that names its token, or is reported") {
    auto score = auction_scores<float>(5, 3, 0, 1);
    auto segments = Segments::of_lengths({5});
    for (const float bad :
         {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
        score.values()[3 * 3 + 2] = bad;
        segments.valid.data()[3] = 1;
        CHECK_THROWS_WITH_AS(assigned(test::context(), score, segments),
                             doctest::Contains("for token 3, column 2"), Error);
        if (test::device_reports()) {
            test::take_status();
            assigned(test::cuda_context(), score, segments);
            CHECK(test::take_status().not_finite == 1);
        }
        segments.valid.data()[3] = 0;  // nobody reads padding
        CHECK_NOTHROW(assigned(test::context(), score, segments));
    }
    CHECK_THROWS_AS(assigned(test::context(), score, Segments::of_lengths({4})), Error);
}
