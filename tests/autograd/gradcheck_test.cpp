#include <moegrad/autograd/gradcheck.hpp>

#include "support/op_check.hpp"

using namespace moegrad;
using test::random_tensor;

namespace {

/// y = x^2 with a backward that may be wrong on purpose.
enum class Fault { none, half, one_element, not_a_number, never_written, forgets_to_add };

Var<double> square(Tape& tape, const Var<double>& x, Fault fault = Fault::none) {
    auto y = tape.output<double>(x.shape(), x.needs_gradient());
    for (Index i = 0; i < x.value().size(); ++i)
        y.value().data()[i] = x.value().data()[i] * x.value().data()[i];
    if (!y.needs_gradient()) return y;
    tape.record(y.gradient(), [fault, value = x.value(), dy = y.gradient(), into = x.gradient()] {
        if (fault == Fault::never_written) return;
        const auto dx = into->target();
        for (Index i = 0; i < value.size(); ++i) {
            double slope = 2 * value.data()[i];
            if (fault == Fault::half) slope /= 2;
            if (fault == Fault::one_element && i == value.size() - 1) slope *= 1 + 1e-5;
            if (fault == Fault::not_a_number && i == 1) slope = NAN;
            double& place = dx.tensor.data()[i];
            const bool adds = dx.write == Write::accumulate && fault != Fault::forgets_to_add;
            place = dy->tensor().data()[i] * slope + (adds ? place : 0);
        }
    });
    return y;
}

GradcheckReport check(Fault fault) {
    return gradcheck(test::context(),
                     [fault](Tape& tape, const std::vector<Var<double>>& in) {
                         return std::vector{square(tape, in[0], fault)};
                     },
                     {random_tensor({2, 3}, 1)});
}

}  // namespace

TEST_CASE("gradcheck: a right gradient passes with room to spare") {
    const auto report = check(Fault::none);
    CHECK(report.passed);
    CHECK(report.worst < 0.01);
}

TEST_CASE("gradcheck: a wrong gradient is caught, and the element is named") {
    CHECK_FALSE(check(Fault::half).passed);
    const auto one = check(Fault::one_element);
    CHECK_FALSE(one.passed);
    CHECK(one.where.find("input 0 [2, 3] element 5") == 0);
    CHECK_FALSE(check(Fault::never_written).passed);
    const auto bad = check(Fault::not_a_number);
    CHECK_FALSE(bad.passed);
    CHECK(std::isinf(bad.worst));
    CHECK(bad.where.find("element 1:") != std::string::npos);
}

TEST_CASE("gradcheck: an op that overwrites where it should add is caught when its input is used twice") {
    const auto twice = [](Fault fault) {
        return gradcheck(test::context(),
                         [fault](Tape& tape, const std::vector<Var<double>>& in) {
                             return std::vector{square(tape, in[0], fault), square(tape, in[0], fault)};
                         },
                         {random_tensor({3}, 2)});
    };
    CHECK(twice(Fault::none).passed);
    CHECK_FALSE(twice(Fault::forgets_to_add).passed);
    CHECK(check(Fault::forgets_to_add).passed);  // one use cannot show it
}

TEST_CASE("gradcheck: every input is looked at, and all come back as they were") {
    const std::vector<Tensor<double>> inputs{random_tensor({2}, 1), random_tensor({4}, 2)};
    const auto copy = Tensor<double>::from({4}, inputs[1].values());
    const auto report = gradcheck(
        test::context(),
        [](Tape& tape, const std::vector<Var<double>>& in) {
            return std::vector{square(tape, in[0]), square(tape, in[1], Fault::half)};
        },
        inputs);
    CHECK_FALSE(report.passed);
    CHECK(report.where.find("input 1") == 0);
    for (std::size_t i = 0; i < 4; ++i) CHECK(inputs[1].values()[i] == copy.values()[i]);
}

TEST_CASE("gradcheck: no elements, no complaint") {
    const auto report = gradcheck(
        test::context(),
        [](Tape& tape, const std::vector<Var<double>>& in) { return std::vector{square(tape, in[0])}; },
        {Tensor<double>::zeros({0, 3})});
    CHECK(report.passed);
    CHECK(report.worst == 0);
}

TEST_CASE("gradcheck: the projection weighs every output differently and never with zero") {
    for (Index i = 0; i < 1000; ++i) {
        CHECK(detail::projection(i) > 0.49);
        CHECK(detail::projection(i) < 1.51);
        CHECK(detail::projection(i) != detail::projection(i + 1));
    }
}
