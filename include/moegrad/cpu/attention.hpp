#pragma once
// CPU kernels of ops/attention.hpp.
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

inline constexpr Index kQueries = 32;

/// One segment, and which of its rows see each other.
struct Segment {
    Index begin, end, window;
    View<const std::uint8_t, 1> valid;

    Index first_key(Index t) const { return window == 0 ? begin : std::max(begin, t - window + 1); }
    /// One past the last row that sees key s.
    Index end_of_readers(Index s) const { return window == 0 ? end : std::min(end, s + window); }
    Index block_of(Index s) const { return begin + (s - begin) / kKeys * kKeys; }
};

/// The keys [first, first + kKeys) of a segment: which are valid, and which of them a row sees.
struct BlockOfKeys {
    Index first;
    bool valid[kKeys];
    bool all_valid;

    BlockOfKeys(const Segment& segment, Index first_) : first(first_), all_valid(true) {
        for (Index j = 0; j < kKeys; ++j) {
            valid[j] = first + j < segment.end && segment.valid(first + j) != 0;
            all_valid = all_valid && (valid[j] || first + j >= segment.end);
        }
    }
    const bool* flags() const { return all_valid ? nullptr : valid; }
    Seen seen_by(const Segment& segment, Index t) const {
        if (segment.valid(t) == 0) return {0, 0, nullptr};
        const Index from = std::max<Index>(0, segment.first_key(t) - first);
        const Index to = std::min(kKeys, t + 1 - first);
        return {static_cast<int>(from), static_cast<int>(to), flags()};
    }
};

/// Everything a task reads.
template <class Real>
struct Inputs {
    View<const Real, 2> q, k, v;
    AttentionRows rows;
    AttentionOptions options;

    Segment segment(Index s) const { return {rows.begin(s), rows.begin(s + 1), options.window, rows.valid}; }
    Index query_column(Index h) const { return h * options.head_dim; }
    Index key_column(Index h) const { return h / (options.heads / options.kv_heads) * options.head_dim; }
};

/// Softmax of one row over the blocks seen so far: y holds sum exp(score - largest) v.
template <class Real>
struct Running {
    using Value = decltype(real_part(Real()));
    Value largest = -std::numeric_limits<Value>::infinity();
    Real sum = Real(0);

    void raise(Value peak, Index head, Real* y) {
        if (!(peak > largest)) return;
        const Real shrink = Real(moegrad::exp(largest - peak));
        for (Index d = 0; d < head; ++d) y[d] *= shrink;
        sum *= shrink;
        largest = peak;
    }
};

/// Up to kGroup rows from t on, and what each sees of a block.
template <class Real>
struct Group {
    Index count;
    Seen seen[kGroup];

    Group(const BlockOfKeys& block, const Segment& segment, Index t, Index end)
        : count(std::min(kGroup, end - t)) {
        for (Index r = 0; r < count; ++r) seen[r] = block.seen_by(segment, t + r);
    }
    /// All kGroup rows see the same keys.
    bool alike() const {
        return count == kGroup && !seen[0].none() && std::equal(seen + 1, seen + kGroup, seen);
    }
    void add_rows(const Keys<Real>* s, const Packed<Real>& block, Index head, Real* const* y) const {
        if (alike()) return attention::add_rows<kGroup>(s, seen[0], block, head, y);
        for (Index r = 0; r < count; ++r) attention::add_rows<1>(s + r, seen[r], block, head, y + r);
    }
    void add_outer(const Keys<Real>* s, const Real* const* x, Index head, Transposed<Real>& block) const {
        if (alike()) return attention::add_outer<kGroup>(s, x, head, block);
        for (Index r = 0; r < count; ++r) {
            if (!seen[r].none()) attention::add_outer<1>(s + r, x + r, head, block);
        }
    }
};

/// y /= sum and lse, 0 where a row is not valid.
template <class Real>
void finish_rows(const Inputs<Real>& in, const Running<Real>* running, Index from, Index to, Index h,
                 View<Real, 2> y, View<Wide<Real>, 2> lse) {
    const Index head = in.options.head_dim, column = in.query_column(h);
    for (Index t = from; t < to; ++t) {
        const Running<Real>& state = running[t - from];
        const bool valid = in.rows.valid(t) != 0;
        lse(t, h) = valid ? Real(state.largest) + moegrad::log(state.sum) : Real(0);
        for (Index d = 0; valid && d < head; ++d) y(t, column + d) /= state.sum;
    }
}

