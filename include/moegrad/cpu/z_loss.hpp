#pragma once
// CPU kernels of ops/z_loss.hpp. Rows are independent; sums in the order of sum_of.

#include <moegrad/cpu/support/log_sum_exp.hpp>
#include <moegrad/cpu/support/seats.hpp>
#include <moegrad/ops/z_loss.hpp>

namespace moegrad::cpu::z_loss {
namespace {

template <class Real>
void forward(Stream stream, View<const Real, 2> z, View<const std::uint8_t, 1> valid, View<Real, 1> value,
             View<Real, 1> lse) {
    const Index E = z.extent(1);
    for_rows(stream, z.extent(0), 8 * E, [&](Index t) {
        lse(t) = is_valid(valid, t) ? log_sum_exp(E, z.row(t)) : Real(0);
        value(t) = lse(t) * lse(t);
    });
}

template <class Real>
void backward(Stream stream, View<const Real, 2> z, View<const std::uint8_t, 1> valid,
              View<const Real, 1> lse, View<const Real, 1> dvalue, View<Real, 2> dz, Write write) {
    const Index E = z.extent(1);
    for_rows(stream, z.extent(0), 8 * E, [&](Index t) {
        const bool in_loss = is_valid(valid, t);
        const Real factor = in_loss ? Real(2) * dvalue(t) * lse(t) : Real(0);
        for (Index e = 0; e < E; ++e) {
            put(dz(t, e), in_loss ? factor * moegrad::exp(z(t, e) - lse(t)) : Real(0), write);
        }
    });
}

template <class Real>
constexpr ZLossKernels<Real> kernels{forward<Real>, backward<Real>};

}  // namespace
}  // namespace moegrad::cpu::z_loss

MOEGRAD_CPU_SEATS(z_loss)
