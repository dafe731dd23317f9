#include <moegrad/ops/sum_squares.hpp>

#include "support/bits.hpp"

using namespace moegrad;

namespace {

template <class Real>
double sum_of_squares(int threads, const GradientUses<Real>& g) {
    Context own({.device = Device::cpu, .threads = threads, .fill = Arena::Fill::poison});
    double sum = NAN;
    sum_squares(own.stream(), g, View<double, 1>(&sum, {1}));
    return sum;
}

template <class Real>
Index bad_element(const GradientUses<Real>& g) {
    Context own({.device = Device::cpu, .threads = 2, .fill = Arena::Fill::poison});
    Index first = -7;
    first_non_finite(own.stream(), g, View<Index, 1>(&first, {1}));
    return first;
}

template <class Real>
void check_against_long_double() {
    for (Index n : {Index{0}, Index{1}, Index{7}, kSumBlock, kSumBlock + 1, Index{100003}}) {
        const auto a = test::random_tensor<Real>({n}, 1), b = test::random_tensor<Real>({n}, 2);
        long double one = 0, two = 0;
        for (std::size_t i = 0; i < a.values().size(); ++i) {
            const long double value = static_cast<long double>(a.values()[i]);
            const long double both = static_cast<long double>(a.values()[i] + b.values()[i]);
            one += value * value;
            two += both * both;
        }
        CHECK(sum_of_squares(2, GradientUses<Real>{a}) ==
              doctest::Approx(static_cast<double>(one)).epsilon(1e-13));
        CHECK(sum_of_squares(2, GradientUses<Real>{a, b}) ==
              doctest::Approx(static_cast<double>(two)).epsilon(1e-13));
        CHECK(bad_element(GradientUses<Real>{a, b}) == -1);
    }
    test::add_reference_record(sum_squares_slot, number_of<Real>());
}

}  // namespace

TEST_CASE("sum_squares: against long double, one and two uses") {
    check_against_long_double<double>();
    check_against_long_double<float>();
}

TEST_CASE("sum_squares: the same bits for any number of threads") {
    const auto g = test::random_tensor<float>({100003}, 3);
    const double want = sum_of_squares(1, GradientUses<float>{g});
    for (int threads = 2; threads <= 4; ++threads)
        CHECK(sum_of_squares(threads, GradientUses<float>{g}) == want);
}

TEST_CASE("sum_squares: squares beyond float do not overflow") {
    const auto g = Tensor<float>::from({2}, {3e38f, -1e38f});
    CHECK(sum_of_squares(1, GradientUses<float>{g}) == doctest::Approx(1e77));
}

TEST_CASE("sum_squares: the first non-finite element is found, also when only the sum of the uses is") {
    const auto g = test::random_tensor<float>({3 * kSumBlock}, 3);
    g.data()[2 * kSumBlock + 5] = INFINITY;
    CHECK(bad_element(GradientUses<float>{g}) == 2 * kSumBlock + 5);
    g.data()[kSumBlock] = -NAN;
    g.data()[kSumBlock + 1] = NAN;
    CHECK(bad_element(GradientUses<float>{g}) == kSumBlock);
    const auto large = Tensor<float>::from({2}, {0, 3e38f});
    CHECK(bad_element(GradientUses<float>{large}) == -1);
    CHECK(bad_element(GradientUses<float>{large, large}) == 1);
    CHECK(std::isnan(sum_of_squares(1, GradientUses<float>{g})));
}
