#pragma once
// Elementary functions with the same bits on every CPU and compiler: exp, expm1, log, log1p, sigmoid, silu,
// softplus, tanh, sqrt, pow, sin, cos, sincos for float and double. For std::complex<double>:
// core/math_complex.hpp. Call them qualified (moegrad::exp) outside the namespace: the C library's names live
// in the global one.

#include <moegrad/core/math_exponential.hpp>
#include <moegrad/core/math_pow.hpp>
#include <moegrad/core/math_trigonometric.hpp>
