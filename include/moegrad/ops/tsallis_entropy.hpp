#pragma once
// tsallis_entropy of a row, per token, with x = p + eps:
//     h[t] = s (1 - sum_e x[t,e]^q) / (q - 1)         q = 1: the limit, Shannon's  -s sum_e x log x  in nats
//     s    = 1 / H_max where normalised, else 1;      H_max = (1 - E^(1-q)) / (q - 1),  log E for q = 1
// backward:    dp = -dh s q x^(q-1) / (q - 1),        q = 1: -dh s (log x + 1)
// x = 0 adds nothing and gets no gradient. Normalised, a single column has h = 0: there is nothing to be uncertain of.
// 0 for padding, whose rows are not read. In double: 1 - sum loses digits that 1 / (q - 1) would show. A NaN stays one.
// With eps > 0 a one-hot row is slightly below 0 and a uniform one slightly below H_max: never take a logarithm of h.
// Saved: p [T, E].     Tsallis 1988; DynMoLE's implementation (q 1.1, eps 1e-5, normalised).

#include <type_traits>

#include <moegrad/autograd/tape.hpp>
#include <moegrad/core/math.hpp>
#include <moegrad/core/segments.hpp>
#include <moegrad/core/slot.hpp>

namespace moegrad {

struct TsallisOptions {
    double q = 1.1;
    double eps = 1e-5;
    bool normalize = true;

    /// s for rows of E columns.
    constexpr double scale(Index E) const {
        if (!normalize) return 1;
        if (E <= 1) return 0;
        const double log_columns = moegrad::log(static_cast<double>(E));
        return q == 1 ? 1 / log_columns : (q - 1) / (1 - moegrad::exp((1 - q) * log_columns));
    }
};

/// The parts of h that its kernels share. Number: double, or complex.
template <class Number>
struct TsallisTerms {
    double q, eps, scale;

    TsallisTerms(const TsallisOptions& options, Index E)
        : q(options.q), eps(options.eps), scale(options.scale(E)) {}

    /// What is summed over the columns.
    MOEGRAD_HD constexpr Number term(Number p) const {
        const Number x = p + eps;
        if (x == Number(0)) return Number(0);
        const Number logarithm = moegrad::log(x);
        return q == 1 ? x * logarithm : moegrad::exp(q * logarithm);
    }
    MOEGRAD_HD constexpr Number value(Number sum) const {
        return q == 1 ? -scale * sum : scale * (Number(1) - sum) / (q - 1);
    }
    /// dh / dp.
    MOEGRAD_HD constexpr Number slope(Number p) const {
        const Number x = p + eps;
        if (x == Number(0)) return Number(0);
        const Number logarithm = moegrad::log(x);
        return q == 1 ? -scale * (logarithm + Number(1))
                      : -scale * q / (q - 1) * moegrad::exp((q - 1) * logarithm);
    }
};

template <class Real>
struct TsallisEntropyKernels {
    /// valid: an empty view means that every token counts.
    void (*forward)(Stream, View<const Real, 2> p, View<const std::uint8_t, 1> valid, View<Real, 1> h,
                    TsallisOptions);
    void (*backward)(Stream, View<const Real, 2> p, View<const std::uint8_t, 1> valid, View<const Real, 1> dh,
                     View<Real, 2> dp, Write, TsallisOptions);
};

inline constinit KernelSlot<TsallisEntropyKernels> tsallis_entropy_slot{"tsallis_entropy"};

/// p [T, E], valid [T] as in Segments (not defined: all tokens count) -> [T].
template <class Real>
Var<Real> tsallis_entropy(Tape& tape, const Var<Real>& p, const Tensor<std::uint8_t>& valid,
                          const TsallisOptions& options) {
    if (p.shape().rank() != 2 || (valid.defined() && !(valid.shape() == Shape{p.extent(0)}))) {
        throw Error{ErrorCode::shape, "tsallis_entropy", "p [T, E] and valid [T]",
                    format("p {}, valid {}", p.shape().text(), valid.shape().text())};
    }
    if (!(options.q > 0 && options.q <= 2 && options.eps >= 0)) {
        throw Error{ErrorCode::value, "tsallis_entropy", "q in (0, 2] and eps from 0",
                    format("q {}, eps {}", options.q, options.eps)};
    }
    const auto& kernels = tsallis_entropy_slot.get<Real>(tape.device());
    auto h = tape.output<Real>({p.extent(0)}, p.needs_gradient());
    kernels.forward(tape.stream(), p.template view<2>(), view_or_none<1>(valid), h.value().template view<1>(),
                    options);
    if (!h.needs_gradient()) return h;
    tape.record(h.gradient(), [&kernels, stream = tape.stream(), p, valid, options, dh = h.gradient()] {
        auto target = p.gradient()->target();
        kernels.backward(stream, p.template view<2>(), view_or_none<1>(valid),
                         dh->tensor().template view<1>(), target.tensor.template view<2>(), target.write,
                         options);
    });
    return h;
}

}  // namespace moegrad
