#pragma once
// check_op: the one proof that every op passes.
//
//   check_op({&rms_norm_slot}, [](Index T) { return std::vector{Shape{T, 5}, Shape{5}}; },
//            []<class Real>(Tape& tape, const std::vector<Var<Real>>& in) {
//                return std::vector{rms_norm(tape, in[0], in[1], 1e-5)};
//            });
//
// For 0, 1 and 7 rows it gradchecks in double and compares the float kernels with the double ones, values and
// gradients, with step memory poisoned. What passed is recorded; the slot walk fails on any seat without a record.

#include <doctest/doctest.h>

#include <cmath>
#include <complex>
#include <map>
#include <set>
#include <string>
#include <vector>

#include <moegrad/autograd/gradcheck.hpp>
#include <moegrad/core/philox.hpp>
#include <moegrad/core/slot.hpp>

namespace moegrad::test {

/// Row counts that were proved, by slot name and number type.
using Records = std::map<std::pair<std::string, Number>, std::set<Index>>;
inline Records& records() {
    static Records all;
    return all;
}
inline void add_record(const SlotNode& slot, Number number, Index rows) {
    records()[{slot.name(), number}].insert(rows);
}
/// For Proof::reference slots: call it where the agreement with the reference was asserted, for each type.
inline void add_reference_record(const SlotNode& slot, Number number) {
    for (Index rows : {Index{0}, Index{1}, Index{7}}) add_record(slot, number, rows);
}

inline Context& context() {
    static Context shared({.device = Device::cpu, .threads = 2, .fill = Arena::Fill::poison});
    return shared;
}

/// Standard normal values, the same for every run and type.
template <class Real = double>
Tensor<Real> random_tensor(const Shape& shape, std::uint64_t seed, double scale = 1, double shift = 0) {
    Random random(seed);
    auto t = Tensor<Real>::zeros(shape);
    for (Real& value : t.values()) value = Real(shift + scale * random.next_normal());
    return t;
}

template <class To, class From>
Tensor<To> convert(const Tensor<From>& from) {
    auto t = Tensor<To>::zeros(from.shape());
    for (std::size_t i = 0; i < t.values().size(); ++i) t.values()[i] = To(from.values()[i]);
    return t;
}

/// Largest |a - b| over the largest |b|; 0 for empty tensors.
template <class A, class B>
double relative_error(const Tensor<A>& a, const Tensor<B>& b) {
    double worst = 0, scale = 0;
    for (std::size_t i = 0; i < b.values().size(); ++i) {
        const double difference =
            std::abs(static_cast<double>(a.values()[i]) - static_cast<double>(b.values()[i]));
        worst = std::isnan(difference) ? INFINITY : std::max(worst, difference);
        scale = std::max(scale, std::abs(static_cast<double>(b.values()[i])));
    }
    return worst == 0 ? 0 : worst / std::max(scale, 1e-30);
}

struct OpCheckOptions {
    std::vector<Index> rows = {0, 1, 7};
    double float_bound = 1e-5;       // relative to the largest double value
    std::vector<double> scale = {};  // of each input's normal values; 1 where absent
    std::vector<double> shift = {};
    std::uint64_t seed = 1;
    GradcheckOptions gradcheck = {};
};

namespace detail {
template <class Real, class Function>
void compare_with_double(const Function& f, const std::vector<Tensor<double>>& inputs, double bound) {
    const auto in_real = [&] {
        std::vector<Tensor<Real>> t;
        for (const auto& input : inputs) t.push_back(convert<Real>(input));
        return t;
    }();
    const auto values = [&]<class Number>(const std::vector<Tensor<Number>>& in) {
        Tape tape(context(), Mode::inference);
        std::vector<Var<Number>> variables(in.begin(), in.end());
        return f.template operator()<Number>(tape, variables);
    };
    // The double run sees the rounded inputs, so that only the kernels' own rounding is compared.
    std::vector<Tensor<double>> rounded;
    for (const auto& t : in_real) rounded.push_back(convert<double>(t));
    const auto got = values(in_real);
    const auto want = values(rounded);
    for (std::size_t i = 0; i < want.size(); ++i) {
        INFO("output ", i);
        CHECK(relative_error(got[i].value(), want[i].value()) <= bound);
    }
    const auto run = [&](Tape& tape, const auto& variables) { return f(tape, variables); };
    const auto got_gradients = projected_gradients<Real>(context(), run, in_real);
    const auto want_gradients = projected_gradients<double>(context(), run, rounded);
    for (std::size_t i = 0; i < want_gradients.size(); ++i) {
        INFO("gradient of input ", i);
        CHECK(relative_error(got_gradients[i], want_gradients[i]) <= 4 * bound);
    }
}
}  // namespace detail

/// shapes(rows) -> the input shapes; f is a generic lambda over the number type.
template <class Shapes, class Function>
void check_op(const std::vector<const SlotNode*>& slots, const Shapes& shapes, const Function& f,
              const OpCheckOptions& options = {}) {
    for (Index rows : options.rows) {
        CAPTURE(rows);
        std::vector<Tensor<double>> inputs;
        for (const Shape& shape : shapes(rows)) {
            const std::size_t n = inputs.size();
            inputs.push_back(random_tensor(shape, options.seed + n,
                                           n < options.scale.size() ? options.scale[n] : 1,
                                           n < options.shift.size() ? options.shift[n] : 0));
        }
        const auto in_double = [&](Tape& tape, const std::vector<Var<double>>& in) { return f(tape, in); };
        const auto report = gradcheck(context(), in_double, inputs, options.gradcheck);
        INFO(report.where);
        CHECK(report.worst <= 1);
        detail::compare_with_double<float>(f, inputs, options.float_bound);
        for (const SlotNode* slot : slots) {
            add_record(*slot, Number::float64, rows);
            add_record(*slot, Number::float32, rows);
        }
    }
}

/// For analytic ops: d/dx by the complex step, exact to rounding (no difference is taken). The complex seat must be
/// filled (MOEGRAD_TEST_COMPLEX_SEAT).
template <class Function>
void check_complex_step(const Function& f, const std::vector<Tensor<double>>& inputs, double bound = 1e-12) {
    using Complex = std::complex<double>;
    const auto run = [&](Tape& tape, const auto& variables) { return f(tape, variables); };
    const auto analytic = projected_gradients<double>(context(), run, inputs);
    std::vector<Tensor<Complex>> in;
    for (const auto& input : inputs) in.push_back(convert<Complex>(input));
    for (std::size_t n = 0; n < in.size(); ++n) {
        auto numeric = Tensor<double>::zeros(in[n].shape());
        for (std::size_t i = 0; i < in[n].values().size(); ++i) {
            const Complex kept = in[n].values()[i];
            in[n].values()[i] = kept + Complex(0, 1e-30);
            Tape tape(context(), Mode::inference);
            std::vector<Var<Complex>> variables(in.begin(), in.end());
            numeric.values()[i] = moegrad::detail::project<Complex>(f(tape, variables)).imag() / 1e-30;
            in[n].values()[i] = kept;
        }
        INFO("input ", n);
        CHECK(relative_error(analytic[n], numeric) <= bound);
    }
}

}  // namespace moegrad::test

/// Fills the complex seat of an op for check_complex_step; needs <moegrad/cpu/op.hpp> and <moegrad/core/math_complex.hpp>.
#define MOEGRAD_TEST_COMPLEX_SEAT(op)                                                                     \
    [[maybe_unused]] static const bool op##_complex_seat = moegrad::op##_slot.fill<std::complex<double>>( \
        moegrad::Device::cpu, moegrad::cpu::op::kernels<std::complex<double>>)
