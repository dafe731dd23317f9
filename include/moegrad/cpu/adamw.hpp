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

/// The factors of one step, made in double.
template <class Real>
struct Factors {
    Real decay, step, first, old_second, new_second, root, epsilon, clip;

    Factors(const StepScalars& scalars, const AdamWOptions& o) {
        const double rate = scalars.learning_rate * o.rate_ratio;
        decay = Real(1 - rate * o.weight_decay);
        step = Real(rate / (1 - power(o.beta1, scalars.step + 1)));
        first = Real(1 - o.beta1);
        old_second = Real(o.beta2);
        new_second = Real(1 - o.beta2);
        root = Real(std::sqrt(1 - power(o.beta2, scalars.step + 1)));
        epsilon = Real(o.epsilon);
        clip = Real(scalars.clip_scale);
    }
};

/// `gradient` is the sum of the uses.
template <class Real>
void update_block(const Factors<Real> f, Index n, const Real* gradient, Real* weight, Real* first,
                  Real* second) {
    for (Index i = 0; i < n; ++i) {
        const Real g = gradient[i] * f.clip;
        const Real m = first[i] + f.first * (g - first[i]);
        const Real v = f.old_second * second[i] + f.new_second * g * g;
        first[i] = m;
        second[i] = v;
        weight[i] = weight[i] * f.decay - f.step * (m / (std::sqrt(v) / f.root + f.epsilon));
    }
}

template <class Real>
void update(Stream stream, const AdamWItem<Real>& item, AfterUpdate after) {
    if (stream.scalars().blocked) return;
    const Factors<Real> factors(stream.scalars(), item.options);
    const GradientUses<Real>& g = item.g;
    constexpr Index kBlock = 1024;
    for_rows(stream, (g.size + kBlock - 1) / kBlock, kBlock, [&](Index b) {
        const Index begin = b * kBlock, n = std::min(kBlock, g.size - begin);
        Real gradient[kBlock];
        std::copy_n(g.use[0].data + begin, n, gradient);
        for (int use = 1; use < g.count; ++use) {
            const Real* more = g.use[static_cast<std::size_t>(use)].data + begin;
            for (Index i = 0; i < n; ++i) gradient[i] += more[i];
        }
        update_block(factors, n, gradient, item.weight.data + begin, item.first.data + begin,
                     item.second.data + begin);
        for (int use = 0; use < g.count && after == AfterUpdate::zero_gradients; ++use) {
            std::fill_n(g.use[static_cast<std::size_t>(use)].data + begin, n, Real(0));
        }
        if (item.copy.data == nullptr) return;
        for (Index i = begin; i < begin + n; ++i)
            item.copy.data[i] = bf16(static_cast<float>(item.weight.data[i]));
    });
}

template <class Real>
void update_all(Stream stream, const AdamWTable<Real>& table, AfterUpdate after) {
    for (Index p = 0; p < table.item.extent(0); ++p) update(stream, table.item(p), after);
}

template <class Real>
constexpr AdamWKernels<Real> kernels{update<Real>, update_all<Real>};

}  // namespace
}  // namespace moegrad::cpu::adamw

MOEGRAD_CPU_SEATS(adamw)
