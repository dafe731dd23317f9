#pragma once
// CPU kernels of ops/prior_kl.hpp. Rows are independent; sums in the order of sum_of.

#include <moegrad/cpu/support/log_sum_exp.hpp>
#include <moegrad/cpu/support/seats.hpp>
#include <moegrad/ops/prior_kl.hpp>

namespace moegrad::cpu::prior_kl {
namespace {

/// exp(log_p), held in the bounds; its logarithm.
template <class Real>
Real bounded(Real log_p, Real& log_bounded) {
    const Real p = moegrad::exp(log_p);
    const double low = kPriorBound, high = 1 - kPriorBound;
    log_bounded = real_part(p) < low    ? moegrad::log(Real(low))
                  : real_part(p) > high ? moegrad::log(Real(high))
                                        : log_p;
    return real_part(p) < low ? Real(low) : real_part(p) > high ? Real(high) : p;
}

template <class Real>
void forward(Stream stream, View<const Real, 2> z, View<const Real, 2> label,
             View<const std::uint8_t, 1> valid, View<Real, 1> value, View<Real, 1> lse) {
    const Index E = z.extent(1);
    for_rows(stream, z.extent(0), 24 * E, [&](Index t) {
        value(t) = lse(t) = Real(0);
        if (!is_valid(valid, t)) return;
        lse(t) = log_sum_exp(E, z.row(t));
        const Real other = log_sum_exp(E, label.row(t));
        value(t) = sum_of<Real>(E, [&](Index e) {
            Real log_p, log_q;
            const Real p = bounded(z(t, e) - lse(t), log_p);
            bounded(label(t, e) - other, log_q);
            return p * (log_p - log_q);
        });
    });
}

template <class Real>
void backward(Stream stream, View<const Real, 2> z, View<const Real, 2> label,
              View<const std::uint8_t, 1> valid, View<const Real, 1> value, View<const Real, 1> lse,
              View<const Real, 1> dvalue, View<Real, 2> dz, Write write) {
    const Index E = z.extent(1);
    for_rows(stream, z.extent(0), 24 * E, [&](Index t) {
        const bool in_loss = is_valid(valid, t);
        const Real other = in_loss ? log_sum_exp(E, label.row(t)) : Real(0);
        for (Index e = 0; e < E; ++e) {
            Real log_p{}, log_q{}, p{};
            if (in_loss) {
                p = bounded(z(t, e) - lse(t), log_p);
                bounded(label(t, e) - other, log_q);
            }
            put(dz(t, e), in_loss ? dvalue(t) * p * (log_p - log_q - value(t)) : Real(0), write);
        }
    });
}

template <class Real>
constexpr PriorKlKernels<Real> kernels{forward<Real>, backward<Real>};

}  // namespace
}  // namespace moegrad::cpu::prior_kl

MOEGRAD_CPU_SEATS(prior_kl)
