#pragma once
// log sum_e exp(z[e]) of a row, with the largest real part taken out; the sum in the order of sum_of.

#include <limits>

#include <moegrad/core/math_complex.hpp>
#include <moegrad/cpu/support/rows.hpp>

namespace moegrad::cpu {

template <class Real>
Real log_sum_exp(Index E, const Real* z) {
    using Value = decltype(real_part(*z));
    Value largest = -std::numeric_limits<Value>::infinity();
    for (Index e = 0; e < E; ++e) largest = std::max(largest, real_part(z[e]));
    const Real shift = Real(largest);
    return shift + moegrad::log(sum_of<Real>(E, [&](Index e) { return moegrad::exp(z[e] - shift); }));
}

}  // namespace moegrad::cpu
