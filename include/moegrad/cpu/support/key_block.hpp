#pragma once
// Attention in tiles of kQueries rows by kKeys keys of one head. The four products of a tile run on the register tiles
// of the matrix product (support/gemm_kernel.hpp): one FMA chain per element, so that neither the instruction set nor
// the rows that share a tile change a bit. What a row does not see enters with weight 0.
//
// Forward, per row over its blocks of keys upwards; p, s, v of the block, y and sum from the blocks before:
//   s[j] = scale <q, k[j]>, one chain over the head;   m' = max(m, s),   c = exp(m - m'),   p = exp(s - m')
//   sum = c sum + (p[0] + p[1] + ...),   y = c y + sum_j p[j] v[j], one chain over the keys
// Real may be std::complex<double>.

#include <moegrad/core/math_complex.hpp>
#include <moegrad/cpu/support/rows.hpp>
#include <moegrad/cpu/support/wide.hpp>
#include <moegrad/ops/attention.hpp>

#include <algorithm>
#include <limits>

namespace moegrad::cpu::attention {
namespace {

inline constexpr Index kKeys = 32;
inline constexpr Index kQueries = 32;
inline constexpr Index kPad = 16;  // a multiple of the lanes of every register tile

inline Index padded(Index n) {
    return (n + kPad - 1) / kPad * kPad;
}

/// How the tiles of one call are computed.
template <class Real>
struct Machine {
    InstructionSet set = instructions();
    const gemm_detail::Kernels<Real>* kernels = &gemm_detail::choose_kernels<Real>(set);

    /// c[i, l] (+)= sum_k a[i a_row + k a_depth] b[k, l], l < lanes: one chain per element. lanes: a multiple of kPad.
    void multiply(Index rows, Index lanes, Index depth, const Real* a, Index a_row, Index a_depth,
                  const Real* b, Index b_pitch, Real* c, Index c_pitch, Write write) const {
        const Index width = kernels->width;
        const Index tiles = (rows + kernels->most_rows - 1) / kernels->most_rows;
        for (Index lane = 0; lane < lanes; lane += 2 * width) {
            const std::size_t vectors = lanes - lane > width ? 2 : 1;
            for (Index t = 0; t < tiles; ++t) {
                const Index begin = rows * t / tiles, count = rows * (t + 1) / tiles - begin;
                gemm_detail::Tile<Real> tile{};
                tile.depth = depth;
                tile.a = a + begin * a_row;
                tile.a_row = a_row;
                tile.a_depth = a_depth;
                tile.b = b + lane;
                tile.b_depth = b_pitch;
                tile.c = c + begin * c_pitch + lane;
                tile.c_row = c_pitch;
                tile.write = write;
                kernels->kernel[static_cast<std::size_t>(count - 1)][vectors - 1](tile);
            }
        }
    }
};

/// Up to 32 neighbouring rows of one head: columns [column, column + head) of rows [first, first + count) of x. Rows
/// that are not valid, and those beyond count, read as zeros.
template <class Real>
struct HeadRows {
    View<const Real, 2> x;
    Index first, count, column, head;
    const std::uint8_t* valid;  // by row of x; null when all are

    const Real* operator[](Index i) const {
        static constexpr Real zeros[kLargestHead] = {};
        const bool there = i < count && (valid == nullptr || valid[first + i] != 0);
        return there ? x.row(first + i) + column : zeros;
    }
    /// to [32][pitch], padded with zeros.
    void pack(Real* to, Index pitch) const {
        for (Index i = 0; i < 32; ++i, to += pitch) {
            gemm_detail::copy_run((*this)[i], head, to);
            std::fill(to + head, to + pitch, Real(0));
        }
    }
    /// to [head][32].
    void transpose(Real* to) const {
        for (Index i = 0; i < 32; ++i) {
            const Real* row = (*this)[i];
            for (Index d = 0; d < head; ++d) to[d * 32 + i] = row[d];
        }
    }
};

/// One number for each key (or row) of a tile.
template <class Real>
using Scores = Real[32][32];

/// A block of keys and values for forward: keys where they are, values packed.
template <class Real>
struct KeyBlock {
    Index first, count;
    HeadRows<Real> keys;
    bool alive[kKeys], all_alive;
    alignas(64) Real values[kKeys * kLargestHead];  // [kKeys][padded(head)]

    void load(View<const Real, 2> k, View<const Real, 2> v, Index first_, Index end, Index column, Index head,
              const std::uint8_t* valid) {
        first = first_;
        count = std::min(kKeys, end - first);
        keys = {k, first, count, column, head, valid};
        all_alive = true;
        for (Index j = 0; j < count; ++j) {
            alive[j] = valid == nullptr || valid[first + j] != 0;
            all_alive = all_alive && alive[j];
        }
        HeadRows<Real>{v, first, count, column, head, valid}.pack(values, padded(head));
    }
};

/// Up to kQueries rows of one query head with their running softmax.
template <class Real>
struct QueryTile {
    using Value = decltype(real_part(Real()));
    static constexpr Value kNothing = -std::numeric_limits<Value>::infinity();

