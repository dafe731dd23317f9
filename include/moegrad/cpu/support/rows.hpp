#pragma once
// Loops of the CPU kernels. Work is cut by shape alone, never by the number of threads, and no reduction crosses a
// cut: the bits cannot depend on how many threads there are.

#include <algorithm>

#include <moegrad/core/context.hpp>

namespace moegrad::cpu {

/// Elements of work worth handing to another thread.
inline constexpr Index kGrain = 16384;

/// body(begin, end) for blocks of rows; `cost` is the work of one row in elements.
template <class Body>
void for_row_blocks(Stream stream, Index rows, Index cost, Body&& body) {
    const Index block = std::max<Index>(1, kGrain / std::max<Index>(1, cost));
    const Index blocks = (rows + block - 1) / block;
    stream.pool().parallel_for(blocks, [&](Index b) { body(b * block, std::min(rows, (b + 1) * block)); });
}

/// body(row) for every row.
template <class Body>
void for_rows(Stream stream, Index rows, Index cost, Body&& body) {
    for_row_blocks(stream, rows, cost, [&](Index begin, Index end) {
        for (Index row = begin; row < end; ++row) body(row);
    });
}

/// body(begin, end) for blocks of columns; `rows` is the work per column. For reductions over rows: each column is
/// one chain, and a block of at least 16 columns keeps whole cache lines to one thread.
template <class Body>
void for_columns(Stream stream, Index columns, Index rows, Body&& body) {
    const Index wanted = std::max<Index>(16, kGrain / std::max<Index>(1, rows));
    const Index block = (wanted + 15) / 16 * 16;
    const Index blocks = (columns + block - 1) / block;
    stream.pool().parallel_for(blocks, [&](Index b) { body(b * block, std::min(columns, (b + 1) * block)); });
}

/// sum of term(i), i in [0, n): eight interleaved partial sums, then a fixed tree. One order for every length, and
/// shorter error growth than a single chain.
template <class Real, class Term>
inline Real sum_of(Index n, Term term) {
    Real lane[8] = {};
    Index i = 0;
    for (; i + 8 <= n; i += 8) {
        for (Index j = 0; j < 8; ++j) lane[j] += term(i + j);
    }
    for (Index j = 0; i + j < n; ++j) lane[j] += term(i + j);
    return ((lane[0] + lane[4]) + (lane[2] + lane[6])) + ((lane[1] + lane[5]) + (lane[3] + lane[7]));
}

/// y[i] = value, or y[i] += value.
template <class Real>
inline void put(Real& place, Real value, Write write) {
    place = write == Write::overwrite ? value : place + value;
}

}  // namespace moegrad::cpu
