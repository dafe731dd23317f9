#pragma once
// CPU kernels of ops/linear_cross_entropy.hpp. Logits are made for `logits.extent(0)` supervised rows at a
// time; a row's numbers and the order of the chains do not depend on that number.

#include <moegrad/core/math_complex.hpp>
#include <moegrad/cpu/support/products.hpp>
#include <moegrad/cpu/support/seats.hpp>
#include <moegrad/cpu/support/wide.hpp>
#include <moegrad/ops/linear_cross_entropy.hpp>

namespace moegrad::cpu::linear_cross_entropy {
namespace {

template <class Real>
Real larger(const Real& a, const Real& b) {
    return real_part(b) > real_part(a) ? b : a;
}

/// In eight lanes: a single chain of comparisons would wait for each before the next.
template <class Real>
Real largest(const Real* z, Index V) {
    Real lane[8];
    std::fill_n(lane, 8, z[0]);
    Index v = 0;
    for (; v + 8 <= V; v += 8) {
        for (Index j = 0; j < 8; ++j) lane[j] = larger(lane[j], z[v + j]);
    }
    for (; v < V; ++v) lane[0] = larger(lane[0], z[v]);
    for (Index j = 1; j < 8; ++j) lane[0] = larger(lane[0], lane[j]);
    return lane[0];
}

/// z = exp(z - max) in place. Returns the sum; nll = log sum + max - z[target].
template <class Real>
struct RowSum {
    Real sum, nll;
};
template <class Real>
RowSum<Real> exponentials(Real* z, Index V, Index target) {
    const Real max = largest(z, V), own = z[target];
    for (Index v = 0; v < V; ++v) z[v] = moegrad::exp(z[v] - max);
    const Real sum = sum_of<Real>(V, [&](Index v) { return z[v]; });
    return {sum, moegrad::log(sum) + (max - own)};
}

/// From exponentials to factor (softmax - onehot), in place.
template <class Real>
void to_gradient(Real* z, Index V, Index target, Real sum, Real factor) {
    const Real own = factor * (z[target] / sum - Real(1)), scale = factor / sum;
    for (Index v = 0; v < V; ++v) z[v] *= scale;
    z[target] = own;
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
             View<const std::int32_t, 1> row, View<Wide<Real>, 2> logits, View<Real, 2>,
             View<Wide<Real>, 1> nll, View<Real, 2> xhat) {
    const Index V = w.extent(0), D = w.extent(1);
    std::fill_n(nll.data, nll.extent(0), Real(0));
    for_pieces(stream, x, w, row, logits, [&](Index first, Index rows, View<Real, 2> z) {
        for_vector_rows(stream, rows, 4 * V, [&](Index i) {
            const Index t = row(first + i);
            const RowSum<Real> row_sum = exponentials(z.row(i), V, target(t));
            nll(t) = row_sum.nll;
            if (xhat.data) to_gradient(z.row(i), V, target(t), row_sum.sum, Real(1));
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
                     View<const Wide<Real>, 1> d, View<Wide<Real>, 2> logits, View<Real, 2>,
                     View<Wide<Real>, 2> dw, Write write) {
    const Index V = w.extent(0);
    if (row.extent(0) == 0) multiply_weight<Real>(stream, logits, x, 0, dw, write);
    for_pieces(stream, x, w, row, logits, [&](Index first, Index rows, View<Real, 2> z) {
        for_vector_rows(stream, rows, 4 * V, [&](Index i) {
            const Index t = row(first + i);
            const RowSum<Real> row_sum = exponentials(z.row(i), V, target(t));
            to_gradient(z.row(i), V, target(t), row_sum.sum, d(t));
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