    Machine<Real> machine;
    Index count, head;
    Real scale;
    Index from[kQueries], to[kQueries];                       // the keys [from, to) that a row sees
    alignas(64) std::int32_t begin[kQueries], end[kQueries];  // the same inside the block at hand
    alignas(64) Value largest[kQueries], shift[kQueries];
    alignas(64) Real sum[kQueries], shrink[kQueries];
    alignas(64) Real q[kLargestHead * kQueries];  // [head][kQueries]
    alignas(64) Real y[kQueries * kLargestHead];  // [kQueries][padded(head)]: sum_s exp(score - largest) v[s]

    /// Rows that see nothing until from and to say so.
    void load(const HeadRows<Real>& rows, Real scale_) {
        count = rows.count;
        head = rows.head;
        scale = scale_;
        rows.transpose(q);
        std::fill_n(from, kQueries, Index(0));
        std::fill_n(to, kQueries, Index(0));
        std::fill_n(largest, kQueries, kNothing);
        std::fill_n(sum, kQueries, Real(0));
        std::fill_n(y, kQueries * padded(head), Real(0));
    }

    void add(const KeyBlock<Real>& block) {
        alignas(64) Scores<Real> s;
        const Index pitch = padded(head);
        machine.multiply(block.count, padded(count), head, block.keys.x.row(block.first) + block.keys.column,
                         block.keys.x.pitch, 1, q, kQueries, s[0], kQueries, Write::overwrite);
        const bool whole = sees_all(block);
        with_vectors(machine.set, [&] {
            if (whole) {
                scale_all(s, block.count);
            } else {
                scale_seen(s, block);
            }
            soften(s, block.count);
            for (Index i = 0; i < count; ++i) {
                if (shrink[i] == Real(1)) continue;
                for (Index d = 0; d < pitch; ++d) y[i * pitch + d] *= shrink[i];
            }
        });
        machine.multiply(count, pitch, block.count, s[0], 1, kQueries, block.values, pitch, y, pitch,
                         Write::accumulate);
    }

    bool sees_none(Index i) const { return from[i] >= to[i]; }
    /// y of row i, and its log sum exp; zeros when it saw nothing.
    Real finish(Index i, Real* to_row) const {
        const Real* row = y + i * padded(head);
        for (Index d = 0; d < head; ++d) to_row[d] = sees_none(i) ? Real(0) : row[d] / sum[i];
        return sees_none(i) ? Real(0) : Real(largest[i]) + moegrad::log(sum[i]);
    }

private:
    bool sees_all(const KeyBlock<Real>& block) {
        bool all = block.all_alive && count == padded(count);
        for (Index i = 0; i < kQueries; ++i) {
            begin[i] = static_cast<std::int32_t>(std::clamp<Index>(from[i] - block.first, 0, kKeys));
            end[i] = static_cast<std::int32_t>(std::clamp<Index>(to[i] - block.first, 0, kKeys));
            if (i < count) all = all && begin[i] == 0 && end[i] >= block.count;
        }
        return all;
    }
    void scale_all(Scores<Real>& s, Index keys) const {
        const Index lanes = padded(count);
        for (Index j = 0; j < keys; ++j) {
            for (Index i = 0; i < lanes; ++i) s[j][i] = scale * s[j][i];
        }
    }
    void scale_seen(Scores<Real>& s, const KeyBlock<Real>& block) const {
        const Index lanes = padded(count);
        for (Index j = 0; j < block.count; ++j) {
            // A key that is not alive is beyond every end.
            const auto key = static_cast<std::int32_t>(block.alive[j] ? j : kKeys);
            for (Index i = 0; i < lanes; ++i) {
                const Real value = scale * s[j][i];
                s[j][i] = ((key >= begin[i]) & (key < end[i])) != 0 ? value : Real(kNothing);
            }
        }
    }
    /// From scores to p; largest, sum and shrink with it.
    void soften(Scores<Real>& s, Index keys) {
        const Index lanes = padded(count);
        alignas(64) Real block[kQueries];
        for (Index i = 0; i < lanes; ++i) {
            shift[i] = largest[i];
            block[i] = Real(0);
        }
        for (Index j = 0; j < keys; ++j) {
            for (Index i = 0; i < lanes; ++i)
                shift[i] = shift[i] < real_part(s[j][i]) ? real_part(s[j][i]) : shift[i];
        }
        for (Index i = 0; i < lanes; ++i) {
            const Value old = largest[i];
            largest[i] = shift[i];
            // As long as a row has seen nothing, all of its weights are exp(-infinity).
            shift[i] = shift[i] == kNothing ? Value(0) : shift[i];
            shrink[i] = Real(moegrad::exp(old - shift[i]));
        }
        for (Index j = 0; j < keys; ++j) {
            for (Index i = 0; i < lanes; ++i) {
                s[j][i] = moegrad::exp(s[j][i] - shift[i]);
                block[i] += s[j][i];
            }
        }
        for (Index i = 0; i < lanes; ++i) sum[i] = sum[i] * shrink[i] + block[i];
    }
};

}  // namespace
}  // namespace moegrad::cpu::attention
