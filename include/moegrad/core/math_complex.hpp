#pragma once
// The functions of core/math.hpp for std::complex<double>, by analytic continuation, so that kernels can be
// run on x + i h and give their derivative as imag / h (complex step, Squire & Trapp 1998). For checks only:
// these use the standard library and promise accuracy, not bits.
// Branches in a kernel (a maximum, a clamp) must look at real_part(x) alone.

#include <moegrad/core/math.hpp>

#include <complex>

namespace moegrad {

using Complex = std::complex<double>;

constexpr float real_part(float x) {
    return x;
}
constexpr double real_part(double x) {
    return x;
}
inline double real_part(const Complex& x) {
    return x.real();
}

inline Complex exp(const Complex& x) {
    SinCos<double> turn = sincos(x.imag());
    double radius = exp(x.real());
    return {radius * turn.cos, radius * turn.sin};
}
inline Complex log(const Complex& x) {
    return std::log(x);
}
inline Complex sqrt(const Complex& x) {
    return std::sqrt(x);
}
inline Complex sin(const Complex& x) {
    return std::sin(x);
}
inline Complex cos(const Complex& x) {
    return std::cos(x);
}
inline Complex tanh(const Complex& x) {
    return std::tanh(x);
}
inline Complex pow(const Complex& x, const Complex& y) {
    return exp(y * log(x));
}

/// log(1 + x): with small x the imaginary part must not be lost in the sum, so it enters through log1p of the
/// parts.
inline Complex log1p(const Complex& x) {
    double a = x.real(), b = x.imag();
    return {0.5 * log1p(a * (2.0 + a) + b * b), std::atan2(b, 1.0 + a)};
}
/// e^x - 1 = expm1(a) cos b - 2 sin^2(b / 2) + i e^a sin b.
inline Complex expm1(const Complex& x) {
    double a = x.real(), b = x.imag();
    double half = sin(0.5 * b);
    return {expm1(a) * cos(b) - 2.0 * half * half, exp(a) * sin(b)};
}
inline Complex sigmoid(const Complex& x) {
    if (x.real() < 0.0) {
        Complex z = exp(x);
        return z / (1.0 + z);
    }
    return 1.0 / (1.0 + exp(-x));
}
inline Complex silu(const Complex& x) {
    return x * sigmoid(x);
}
inline Complex softplus(const Complex& x) {
    return x.real() > 0.0 ? x + log1p(exp(-x)) : log1p(exp(x));
}

}  // namespace moegrad
