#pragma once
// CPU kernels of ops/linear_cross_entropy.hpp. Logits are made for `logits.extent(0)` supervised rows at a
// time; a row's numbers and the order of the chains do not depend on that number.

#include <moegrad/core/math_complex.hpp>
#include <moegrad/cpu/support/products.hpp>
#include <moegrad/cpu/support/rows.hpp>
#include <moegrad/cpu/support/seats.hpp>
#include <moegrad/ops/linear_cross_entropy.hpp>

namespace moegrad::cpu::linear_cross_entropy {
namespace {

/// max and sum of exp(z - max) of one row of logits.
template <class Real>
struct RowSums {
    Real max, sum;
};
template <class Real>
RowSums<Real> row_sums(const Real* z, Index V) {
    Real max = z[0];
    for (Index v = 1; v < V; ++v) max = real_part(z[v]) > real_part(max) ? z[v] : max;
    return {max, sum_of<Real>(V, [&](Index v) { return moegrad::exp(z[v] - max); })};
}

/// z = factor (softmax(z) - onehot), in place.
template <class Real>
void to_gradient(Real* z, Index V, Index target, const RowSums<Real>& row, Real factor) {
    const Real p = moegrad::exp(z[target] - row.max) / row.sum;
    for (Index v = 0; v < V; ++v) z[v] = factor * (moegrad::exp(z[v] - row.max) / row.sum);
    z[target] = factor * (p - Real(1));
}

/// body(first, rows, logits of these rows) for every piece of the supervised rows.
template <class Real, class Body>
void for_pieces(Stream stream, View<const Real, 2> x, View<const Real, 2> w, View<const std::int32_t, 1> row,
                View<Real, 2> logits, Body&& body) {
    const Index n = row.extent(0);
    for (Index first = 0; first < n; first += logits.extent(0)) {
        const Index rows = std::min(logits.extent(0), n - first);
        const View<Real, 2> z(logits.data, {rows, logits.extent(1)}, logits.pitch);
        multiply_rows(stream, x, w, z, Write::overwrite, row.data + first);
        body(first, rows, z);
    }
}

template <class Real>
void forward(Stream stream, View<const Real, 2> x, View<const Real, 2> w, View<const std::int32_t, 1> target,
             View<const std::int32_t, 1> row, View<Wide<Real>, 2> logits, View<Wide<Real>, 1> nll,
             View<Real, 2> xhat) {
    const Index V = w.extent(0), D = w.extent(1);
    std::fill_n(nll.data, nll.extent(0), Real(0));
    for_pieces(stream, x, w, row, logits, [&](Index first, Index rows, View<Real, 2> z) {
        for_rows(stream, rows, 4 * V, [&](Index i) {
            const Index t = row(first + i);
            const RowSums<Real> sums = row_sums(z.row(i), V);
            nll(t) = moegrad::log(sums.sum) + (sums.max - z(i, target(t)));
            if (xhat.data) to_gradient(z.row(i), V, target(t), sums, Real(1));
        });
        if (!xhat.data) return;
        const View<Real, 2> out(xhat.row(first), {rows, D}, xhat.pitch);
        multiply_back<Real>(stream, z, w, out, Write::overwrite);
    });
}

template <class Real>
void backward_input(Stream stream, View<const std::int32_t, 1> row, View<const Wide<Real>, 1> d,
                    View<const Real, 2> xhat, View<Real, 2> dx, Write write) {
    const Index D = dx.extent(1);
    if (write == Write::overwrite) {
        for_rows(stream, dx.extent(0), D, [&](Index t) { std::fill_n(dx.row(t), D, Real(0)); });
    }
    for_rows(stream, row.extent(0), D, [&](Index i) {
        const Index t = row(i);
        for (Index c = 0; c < D; ++c) put(dx(t, c), d(t) * xhat(i, c), write);
    });
}

template <class Real>
void backward_weight(Stream stream, View<const Real, 2> x, View<const Real, 2> w,
                     View<const std::int32_t, 1> target, View<const std::int32_t, 1> row,
                     View<const Wide<Real>, 1> d, View<Wide<Real>, 2> logits, View<Real, 2> dw, Write write) {
    const Index V = w.extent(0);
    if (row.extent(0) == 0) multiply_weight<Real>(stream, logits, x, 0, dw, write);
    for_pieces(stream, x, w, row, logits, [&](Index first, Index rows, View<Real, 2> z) {
        for_rows(stream, rows, 4 * V, [&](Index i) {
            const Index t = row(first + i);
            to_gradient(z.row(i), V, target(t), row_sums(z.row(i), V), d(t));
        });
        multiply_weight<Real>(stream, z, x, rows, dw, first == 0 ? write : Write::accumulate, nullptr,
                              row.data + first);
    });
}

template <class Real>
constexpr LinearCrossEntropyKernels<Real> kernels{forward<Real>, backward_input<Real>, backward_weight<Real>};

}  // namespace
}  // namespace moegrad::cpu::linear_cross_entropy

MOEGRAD_CPU_SEATS(linear_cross_entropy)
