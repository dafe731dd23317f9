#pragma once
// CPU kernels of ops/uncertain_tokens.hpp. Segments are independent but for the quantile, which is one of the values of h
// whatever order they are looked at in.

#include <limits>
#include <vector>

#include <moegrad/cpu/support/best_columns.hpp>
#include <moegrad/cpu/support/rows.hpp>
#include <moegrad/cpu/support/seats.hpp>
#include <moegrad/ops/uncertain_tokens.hpp>

namespace moegrad::cpu::uncertain_tokens {
namespace {

template <class Real>
double limit_of(View<const Real, 1> h, View<const std::uint8_t, 1> valid, const UncertainOptions& options) {
    if (!options.by_quantile()) return options.threshold;
    std::vector<double> values;
    for (Index t = 0; t < h.size(); ++t) {
        if (valid(t) != 0) values.push_back(static_cast<double>(h(t)));
    }
    if (values.empty()) return std::numeric_limits<double>::infinity();
    const auto at = values.begin() + options.rank(static_cast<Index>(values.size()));
    std::nth_element(values.begin(), at, values.end());
    return *at;
}

template <class Real>
void decide(Stream stream, View<const Real, 1> h, View<const std::uint8_t, 1> valid,
            View<const std::int32_t, 1> begin, View<double, 1>, View<std::int32_t, 1> flag,
            UncertainOptions options) {
    for_rows(stream, h.size(), 1, [&](Index t) {
        if (valid(t) != 0) require_numbers("uncertain_tokens", h.data + t, 1, t);
    });
    const double limit = limit_of(h, valid, options);
    const Index S = begin.size() - 1;
    for_rows(stream, S, h.size() / std::max<Index>(S, 1), [&](Index s) {
        Index left = options.slots < 0 ? h.size() : options.slots;
        for (Index t = begin(s); t < begin(s + 1); ++t) {
            const bool over = valid(t) != 0 && static_cast<double>(h(t)) >= limit && left > 0;
            left -= over;
            flag(t) = over;
        }
    });
}

template <class Real>
void spread(Stream stream, View<const std::int32_t, 1> flag, View<Real, 1> score, View<Real, 2> branch) {
    for_rows(stream, flag.size(), 4, [&](Index t) {
        score(t) = Real(flag(t));
        branch(t, 0) = Real(1 - flag(t));
        branch(t, 1) = Real(flag(t));
    });
}

template <class Real>
constexpr UncertainTokensKernels<Real> kernels{decide<Real>, spread<Real>};

}  // namespace
}  // namespace moegrad::cpu::uncertain_tokens

MOEGRAD_CPU_SEATS(uncertain_tokens)