/// Rows [from, to) of one segment, at most kQueries, for query head h.
template <class Real>
void forward_rows(const Inputs<Real>& in, const Segment& segment, Index from, Index to, Index h,
                  View<Real, 2> y, View<Wide<Real>, 2> lse) {
    const Index head = in.options.head_dim, column = in.query_column(h), key_column = in.key_column(h);
    Running<Real> running[kQueries];
    Transposed<Real> keys;
    Packed<Real> values;
    for (Index t = from; t < to; ++t) std::fill_n(y.row(t) + column, head, Real(0));
    for (Index first = segment.block_of(segment.first_key(from)); first < to; first += kKeys) {
        const BlockOfKeys block(segment, first);
        keys.load(in.k, first, segment.end, key_column, head);
        values.load(in.v, first, segment.end, key_column, head, block.flags());
        for (Index t = std::max(from, first); t < to; t += kGroup) {
            const Group<Real> group(block, segment, t, to);
            Keys<Real> p[kGroup];
            Real* yt[kGroup] = {};
            for (Index r = 0; r < group.count; ++r) {
                const Seen& seen = group.seen[r];
                Running<Real>& state = running[t + r - from];
                yt[r] = y.row(t + r) + column;
                if (seen.none()) continue;
                Keys<Real> s;
                products(in.q.row(t + r) + column, keys, head, Real(in.options.scale), s);
                state.raise(largest_seen(s, seen), head, yt[r]);
                exponentials(s, seen, Real(state.largest), p[r]);
                state.sum += sum_of<Real>(kKeys, [&](Index j) { return p[r][j]; });
            }
            group.add_rows(p, values, head, yt);
        }
    }
    finish_rows(in, running, from, to, h, y, lse);
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

/// A block of keys of one key-value head: transposed k, v and their gradients, and k once more for dq.
template <class Real>
struct Tile {
    Transposed<Real> k, v, dk, dv;
    Packed<Real> k_rows;
};

/// A group of rows of query head h against a tile.
template <class Real>
void backward_group(const Inputs<Real>& in, const Outputs<Real>& out, const Group<Real>& group, Index t,
                    Index h, Tile<Real>& tile) {
    const Index head = in.options.head_dim, column = in.query_column(h);
    const Real scale = Real(in.options.scale);
    const bool scores = out.dq.wanted || out.dk.wanted;
    Keys<Real> p[kGroup], da[kGroup];
    const Real* q[kGroup] = {};
    const Real* dy[kGroup] = {};
    Real* dq[kGroup] = {};
    for (Index r = 0; r < group.count; ++r) {
        q[r] = in.q.row(t + r) + column;
        dy[r] = out.dy.row(t + r) + column;
        if (out.dq.wanted) dq[r] = out.dq.view.row(t + r) + column;
        if (group.seen[r].none()) continue;
        products(q[r], tile.k, head, scale, da[r]);
        exponentials(da[r], group.seen[r], out.lse(t + r, h), p[r]);
        if (!scores) continue;
        products(dy[r], tile.v, head, Real(1), da[r]);
        const Real shift = out.delta(t + r, h);
        for (Index j = 0; j < kKeys; ++j) da[r][j] = scale * (p[r][j] * (da[r][j] - shift));
        if (group.seen[r].all()) continue;
        for (int j = 0; j < kKeys; ++j) da[r][j] = group.seen[r](j) ? da[r][j] : Real(0);
    }
    if (out.dv.wanted) group.add_outer(p, dy, head, tile.dv);
    if (out.dk.wanted) group.add_outer(da, q, head, tile.dk);
    if (out.dq.wanted) group.add_rows(da, tile.k_rows, head, dq);
}

/// The block of keys at `first` for key-value head `kv`: dk and dv complete, and its share of dq.
template <class Real>
void backward_block(const Inputs<Real>& in, const Outputs<Real>& out, const Segment& segment, Index first,
                    Index kv, Tile<Real>& tile) {
    const Index head = in.options.head_dim, key_column = kv * head;
    const Index heads_per_key = in.options.heads / in.options.kv_heads;
    const Index end = segment.end_of_readers(std::min(first + kKeys, segment.end) - 1);
    const BlockOfKeys block(segment, first);
    tile.k.load(in.k, first, segment.end, key_column, head);
    tile.v.load(in.v, first, segment.end, key_column, head);
    tile.k_rows.load(in.k, first, segment.end, key_column, head, block.flags());
    tile.dk.clear(head);
    tile.dv.clear(head);
    for (Index h = kv * heads_per_key; h < (kv + 1) * heads_per_key; ++h) {
        for (Index t = first; t < end; t += kGroup) {
            backward_group(in, out, Group<Real>(block, segment, t, end), t, h, tile);
        }
    }
    if (out.dk.wanted) tile.dk.store(out.dk.view, first, segment.end, key_column, head, out.dk.write);
    if (out.dv.wanted) tile.dv.store(out.dv.view, first, segment.end, key_column, head, out.dv.write);
}

/// delta[t,h] = <dy[t,h], y[t,h]>, and zeros where dq will be added to.
template <class Real>
void prepare(Stream stream, const AttentionOptions& options, View<const Real, 2> y, View<const Real, 2> dy,
             View<Wide<Real>, 2> delta, const AttentionGradient<Real>& dq) {
    const Index head = options.head_dim;
    for_rows(stream, y.extent(0), y.extent(1), [&](Index t) {
        for (Index h = 0; h < options.heads; ++h) {
            // One chain, as in products: a row with a single key then gets a gradient of exactly 0.
            Real sum = Real(0);
            for (Index d = h * head; d < (h + 1) * head; ++d) sum += dy(t, d) * y(t, d);
            delta(t, h) = sum;
        }
        if (dq.wanted && dq.write == Write::overwrite) std::fill_n(dq.view.row(t), y.extent(1), Real(0));
    });
}

template <class Real>
void backward(Stream stream, View<const Real, 2> q, View<const Real, 2> k, View<const Real, 2> v,
              AttentionRows rows, View<const Real, 2> y, View<const Wide<Real>, 2> lse,
              View<const Real, 2> dy, View<Wide<Real>, 2> delta, AttentionGradient<Real> dq,
              AttentionGradient<Real> dk, AttentionGradient<Real> dv, AttentionOptions options) {
    prepare(stream, options, y, dy, delta, dq);
    const Inputs<Real> in{q, k, v, rows, options};
    const Outputs<Real> out{dy, lse, delta, dq, dk, dv};
    const Index segments = rows.begin.data == nullptr ? 0 : rows.begin.extent(0) - 1;
    stream.pool().parallel_for(segments * options.kv_heads, [&](Index task) {
        const Segment segment = in.segment(task / options.kv_heads);
        Tile<Real> tile;
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
