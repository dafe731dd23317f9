#include <moegrad/core/transfer.hpp>
#include <moegrad/ops/total.hpp>

#include "support/op_check.hpp"

using namespace moegrad;

namespace {

constexpr Index kSizes[] = {0, 1, 7, 1023, 1025, kTotalBlock, kTotalBlock + 1, 100003};

/// `before` + the sum, or the sum alone.
template <class Real>
double total_of(Context& context, const Tensor<Real>& values, Write write, double before = 0) {
    const auto sum = test::tensor_on(context, Tensor<double>::from({1}, {before}));
    total<Real>(context.stream(), test::tensor_on(context, values).flat(), sum.template view<1>(), write);
    return host(sum).data()[0];
}

template <class Real>
void check_against_long_double(Context& context) {
    for (Index n : kSizes) {
        CAPTURE(n);
        const auto values = test::random_tensor<Real>({n}, 1, 1, 0.1);
        long double want = 0;
        for (Real value : values.values()) want += static_cast<long double>(value);
        const double got = total_of(context, values, Write::overwrite, NAN);
        CHECK(got == doctest::Approx(static_cast<double>(want)).epsilon(1e-12));
        CHECK(total_of(context, values, Write::overwrite, 3) == got);
        CHECK(total_of(context, values, Write::accumulate, 64) == doctest::Approx(64 + got).epsilon(1e-12));
    }
    test::add_reference_record(total_slot, number_of<Real>(), context.device());
}

}  // namespace

TEST_CASE("total: against long double") {
    check_against_long_double<double>(test::context());
    test::on_each_device([](Context& context) { check_against_long_double<float>(context); });
}

TEST_CASE("total: on the CPU the bits do not depend on the cut into calls") {
    const auto values = test::random_tensor<float>({1000}, 2);
    const double want = total_of(test::context(), values, Write::overwrite);
    double sum = 0;
    for (Index begin = 0; begin < 1000; begin += 125) {
        sum = total_of(test::context(), values.rows(begin, begin + 125), Write::accumulate, sum);
    }
    CHECK(sum == want);
}

TEST_CASE("total: a value that is no number makes the sum none") {
    test::on_each_device([](Context& context) {
        auto values = test::random_tensor<float>({5000}, 3);
        values.data()[4999] = NAN;
        CHECK(std::isnan(total_of(context, values, Write::overwrite)));
    });
}

TEST_CASE("total: values that are not valid enter no sum, whatever they are") {
    test::on_each_device([](Context& context) {
        const auto values = test::random_tensor<float>({kTotalBlock + 100}, 4);
        auto valid = Tensor<std::uint8_t>::zeros({kTotalBlock + 100});
        auto kept = Tensor<float>::zeros({kTotalBlock + 100});
        for (Index i = 0; i < valid.size(); ++i) {
            valid.data()[i] = i % 3 != 0;
            kept.data()[i] = i % 3 != 0 ? values.data()[i] : 0;
            if (i % 3 == 0) values.data()[i] = NAN;
        }
        const auto sum = test::tensor_on(context, Tensor<double>::from({1}, {64}));
        total<float>(context.stream(), test::tensor_on(context, values).flat(), sum.view<1>(),
                     Write::accumulate, test::tensor_on(context, valid).flat());
        CHECK(host(sum).data()[0] == total_of(context, kept, Write::accumulate, 64));
    });
}

TEST_CASE("total: room for more than one sum is an error") {
    const auto room = Tensor<double>::zeros({2});
    CHECK_THROWS_AS(total<float>(test::context().stream(), Tensor<float>::zeros({3}).flat(), room.view<1>(),
                                 Write::overwrite),
                    Error);
}
