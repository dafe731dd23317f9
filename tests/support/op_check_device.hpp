#pragma once
// The part of check_op that runs on Device::cuda: a GPU, or the emulator (tests/cuda_emulated).
//
// float: values and gradients against the double kernels of the CPU, error over the rms.
// bf16: the inputs are bf16; exact = the double kernels on them; reference = the same with the roundings that the op
// documents (by default: results once, and gradients of inputs that are bf16 at each write);
//     rms(ours - exact) <= 1.25 rms(reference - exact).
// All buffers hold NaN before; every run is repeated and must give the same bits.

#include <type_traits>

#include "support/op_check_basics.hpp"

namespace moegrad::test {

/// The default of check_op's last argument.
struct NoRoundings {};

namespace detail {

/// Results and gradients of one run, on the host in double.
struct OpRun {
    std::vector<Tensor<double>> outputs, gradients;
    std::vector<bool> written, rounded_output, rounded_gradient;
};

template <class Real>
Inputs<Real> inputs_on(Device device, const std::vector<Tensor<double>>& values) {
    std::vector<std::conditional_t<std::is_same_v<Real, bf16>, MixedInput, Var<Real>>> in;
    for (const auto& value : values) {
        const auto real = placed(convert_through_float<Real>(value), device);
        if constexpr (std::is_same_v<Real, bf16>) {
            in.emplace_back(real, placed(convert<float>(value), device));
        } else {
            const auto gradient = poisoned<Real>(value.shape(), device);
            in.emplace_back(real, std::make_shared<Gradient<Real>>(gradient));
        }
    }
    return in;
}

/// The projection of gradcheck, in bf16: every number type takes the same.
template <class T>
void seed_rounded(const std::vector<Var<T>>& outputs) {
    Index at = 0;
    for (const Var<T>& y : outputs) {
        const Index n = y.value().size();
        if (y.needs_gradient()) {
            const auto target = y.gradient()->target();
            auto seed = Tensor<T>::zeros(y.shape());
            const auto before = target.write == Write::accumulate ? host(target.tensor) : seed;
            for (Index i = 0; i < n; ++i) {
                const double old =
                    target.write == Write::accumulate ? static_cast<double>(Wide<T>(before.data()[i])) : 0;
                seed.data()[i] =
                    T(static_cast<Wide<T>>(old + round_to_bf16(moegrad::detail::projection(at + i))));
            }
            copy_values(seed, target.tensor);
        }
        at += n;
    }
}

/// `round`: inputs whose gradient is rounded at each use.
template <class Real, class Function>
OpRun run_op(Context& where, const Function& f, const std::vector<Tensor<double>>& inputs,
             const std::vector<bool>& round = {}) {
    OpRun run;
    Tape tape(where);
    Inputs<Real> in = inputs_on<Real>(where.device(), inputs);
    if constexpr (std::is_same_v<Real, double>) {
        in.at_each_use([&](std::size_t i, const Var<double>& x) {
            return i < round.size() && round[i] ? rounded_gradient(tape, x) : x;
        });
    }
    {
        const auto outputs = f(tape, in);
        for (const auto& y : outputs) run.outputs.push_back(to_double(host(y.value())));
        using Output = std::remove_cv_t<std::remove_pointer_t<decltype(outputs[0].value().data())>>;
        run.rounded_output.assign(outputs.size(), std::is_same_v<Output, bf16>);
        seed_rounded(outputs);
    }
    tape.backward();
    for (const auto& x : in.all()) {
        if constexpr (std::is_same_v<Real, bf16>) {
            run.gradients.push_back(x.gradient_sum());
            run.written.push_back(x.written());
            run.rounded_gradient.push_back(x.rounded());
        } else {
            run.gradients.push_back(to_double(host(x.gradient()->tensor())));
            run.written.push_back(x.gradient()->written());
            run.rounded_gradient.push_back(false);
        }
    }
    return run;
}

inline bool same_values(const std::vector<Tensor<double>>& a, const std::vector<Tensor<double>>& b) {
    for (std::size_t n = 0; n < a.size(); ++n) {
        const auto bytes = static_cast<std::size_t>(a[n].size()) * sizeof(double);
        if (bytes > 0 && std::memcmp(a[n].data(), b[n].data(), bytes) != 0) return false;
    }
    return a.size() == b.size();
}

inline double rms(const Tensor<double>& x) {
    double sum = 0;
    for (double value : x.values()) sum += value * value;
    return x.size() == 0 ? 0 : std::sqrt(sum / static_cast<double>(x.size()));
}
inline Tensor<double> difference(const Tensor<double>& a, const Tensor<double>& b) {
    auto d = Tensor<double>::zeros(a.shape());
    for (Index i = 0; i < a.size(); ++i) d.data()[i] = a.data()[i] - b.data()[i];
    return d;
}

/// Rows that no kernel writes by contract stay NaN: 0 in `tensor` where `want` has one.
inline Tensor<double> where_written(const Tensor<double>& tensor, const Tensor<double>& want) {
    auto kept = Tensor<double>::zeros(tensor.shape());
    for (Index i = 0; i < kept.size(); ++i)
        kept.data()[i] = std::isnan(want.data()[i]) ? 0 : tensor.data()[i];
    return kept;
}

/// Largest error over the rms, as a part of the bound.
inline double float_excess(const Tensor<double>& got, const Tensor<double>& want, double bound) {
    double worst = 0;
    const auto errors = difference(got, want);
    for (double e : errors.values()) worst = std::isnan(e) ? INFINITY : std::max(worst, std::abs(e));
    return worst == 0 ? 0 : worst / (bound * std::max(rms(want), 1e-30));
}

/// rms error as a part of what the reference's allows. Few values say little about an rms: there each may be rounded
/// once more.
inline double bf16_excess(const Tensor<double>& got, const Tensor<double>& exact,
                          const Tensor<double>& reference) {
    const double size = rms(exact), n = static_cast<double>(std::max<Index>(exact.size(), 1));
    const double chance = n < 500 ? size / 512 * std::sqrt(8 / n) : 0;
    const double allowed = 1.25 * rms(difference(reference, exact)) + chance + 2e-6 * size + 1e-30;
    const double error = rms(difference(got, exact));
    return std::isnan(error) ? INFINITY : error / allowed;
}

}  // namespace detail

template <class Real, class Function, class Rounded>
void check_type_on_cuda(const std::vector<const SlotNode*>& slots, const Function& f,
                        const Rounded& rounded_function, const std::vector<Tensor<double>>& values,
                        Index rows, double float_bound) {
    INFO("Device::cuda, ", std::string(name(number_of<Real>())));
    constexpr bool narrow = std::is_same_v<Real, bf16>;
    std::vector<Tensor<double>> inputs;
    for (const auto& value : values) inputs.push_back(to_double(convert_through_float<Real>(value)));

    const auto got = detail::run_op<Real>(cuda_context(), f, inputs);
    const auto again = detail::run_op<Real>(cuda_context(), f, inputs);
    CHECK_MESSAGE(detail::same_values(got.outputs, again.outputs), "two runs, other values");
    CHECK_MESSAGE(detail::same_values(got.gradients, again.gradients), "two runs, other gradients");
    const auto want = detail::run_op<double>(context(), f, inputs);
    auto reference = want;
    if constexpr (std::is_same_v<Rounded, NoRoundings>) {
        if (narrow) reference = detail::run_op<double>(context(), f, inputs, got.rounded_gradient);
    } else if constexpr (narrow) {
        reference = detail::run_op<double>(context(), rounded_function, inputs, got.rounded_gradient);
    }

    double worst = 0;
    const auto excess = [&](const Tensor<double>& ours, const Tensor<double>& exact,
                            const Tensor<double>& allowed, bool round, double factor) {
        const auto a = detail::where_written(ours, exact), b = detail::where_written(exact, exact);
        double e = 0;
        if constexpr (narrow) {
            const auto c = detail::where_written(allowed, exact);
            e = detail::bf16_excess(a, b, round ? rounded(c) : c);
        } else {
            e = detail::float_excess(a, b, factor * float_bound);
        }
        worst = std::max(worst, e);
        return e;
    };
    for (std::size_t i = 0; i < want.outputs.size(); ++i) {
        INFO("output ", i);
        CHECK(excess(got.outputs[i], want.outputs[i], reference.outputs[i], got.rounded_output[i], 1) <= 1);
    }
    for (std::size_t i = 0; i < want.gradients.size(); ++i) {
        INFO("gradient of input ", i);
        CHECK(got.written[i] == want.written[i]);
        if (!got.written[i] || !want.written[i]) continue;
        CHECK(excess(got.gradients[i], want.gradients[i], reference.gradients[i], got.rounded_gradient[i],
                     4) <= 1);
    }
    for (const SlotNode* slot : slots) add_record(*slot, Device::cuda, number_of<Real>(), rows, worst);
}

/// As far as the seats of all `slots` are filled.
template <class Function, class Rounded>
void check_on_cuda(const std::vector<const SlotNode*>& slots, const Function& f,
                   const Rounded& rounded_function, const std::vector<Tensor<double>>& inputs, Index rows,
                   double float_bound) {
    const auto filled = [&](Number number) {
        return has_cuda() && std::all_of(slots.begin(), slots.end(), [&](const SlotNode* slot) {
                   return slot->filled(Device::cuda, number);
               });
    };
    if (filled(Number::float32))
        check_type_on_cuda<float>(slots, f, rounded_function, inputs, rows, float_bound);
    if constexpr (std::is_invocable_v<Function, Tape&, const Inputs<bf16>&>) {
        if (filled(Number::bfloat16))
            check_type_on_cuda<bf16>(slots, f, rounded_function, inputs, rows, float_bound);
    }
}

}  // namespace moegrad::test
