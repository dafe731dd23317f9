#pragma once
// CPU kernels of ops/attention.hpp.
//
// Keys are taken in blocks of kKeys, counted from the first row of their segment, so that what a row computes depends
// on its own segment alone. A block lies transposed on the stack, [head][kKeys]: scores and their gradients are loops
// over kKeys neighbours that vectorise, and each score is one chain over the columns of the head.
// Forward is parallel over (rows of T, query head): each row walks its keys upwards with a running maximum.
// Backward is parallel over (segment, key-value head): no two tasks write to one place, and dq of a row is one chain
// over its keys, upwards.

#include <moegrad/core/math_complex.hpp>
#include <moegrad/cpu/support/rows.hpp>
#include <moegrad/cpu/support/seats.hpp>
#include <moegrad/ops/attention.hpp>

#include <algorithm>
#include <limits>

namespace moegrad::cpu::attention {
namespace {

inline constexpr Index kKeys = 32;
inline constexpr Index kQueries = 32;

/// A vector over the keys of a block.
template <class Real>
using Keys = Real[kKeys];

/// One segment, and which of its pairs of rows see each other.
struct Segment {
    Index begin, end, window;
    View<const std::uint8_t, 1> valid;

    Index first_key(Index t) const { return window == 0 ? begin : std::max(begin, t - window + 1); }
    /// One past the last row that sees key s.
    Index end_of_readers(Index s) const { return window == 0 ? end : std::min(end, s + window); }
    Index block_of(Index s) const { return begin + (s - begin) / kKeys * kKeys; }
};

/// Rows [first, first + kKeys) of one head, transposed; zeros past the end of the segment.
template <class Real>
struct Block {
    alignas(64) Real columns[kLargestHead][kKeys];

    void clear(Index head) {
        for (Index d = 0; d < head; ++d) std::fill_n(columns[d], kKeys, Real(0));
    }
    void load(View<const Real, 2> x, Index first, Index end, Index column, Index head) {
        const Index count = std::min(kKeys, end - first);
        if (count < kKeys) clear(head);
        for (Index j = 0; j < count; ++j) {
            const Real* row = x.row(first + j) + column;
            for (Index d = 0; d < head; ++d) columns[d][j] = row[d];
        }
    }
    void store(View<Real, 2> x, Index first, Index end, Index column, Index head, Write write) const {
        const Index count = std::min(kKeys, end - first);
        for (Index j = 0; j < count; ++j) {
            Real* row = x.row(first + j) + column;
            for (Index d = 0; d < head; ++d) put(row[d], columns[d][j], write);
        }
    }
};

/// s[j] = scale <x, key j>
template <class Real>
void products(const Real* x, const Block<Real>& keys, Index head, Real scale, Keys<Real>& s) {
    Keys<Real> sum = {};
    for (Index d = 0; d < head; ++d) {
        for (Index j = 0; j < kKeys; ++j) sum[j] += x[d] * keys.columns[d][j];
    }
    for (Index j = 0; j < kKeys; ++j) s[j] = scale * sum[j];
}

/// block[d][j] += s[j] x[d]
template <class Real>
void add_products(const Keys<Real>& s, const Real* x, Index head, Block<Real>& block) {
    for (Index d = 0; d < head; ++d) {
        for (Index j = 0; j < kKeys; ++j) block.columns[d][j] += s[j] * x[d];
    }
}

/// y += sum_j s[j] x[first + j] over the keys that are seen, upwards.
template <class Real>
void add_rows(const Keys<Real>& s, const Keys<bool>& seen, View<const Real, 2> x, Index first, Index column,
              Index head, Real* y) {
    constexpr Index width = 8;
    for (Index d = 0; d < head; d += width) {
        const Index count = std::min(width, head - d);
        Real sum[width] = {};
        std::copy_n(y + d, count, sum);
        for (Index j = 0; j < kKeys; ++j) {
            if (!seen[j]) continue;
            const Real* row = x.row(first + j) + column + d;
            if (count == width) {
                for (Index i = 0; i < width; ++i) sum[i] += s[j] * row[i];
            } else {
                for (Index i = 0; i < count; ++i) sum[i] += s[j] * row[i];
            }
        }
        std::copy_n(sum, count, y + d);
    }
}

/// Which keys of the block at `first` row t sees; false when none.
inline bool look(const Segment& segment, Index t, Index first, Keys<bool>& seen) {
    const Index from = segment.first_key(t), count = std::min(kKeys, t + 1 - first);
    bool any = false;
    for (Index j = 0; j < kKeys; ++j) {
        seen[j] = j < count && first + j >= from && segment.valid(first + j) != 0;
        any = any || seen[j];
    }
    return any;
}

/// p = exp(s - shift), 0 where not seen. Unseen scores may be anything, so they are replaced before exp.
template <class Real>
void exponentials(const Keys<Real>& s, const Keys<bool>& seen, Real shift, Keys<Real>& p) {
    for (Index j = 0; j < kKeys; ++j) p[j] = moegrad::exp(seen[j] ? s[j] - shift : Real(0));
    for (Index j = 0; j < kKeys; ++j) p[j] = seen[j] ? p[j] : Real(0);
}

/// Softmax of one row over the blocks seen so far: y holds sum exp(a - largest) v.
template <class Real>
struct Running {
    using Value = decltype(real_part(Real()));
    Value largest = -std::numeric_limits<Value>::infinity();
    Real sum = Real(0);

