#pragma once
// CPU kernels of ops/gather_rows.hpp. Rows are independent: no two take the same one.

#include <moegrad/core/error.hpp>
#include <moegrad/cpu/support/rows.hpp>
#include <moegrad/cpu/support/seats.hpp>
#include <moegrad/ops/gather_rows.hpp>

namespace moegrad::cpu::gather_rows {
namespace {

template <class Real>
void gather(Stream stream, View<const Real, 2> x, View<const std::int32_t, 1> index, View<Real, 2> y) {
    const Index D = x.extent(1);
    for_rows(stream, index.extent(0), D, [&](Index i) {
        if (index(i) >= x.extent(0)) {
            throw Error{ErrorCode::value, "gather_rows", format("an index below {}", x.extent(0)),
                        format("{} for row {}", index(i), i)};
        }
        if (index(i) < 0) {
            std::fill_n(y.row(i), D, Real(0));
        } else {
            std::copy_n(x.row(index(i)), D, y.row(i));
        }
    });
}

template <class Real>
void backward(Stream stream, View<const Real, 2> dy, View<const std::int32_t, 1> index, View<Real, 2> dx,
              Write write) {
    const Index D = dx.extent(1);
    if (write == Write::overwrite) {
        for_rows(stream, dx.extent(0), D, [&](Index t) { std::fill_n(dx.row(t), D, Real(0)); });
    }
    for_rows(stream, index.extent(0), D, [&](Index i) {
        if (index(i) < 0) return;
        for (Index d = 0; d < D; ++d) dx(index(i), d) += dy(i, d);
    });
}

template <class Real>
constexpr GatherRowsKernels<Real> kernels{gather<Real>, backward<Real>};

}  // namespace
}  // namespace moegrad::cpu::gather_rows

MOEGRAD_CPU_SEATS(gather_rows)
