#pragma once
// make_rows_orthogonal: rows of one length at right angles to each other; of a matrix with more rows than columns, the
// columns. From normal values the result is uniform over all such matrices (torch.nn.init.orthogonal_ up to the draw).

#include <cmath>

#include <moegrad/autograd/lora_parameters.hpp>

namespace moegrad {

/// matrix [R, C] on the host, of full rank; gain: the length.
template <class Real>
void make_rows_orthogonal(const Tensor<Real>& matrix, double gain) {
    if (Planning::active()) return;
    const View<Real, 2> m = matrix.matrix();
    const bool by_row = m.rows() <= m.columns();
    const Index count = by_row ? m.rows() : m.columns(), length = by_row ? m.columns() : m.rows();
    const auto at = [&](Index v, Index i) -> Real& { return by_row ? m(v, i) : m(i, v); };
    const auto product = [&](Index v, Index u) {
        double sum = 0;
        for (Index i = 0; i < length; ++i)
            sum += static_cast<double>(at(v, i)) * static_cast<double>(at(u, i));
        return sum;
    };
    // Gram-Schmidt, twice: the second pass removes what rounding left of the first.
    for (Index v = 0; v < count; ++v) {
        for (Index pass = 0; pass < 2; ++pass) {
            for (Index u = 0; u < v; ++u) {
                const double part = product(v, u) / product(u, u);
                for (Index i = 0; i < length; ++i)
                    at(v, i) -= static_cast<Real>(part * static_cast<double>(at(u, i)));
            }
        }
        const double scale = gain / std::sqrt(product(v, v));
        for (Index i = 0; i < length; ++i)
            at(v, i) = static_cast<Real>(scale * static_cast<double>(at(v, i)));
    }
}

}  // namespace moegrad
