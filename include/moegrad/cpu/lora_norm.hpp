#pragma once
// CPU kernels of ops/lora_norm.hpp. Rows of w are independent; sums in the order of sum_of.

#include <moegrad/core/math.hpp>
#include <moegrad/cpu/support/products.hpp>
#include <moegrad/cpu/support/rows.hpp>
#include <moegrad/cpu/support/seats.hpp>
#include <moegrad/ops/lora_norm.hpp>

namespace moegrad::cpu::lora_norm {
namespace {

template <class Real>
void norms(Stream stream, View<const Real, 2> w, View<const Real, 2> A, View<const Real, 2> B, double scale,
           LoraNormRoom<Real> room, View<Real, 1> n) {
    const Index D = w.extent(1), R = A.extent(0);
    const Real s = Real(scale);
    const View<Real, 2> p = room.p, g = room.g;
    multiply_rows(stream, w, A, p, Write::overwrite);
    multiply_rows(stream, A, A, g, Write::overwrite);
    for_rows(stream, w.extent(0), D + R * R, [&](Index o) {
        const Real *wo = w.row(o), *bo = B.row(o);
        const Real base = sum_of<Real>(D, [&](Index d) { return wo[d] * wo[d]; });
        const Real change = sum_of<Real>(R, [&](Index r) {
            const Real gram = sum_of<Real>(R, [&](Index q) { return g(r, q) * bo[q]; });
            return s * bo[r] * (Real(2) * p(o, r) + s * gram);
        });
        const Real square = base + change;
        n(o) = square < Real(0) ? Real(0) : moegrad::sqrt(square);
    });
}

template <class Real>
constexpr LoraNormKernels<Real> kernels{norms<Real>};

}  // namespace
}  // namespace moegrad::cpu::lora_norm

MOEGRAD_CPU_SEATS(lora_norm)
