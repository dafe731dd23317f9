#pragma once
// CPU kernels of ops/attention.hpp, in the tiles of support/key_block.hpp.
//
// Keys are taken in blocks of kKeys, counted from the first row of their segment, so that what a row computes
// depends on its own segment alone. Which rows go through a block together never changes an order of sums.
// Forward is parallel over (rows of T, query head): each row walks its keys upwards with a running maximum.
// Backward is parallel over (segment, key-value head): no two tasks write to one place, and dq of a row is
// one chain over its keys, upwards.

#include <moegrad/cpu/support/key_block.hpp>
#include <moegrad/cpu/support/seats.hpp>
#include <moegrad/ops/attention.hpp>

namespace moegrad::cpu::attention {
namespace {

/// One segment, and which of its rows see each other.
struct Segment {
    Index begin, end, window;

    Index first_key(Index t) const { return window == 0 ? begin : std::max(begin, t - window + 1); }
    /// One past the last row that sees key s.
    Index end_of_readers(Index s) const { return window == 0 ? end : std::min(end, s + window); }
    Index block_of(Index s) const { return begin + (s - begin) / kKeys * kKeys; }
};

/// Everything a task reads.
template <class Real>
struct Inputs {
    View<const Real, 2> q, k, v;
    AttentionRows rows;
    AttentionOptions options;

    Segment segment(Index s) const { return {rows.begin(s), rows.begin(s + 1), options.window}; }
    Index query_column(Index h) const { return h * options.head_dim; }
    Index key_column(Index h) const { return h / (options.heads / options.kv_heads) * options.head_dim; }
    HeadRows<Real> head_rows(View<const Real, 2> x, Index first, Index count, Index column) const {
        return {x, first, count, column, options.head_dim, rows.valid.data};
    }
};

/// Rows [from, to) of one segment, at most kQueries, for query head h.
template <class Real>
void forward_rows(const Inputs<Real>& in, const Segment& segment, Index from, Index to, Index h,
                  View<Real, 2> y, View<Wide<Real>, 2> lse) {
    const Index column = in.query_column(h), key_column = in.key_column(h);
    QueryTile<Real> tile;
    KeyBlock<Real> block;
    tile.load(in.head_rows(in.q, from, to - from, column), Real(in.options.scale));
    for (Index t = from; t < to; ++t) {
        if (in.rows.valid(t) == 0) continue;
        tile.from[t - from] = segment.first_key(t);
        tile.to[t - from] = t + 1;
    }
    for (Index first = segment.block_of(segment.first_key(from)); first < to; first += kKeys) {
        block.load(in.k, in.v, first, segment.end, key_column, in.options.head_dim, in.rows.valid.data);
        tile.add(block);
    }
    for (Index t = from; t < to; ++t) lse(t, h) = tile.finish(t - from, y.row(t) + column);
}

template <class Real>
void forward(Stream stream, View<const Real, 2> q, View<const Real, 2> k, View<const Real, 2> v,
             AttentionRows rows, View<Real, 2> y, View<Wide<Real>, 2> lse, AttentionOptions options) {
    const Inputs<Real> in{q, k, v, rows, options};
    const Index T = q.extent(0), H = options.heads;
    const Index blocks = (T + kQueries - 1) / kQueries;
    stream.pool().parallel_for(blocks * H, [&](Index task) {
        const Index end = std::min(T, (task / H + 1) * kQueries);
        for (Index from = task / H * kQueries; from < end;) {
            const Segment segment = in.segment(rows.segment(from));
            const Index to = std::min(end, segment.end);
            forward_rows(in, segment, from, to, task % H, y, lse);
            from = to;
        }
    });
}

/// Everything backward reads besides, and all it writes.
template <class Real>
struct Outputs {
    View<const Real, 2> dy;
    View<const Wide<Real>, 2> lse, delta;
    AttentionGradient<Real> dq, dk, dv;
};

/// A block of keys of one key-value head with its gradients, and the rows that are at hand.
template <class Real>
struct GradientTile {
    using Head = Real[kKeys * kLargestHead];

