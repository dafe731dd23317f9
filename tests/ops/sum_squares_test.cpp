#include <moegrad/ops/sum_squares.hpp>

#include "support/bits.hpp"

using namespace moegrad;

namespace {

template <class Real>
using Uses = std::vector<Tensor<Real>>;

template <class Real>
Uses<Real> on(Context& context, const Uses<Real>& g) {
    Uses<Real> there;
    for (const auto& t : g) there.push_back(test::tensor_on(context, t));
    return there;
}
/// Views: the tensors must stay.
template <class Real>
GradientUses<Real> views(const Uses<Real>& g) {
    return g.size() == 1 ? GradientUses<Real>{g[0]} : GradientUses<Real>{g[0], g[1]};
}

template <class Real>
double sum_of_squares(Context& context, const Uses<Real>& g) {
    const auto there = on(context, g);
    const auto sum = Tensor<double>::zeros({1}, context.device());
    sum_squares(context.stream(), views(there), sum.template view<1>());
    return host(sum).data()[0];
}
template <class Real>
double sum_of_squares(int threads, const Uses<Real>& g) {
    Context own({.device = Device::cpu, .threads = threads, .fill = Arena::Fill::poison});
    return sum_of_squares(own, g);
}

template <class Real>
Index bad_element(Context& context, const Uses<Real>& g) {
    const auto there = on(context, g);
    const auto first = Tensor<Index>::zeros({1}, context.device());
    first_non_finite(context.stream(), views(there), first.template view<1>());
    return host(first).data()[0];
}

template <class Real>
void check_against_long_double(Context& context) {
    for (Index n : {Index{0}, Index{1}, Index{7}, kSumBlock, kSumBlock + 1, Index{100003}}) {
        const auto a = test::random_tensor<Real>({n}, 1), b = test::random_tensor<Real>({n}, 2);
        long double one = 0, two = 0;
        for (std::size_t i = 0; i < a.values().size(); ++i) {
            const long double value = static_cast<long double>(a.values()[i]);
            const long double both = static_cast<long double>(a.values()[i] + b.values()[i]);
            one += value * value;
            two += both * both;
        }
        CHECK(sum_of_squares<Real>(context, {a}) == doctest::Approx(static_cast<double>(one)).epsilon(1e-13));
        CHECK(sum_of_squares<Real>(context, {a, b}) ==
              doctest::Approx(static_cast<double>(two)).epsilon(1e-13));
        CHECK(bad_element<Real>(context, {a, b}) == -1);
    }
    test::add_reference_record(sum_squares_slot, number_of<Real>(), context.device());
}

}  // namespace

TEST_CASE("sum_squares: against long double, one and two uses") {
    check_against_long_double<double>(test::context());
    test::on_each_device([](Context& context) { check_against_long_double<float>(context); });
}

TEST_CASE("sum_squares: a list of weights gives the bits of each alone, wherever it begins") {
    test::on_each_device([](Context& context) {
        std::vector<AdamWItem<float>> items;
        std::vector<Tensor<float>> kept;
        std::vector<double> want;
        for (const Index n : {Index{5}, Index{0}, 3 * kSumBlock + 1, kSumBlock}) {
            const auto g = test::tensor_on(
                context, test::random_tensor<float>({n + 1}, 7 + static_cast<std::uint64_t>(n)));
            const auto rest = Tensor<float>::zeros({n}, context.device());
            items.emplace_back(GradientUses<float>{g.rows(1, n + 1)}, rest, rest,
                               rest);  // not aligned to 16 bytes
            kept.insert(kept.end(), {g, rest});
            auto aligned = Tensor<float>::zeros({n}, context.device());
            copy_values(g.rows(1, n + 1), aligned);
            want.push_back(sum_of_squares<float>(context, {aligned}));
        }
        const auto sum = Tensor<double>::zeros({4}, context.device());
        sum_squares_all(context.stream(), AdamWList<float>(items, context.device()), sum.view<1>());
        const auto got = host(sum);
        for (std::size_t i = 0; i < 4; ++i) CHECK(got.values()[i] == want[i]);
    });
}

TEST_CASE("sum_squares: the same bits for any number of threads") {
    const auto g = test::random_tensor<float>({100003}, 3);
    const double want = sum_of_squares<float>(1, {g});
    for (int threads = 2; threads <= 4; ++threads) CHECK(sum_of_squares<float>(threads, {g}) == want);
}

TEST_CASE("sum_squares: squares beyond float do not overflow") {
    const auto g = Tensor<float>::from({2}, {3e38f, -1e38f});
    test::on_each_device(
        [&](Context& context) { CHECK(sum_of_squares<float>(context, {g}) == doctest::Approx(1e77)); });
}

TEST_CASE("sum_squares: the first non-finite element is found, also when only the sum of the uses is") {
    test::on_each_device([](Context& context) {
        const auto g = test::random_tensor<float>({3 * kSumBlock}, 3);
        g.data()[2 * kSumBlock + 5] = INFINITY;
        CHECK(bad_element<float>(context, {g}) == 2 * kSumBlock + 5);
        g.data()[kSumBlock] = -NAN;
        g.data()[kSumBlock + 1] = NAN;
        CHECK(bad_element<float>(context, {g}) == kSumBlock);
        const auto large = Tensor<float>::from({2}, {0, 3e38f});
        CHECK(bad_element<float>(context, {large}) == -1);
        CHECK(bad_element<float>(context, {large, large}) == 1);
        CHECK(std::isnan(sum_of_squares<float>(context, {g})));
    });
}