    void raise(const Keys<Real>& s, const Keys<bool>& seen, Index head, Real* y) {
        Value peak = largest;
        for (Index j = 0; j < kKeys; ++j) peak = seen[j] ? std::max(peak, real_part(s[j])) : peak;
        if (peak == largest) return;
        const Real shrink = Real(moegrad::exp(largest - peak));
        for (Index d = 0; d < head; ++d) y[d] *= shrink;
        sum *= shrink;
        largest = peak;
    }
};

/// Everything a task reads.
template <class Real>
struct Inputs {
    View<const Real, 2> q, k, v;
    AttentionRows rows;
    AttentionOptions options;

    Segment segment(Index s) const {
        return {rows.begin(s), rows.begin(s + 1), options.window, rows.valid};
    }
    Index query_column(Index h) const { return h * options.head_dim; }
    Index key_column(Index h) const { return h / (options.heads / options.kv_heads) * options.head_dim; }
};

/// Rows [from, to) of one segment, at most kQueries, for query head h.
template <class Real>
void forward_rows(const Inputs<Real>& in, const Segment& segment, Index from, Index to, Index h, View<Real, 2> y,
                  View<Wide<Real>, 2> lse) {
    const Index head = in.options.head_dim, column = in.query_column(h), key_column = in.key_column(h);
    Running<Real> running[kQueries];
    for (Index t = from; t < to; ++t) std::fill_n(y.row(t) + column, head, Real(0));
    for (Index first = segment.block_of(segment.first_key(from)); first < to; first += kKeys) {
        Block<Real> keys;
        keys.load(in.k, first, segment.end, key_column, head);
        for (Index t = std::max(from, first); t < to; ++t) {
            Keys<bool> seen;
            if (in.rows.valid(t) == 0 || !look(segment, t, first, seen)) continue;
            Real* yt = y.row(t) + column;
            Running<Real>& state = running[t - from];
            Keys<Real> s, p;
            products(in.q.row(t) + column, keys, head, Real(in.options.scale), s);
            state.raise(s, seen, head, yt);
            exponentials(s, seen, Real(state.largest), p);
            state.sum += sum_of<Real>(kKeys, [&](Index j) { return p[j]; });
            add_rows(p, seen, in.v, first, key_column, head, yt);
        }
    }
    for (Index t = from; t < to; ++t) {
        const Running<Real>& state = running[t - from];
        lse(t, h) = Real(0);
        if (in.rows.valid(t) == 0) continue;
        for (Index d = 0; d < head; ++d) y(t, column + d) /= state.sum;
        lse(t, h) = Real(state.largest) + moegrad::log(state.sum);
    }
}

template <class Real>
void forward(Stream stream, View<const Real, 2> q, View<const Real, 2> k, View<const Real, 2> v, AttentionRows rows,
             View<Real, 2> y, View<Wide<Real>, 2> lse, AttentionOptions options) {
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

/// Everything backward adds.
template <class Real>
struct Outputs {
    View<const Real, 2> dy;
    View<const Wide<Real>, 2> lse, delta;
    AttentionGradient<Real> dq, dk, dv;
};

/// The block of keys at `first`, key-value head `kv`: dk and dv complete, and its share of dq.
template <class Real>
void backward_block(const Inputs<Real>& in, const Outputs<Real>& out, const Segment& segment, Index first,
                    Index kv) {
    const Index head = in.options.head_dim, key_column = kv * head;
    const Index group = in.options.heads / in.options.kv_heads;
    const Index last_key = std::min(first + kKeys, segment.end) - 1;
    const Real scale = Real(in.options.scale);
    Block<Real> k, v, dk, dv;
    k.load(in.k, first, segment.end, key_column, head);
    v.load(in.v, first, segment.end, key_column, head);
    dk.clear(head);
    dv.clear(head);
    for (Index h = kv * group; h < (kv + 1) * group; ++h) {
        const Index column = in.query_column(h);
        for (Index t = first; t < segment.end_of_readers(last_key); ++t) {
            Keys<bool> seen;
            if (in.rows.valid(t) == 0 || !look(segment, t, first, seen)) continue;
            const Real* q = in.q.row(t) + column;
            const Real* dy = out.dy.row(t) + column;
            Keys<Real> s, p, da;
            products(q, k, head, scale, s);
            exponentials(s, seen, out.lse(t, h), p);
            if (out.dv.wanted) add_products(p, dy, head, dv);
            if (!out.dq.wanted && !out.dk.wanted) continue;
            products(dy, v, head, Real(1), da);
            const Real shift = out.delta(t, h);
            for (Index j = 0; j < kKeys; ++j) da[j] = seen[j] ? scale * (p[j] * (da[j] - shift)) : Real(0);
            if (out.dk.wanted) add_products(da, q, head, dk);
            if (out.dq.wanted) add_rows(da, seen, in.k, first, key_column, head, out.dq.view.row(t) + column);
        }
    }
    if (out.dk.wanted) dk.store(out.dk.view, first, segment.end, key_column, head, out.dk.write);
    if (out.dv.wanted) dv.store(out.dv.view, first, segment.end, key_column, head, out.dv.write);
}

/// delta[t,h] = <dy[t,h], y[t,h]>, and zeros where dq will be added to.
template <class Real>
void prepare(Stream stream, const AttentionOptions& options, View<const Real, 2> y, View<const Real, 2> dy,
             View<Wide<Real>, 2> delta, const AttentionGradient<Real>& dq) {
    const Index head = options.head_dim;
    for_rows(stream, y.extent(0), y.extent(1), [&](Index t) {
        for (Index h = 0; h < options.heads; ++h) {
            const Real* yt = y.row(t) + h * head;
            const Real* dyt = dy.row(t) + h * head;
            // One chain, as in products: a row with a single key then gets a gradient of exactly 0.
            Real sum = Real(0);
            for (Index d = 0; d < head; ++d) sum += dyt[d] * yt[d];
            delta(t, h) = sum;
        }
        if (dq.wanted && dq.write == Write::overwrite) std::fill_n(dq.view.row(t), y.extent(1), Real(0));
    });
}

template <class Real>
void backward(Stream stream, View<const Real, 2> q, View<const Real, 2> k, View<const Real, 2> v, AttentionRows rows,
              View<const Real, 2> y, View<const Wide<Real>, 2> lse, View<const Real, 2> dy,
              View<Wide<Real>, 2> delta, AttentionGradient<Real> dq, AttentionGradient<Real> dk,
              AttentionGradient<Real> dv, AttentionOptions options) {
    prepare(stream, options, y, dy, delta, dq);
    const Inputs<Real> in{q, k, v, rows, options};
    const Outputs<Real> out{dy, lse, delta, dq, dk, dv};
    const Index segments = rows.begin.data == nullptr ? 0 : rows.begin.extent(0) - 1;
    stream.pool().parallel_for(segments * options.kv_heads, [&](Index task) {
        const Segment segment = in.segment(task / options.kv_heads);
        for (Index first = segment.begin; first < segment.end; first += kKeys) {
            backward_block(in, out, segment, first, task % options.kv_heads);
        }
    });
}

template <class Real>
constexpr AttentionKernels<Real> kernels{forward<Real>, backward<Real>};

}  // namespace
}  // namespace moegrad::cpu::attention

MOEGRAD_CPU_SEATS(attention)
