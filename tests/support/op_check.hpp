#pragma once
// check_op: the one proof that every op passes.
//
//   check_op({&rms_norm_slot}, [](Index T) { return std::vector{Shape{T, 5}, Shape{5}}; },
//            []<class Real>(Tape& tape, const test::Inputs<Real>& in) {
//                return std::vector{rms_norm<Real>(tape, in[0], in[1], 1e-5)};
//            });
//
// For 0, 1 and 7 rows it gradchecks in double and compares the float kernels with the double ones, values and
// gradients, with step memory poisoned. Then float and bf16 on Device::cuda, as far as the seats are filled
// (op_check_device.hpp). What passed is recorded; the slot walk fails on any seat without a record.

#include <complex>
#include <vector>

#include "support/op_check_device.hpp"

namespace moegrad::test {

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
        return f(tape, Inputs<Number>(std::vector<Var<Number>>(in.begin(), in.end())));
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
    const auto run = [&]<class Number>(Tape& tape, const std::vector<Var<Number>>& in) {
        return f(tape, Inputs<Number>(in));
    };
    const auto got_gradients = projected_gradients<Real>(context(), run, in_real);
    const auto want_gradients = projected_gradients<double>(context(), run, rounded);
    for (std::size_t i = 0; i < want_gradients.size(); ++i) {
        INFO("gradient of input ", i);
        CHECK(relative_error(got_gradients[i], want_gradients[i]) <= 4 * bound);
    }
}
}  // namespace detail

namespace detail {
inline std::vector<Tensor<double>> random_inputs(const std::vector<Shape>& shapes,
                                                 const OpCheckOptions& options) {
    std::vector<Tensor<double>> inputs;
    for (const Shape& shape : shapes) {
        const std::size_t n = inputs.size();
        inputs.push_back(random_tensor(shape, options.seed + n,
                                       n < options.scale.size() ? options.scale[n] : 1,
                                       n < options.shift.size() ? options.shift[n] : 0));
    }
    return inputs;
}
}  // namespace detail

/// shapes(rows) -> the input shapes; f is a generic lambda over the number type. `rounded`: f in double with the
/// roundings that the op documents for bf16, where it rounds more than its results.
template <class Shapes, class Function, class Rounded = NoRoundings>
void check_op(const std::vector<const SlotNode*>& slots, const Shapes& shapes, const Function& f,
              const OpCheckOptions& options = {}, const Rounded& rounded = {}) {
    for (Index rows : options.rows) {
        CAPTURE(rows);
        const auto inputs = detail::random_inputs(shapes(rows), options);
        const auto in_double = [&](Tape& tape, const std::vector<Var<double>>& in) {
            return f(tape, Inputs<double>(in));
        };
        const auto report = gradcheck(context(), in_double, inputs, options.gradcheck);
        INFO(report.where);
        CHECK(report.worst <= 1);
        detail::compare_with_double<float>(f, inputs, options.float_bound);
        for (const SlotNode* slot : slots) {
            add_record(*slot, Device::cpu, Number::float64, rows);
            add_record(*slot, Device::cpu, Number::float32, rows);
        }
        check_on_cuda(slots, f, rounded, inputs, rows, options.float_bound);
    }
    for (Index rows : limited_rows(options.cuda_rows)) {
        CAPTURE(rows);
        check_on_cuda(slots, f, rounded, detail::random_inputs(shapes(rows), options), rows,
                      options.float_bound);
    }
}

/// For analytic ops: d/dx by the complex step, exact to rounding (no difference is taken). The complex seat must be
/// filled (MOEGRAD_TEST_COMPLEX_SEAT).
template <class Function>
void check_complex_step(const Function& f, const std::vector<Tensor<double>>& inputs, double bound = 1e-12) {
    using Complex = std::complex<double>;
    const auto run = [&]<class Number>(Tape& tape, const std::vector<Var<Number>>& variables) {
        return f(tape, Inputs<Number>(variables));
    };
    const auto analytic = projected_gradients<double>(context(), run, inputs);
    std::vector<Tensor<Complex>> in;
    for (const auto& input : inputs) in.push_back(convert<Complex>(input));
    for (std::size_t n = 0; n < in.size(); ++n) {
        auto numeric = Tensor<double>::zeros(in[n].shape());
        for (std::size_t i = 0; i < in[n].values().size(); ++i) {
            const Complex kept = in[n].values()[i];
            in[n].values()[i] = kept + Complex(0, 1e-30);
            Tape tape(context(), Mode::inference);
            const Inputs<Complex> variables(std::vector<Var<Complex>>(in.begin(), in.end()));
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