    Machine<Real> machine;
    Index first, count, pitch;            // of the keys; pitch = padded(head)
    alignas(64) Head k_turned, v_turned;  // [head][kKeys]
    alignas(64) Head k, dk, dv;           // [kKeys][pitch]
    alignas(64) Head q, dy, dq;           // [kQueries][pitch]
    alignas(64) Scores<Real> p, da;       // [kQueries][kKeys]
    bool alive[kKeys];
    bool all_alive;

    void load(const Inputs<Real>& in, const Segment& segment, Index first_, Index column) {
        first = first_;
        count = std::min(kKeys, segment.end - first);
        pitch = padded(in.options.head_dim);
        all_alive = count == kKeys;
        for (Index j = 0; j < kKeys; ++j) {
            alive[j] = j < count && in.rows.valid(first + j) != 0;
            all_alive = all_alive && alive[j];
        }
        in.head_rows(in.k, first, count, column).transpose(k_turned);
        in.head_rows(in.v, first, count, column).transpose(v_turned);
        in.head_rows(in.k, first, count, column).pack(k, pitch);
        std::fill_n(dk, kKeys * pitch, Real(0));
        std::fill_n(dv, kKeys * pitch, Real(0));
    }
};

/// The gradient of p and of the scores: from <q, k> in p and <dy, v> in da.
template <class Real>
void differentiate(const Inputs<Real>& in, const Outputs<Real>& out, const Segment& segment, Index t,
                   Index rows, Index h, GradientTile<Real>& tile) {
    const Real scale = Real(in.options.scale);
    for (Index i = 0; i < rows; ++i) {
        Real *p = tile.p[i], *da = tile.da[i];
        const Index row = t + i;
        const Real lse = out.lse(row, h), shift = out.delta(row, h);
        for (Index j = 0; j < kKeys; ++j) {
            p[j] = moegrad::exp(scale * p[j] - lse);
            da[j] = scale * (p[j] * (da[j] - shift));
        }
        const Index from = segment.first_key(row) - tile.first, to = row + 1 - tile.first;
        const bool valid = in.rows.valid(row) != 0;
        if (tile.all_alive && valid && from <= 0 && to >= kKeys) continue;
        for (Index j = 0; j < kKeys; ++j) {
            const bool seen = valid && tile.alive[j] && j >= from && j < to;
            p[j] = seen ? p[j] : Real(0);
            da[j] = seen ? da[j] : Real(0);
        }
    }
}

/// Rows [t, t + rows) of query head h against a block of keys.
template <class Real>
void backward_rows(const Inputs<Real>& in, const Outputs<Real>& out, const Segment& segment, Index t,
                   Index rows, Index h, GradientTile<Real>& tile) {
    const Index head = in.options.head_dim, column = in.query_column(h), pitch = tile.pitch;
    const Machine<Real>& machine = tile.machine;
    in.head_rows(in.q, t, rows, column).pack(tile.q, pitch);
    in.head_rows(out.dy, t, rows, column).pack(tile.dy, pitch);
    machine.multiply(rows, kKeys, head, tile.q, pitch, 1, tile.k_turned, kKeys, tile.p[0], kKeys,
                     Write::overwrite);
    machine.multiply(rows, kKeys, head, tile.dy, pitch, 1, tile.v_turned, kKeys, tile.da[0], kKeys,
                     Write::overwrite);
    with_vectors(machine.set, [&] { differentiate(in, out, segment, t, rows, h, tile); });
    if (out.dv.wanted) {
        machine.multiply(tile.count, pitch, rows, tile.p[0], 1, kKeys, tile.dy, pitch, tile.dv, pitch,
                         Write::accumulate);
    }
    if (out.dk.wanted) {
        machine.multiply(tile.count, pitch, rows, tile.da[0], 1, kKeys, tile.q, pitch, tile.dk, pitch,
                         Write::accumulate);
    }
    if (!out.dq.wanted) return;
    for (Index i = 0; i < rows; ++i) {
        gemm_detail::copy_run(out.dq.view.row(t + i) + column, head, tile.dq + i * pitch);
        std::fill(tile.dq + i * pitch + head, tile.dq + (i + 1) * pitch, Real(0));
    }
    machine.multiply(rows, pitch, tile.count, tile.da[0], kKeys, 1, tile.k, pitch, tile.dq, pitch,
                     Write::accumulate);
    for (Index i = 0; i < rows; ++i)
        gemm_detail::copy_run(tile.dq + i * pitch, head, out.dq.view.row(t + i) + column);
}

/// [kKeys][pitch] into the rows of the block.
template <class Real>
void store(const Real* from, const GradientTile<Real>& tile, Index column, Index head,
           const AttentionGradient<Real>& to) {
    if (!to.wanted) return;
    for (Index j = 0; j < tile.count; ++j) {
        Real* row = to.view.row(tile.first + j) + column;
        for (Index d = 0; d < head; ++d) put(row[d], from[j * tile.pitch + d], to.write);
    }
}

/// The block of keys at `first` for key-value head `kv`: dk and dv complete, and its share of dq.
template <class Real>
void backward_block(const Inputs<Real>& in, const Outputs<Real>& out, const Segment& segment, Index first,
                    Index kv, GradientTile<Real>& tile) {
    const Index head = in.options.head_dim, column = kv * head;
    const Index heads_per_key = in.options.heads / in.options.kv_heads;
    const Index end = segment.end_of_readers(std::min(first + kKeys, segment.end) - 1);
    tile.load(in, segment, first, column);
    for (Index h = kv * heads_per_key; h < (kv + 1) * heads_per_key; ++h) {
        for (Index t = first; t < end; t += kQueries) {
            backward_rows(in, out, segment, t, std::min(kQueries, end - t), h, tile);
        }
    }
    store(tile.dk, tile, column, head, out.dk);
    store(tile.dv, tile, column, head, out.dv);
}

/// delta[t,h] = <dy[t,h], y[t,h]>, and zeros where dq will be added to.
template <class Real>
void prepare(Stream stream, const AttentionOptions& options, View<const Real, 2> y, View<const Real, 2> dy,
             View<Wide<Real>, 2> delta, const AttentionGradient<Real>& dq) {
    const Index head = options.head_dim;
    const InstructionSet set = instructions();
    for_rows(stream, y.extent(0), y.extent(1), [&](Index t) {
        with_vectors(set, [&] {
            for (Index h = 0; h < options.heads; ++h) {
                // One chain, as the products are: a row with a single key then gets a gradient of exactly 0.
                Real sum = Real(0);
                for (Index d = h * head; d < (h + 1) * head; ++d)
                    sum = gemm_detail::multiply_add(dy(t, d), y(t, d), sum);
                delta(t, h) = sum;
            }
        });
        if (dq.wanted && dq.write == Write::overwrite) std::fill_n(dq.view.row(t), y.extent(1), Real(0));
    });
}

template <class Real>
void backward(Stream stream, View<const Real, 2> q, View<const Real, 2> k, View<const Real, 2> v,
              AttentionRows rows, View<const Real, 2> y, View<const Wide<Real>, 2> lse,
              View<const Real, 2> dy, View<Wide<Real>, 3> room, AttentionGradient<Real> dq,
              AttentionGradient<Real> dk, AttentionGradient<Real> dv, AttentionOptions options) {
    const View<Wide<Real>, 2> delta(room.data, {q.extent(0), options.heads});
    prepare(stream, options, y, dy, delta, dq);
    const Inputs<Real> in{q, k, v, rows, options};
    const Outputs<Real> out{dy, lse, delta, dq, dk, dv};
    const Index segments = rows.begin.data == nullptr ? 0 : rows.begin.extent(0) - 1;
    stream.pool().parallel_for(segments * options.kv_heads, [&](Index task) {
        const Segment segment = in.segment(task / options.kv_heads);
        GradientTile<Real> tile;
        for (Index first = segment.begin; first < segment.end; first += kKeys) {
            backward_block(in, out, segment, first, task % options.kv_heads, tile);
        }
    });
}

template <class Real>
constexpr AttentionKernels<Real> kernels{forward<Real>, backward<Real>};

}  // namespace
}  // namespace moegrad::cpu::attention

MOEGRAD_CPU_SEATS(attention)
