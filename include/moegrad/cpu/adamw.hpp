#pragma once
// CPU kernel of ops/adamw.hpp. Elements are independent; the factors of the step are made once, in double.

#include <moegrad/cpu/support/rows.hpp>
#include <moegrad/cpu/support/seats.hpp>
#include <moegrad/ops/adamw.hpp>

#include <cmath>

namespace moegrad::cpu::adamw {
namespace {

/// x^n by squaring; underflows to 0 for large n.
inline double power(double x, std::uint64_t n) {
    double result = 1;
    for (; n > 0; n >>= 1, x *= x) {
        if (n & 1) result *= x;
    }
    return result;
}

template <class Real>
void update(Stream stream, const GradientUses<Real>& g, View<Real, 1> weight, View<Real, 1> first,
            View<Real, 1> second, const AdamWOptions& options) {
    const StepScalars& scalars = stream.scalars();
    const double rate = scalars.learning_rate * options.rate_ratio;
    const Real decay = Real(1 - rate * options.weight_decay);
    const Real new_first = Real(1 - options.beta1);
    const Real old_second = Real(options.beta2), new_second = Real(1 - options.beta2);
    const Real step = Real(rate / (1 - power(options.beta1, scalars.step + 1)));
    const Real root_correction = Real(std::sqrt(1 - power(options.beta2, scalars.step + 1)));
    const Real epsilon = Real(options.epsilon), clip = Real(scalars.clip_scale);
    const Index block = 4096;
    for_rows(stream, (g.size + block - 1) / block, block, [&](Index b) {
        const Index end = std::min(g.size, (b + 1) * block);
        for (Index i = b * block; i < end; ++i) {
            const Real gradient = g(i) * clip;
            const Real m = first(i) + new_first * (gradient - first(i));
            const Real v = old_second * second(i) + new_second * gradient * gradient;
            first(i) = m;
            second(i) = v;
            weight(i) = weight(i) * decay - step * (m / (std::sqrt(v) / root_correction + epsilon));
        }
    });
}

template <class Real>
constexpr AdamWKernels<Real> kernels{update<Real>};

}  // namespace
}  // namespace moegrad::cpu::adamw

MOEGRAD_CPU_SEATS(adamw)
