#pragma once
// CPU kernels of ops/attention_decode.hpp, in the tiles of support/key_block.hpp: a row walks the blocks of keys that
// cpu/attention.hpp would give it and computes the same bits. Parallel over (up to kQueries new rows, query head).

#include <moegrad/cpu/support/key_block.hpp>
#include <moegrad/cpu/support/seats.hpp>
#include <moegrad/ops/attention_decode.hpp>

namespace moegrad::cpu::attention_decode {
namespace {

using attention::kKeys;
using attention::kQueries;

/// Rows [from, from + count) of q for query head h; row i of q is token past + i of the sequence.
template <class Real>
void forward_rows(View<const Real, 2> q, View<const Real, 2> k, View<const Real, 2> v, Index from,
                  Index count, Index h, const AttentionOptions& options, View<Real, 2> y) {
    const Index head = options.head_dim, column = h * head, past = k.extent(0) - q.extent(0);
    const Index key_column = h / (options.heads / options.kv_heads) * head;
    const auto first_key = [&](Index t) {
        return options.window == 0 ? Index(0) : std::max<Index>(0, t - options.window + 1);
    };
    attention::QueryTile<Real> tile;
    attention::KeyBlock<Real> block;
    tile.load({q, from, count, column, head, nullptr}, Real(options.scale));
    for (Index i = 0; i < count; ++i) {
        tile.from[i] = first_key(past + from + i);
        tile.to[i] = past + from + i + 1;
    }
    for (Index first = tile.from[0] / kKeys * kKeys; first < tile.to[count - 1]; first += kKeys) {
        block.load(k, v, first, k.extent(0), key_column, head, nullptr);
        tile.add(block);
    }
    for (Index i = 0; i < count; ++i) tile.finish(i, y.row(from + i) + column);
}

template <class Real>
void forward(Stream stream, View<const Real, 2> q, View<const Real, 2> k, View<const Real, 2> v,
             View<Real, 2> y, AttentionOptions options) {
    const Index n = q.extent(0), H = options.heads;
    stream.pool().parallel_for((n + kQueries - 1) / kQueries * H, [&](Index task) {
        const Index from = task / H * kQueries;
        forward_rows(q, k, v, from, std::min(kQueries, n - from), task % H, options, y);
    });
}

template <class Real>
void keep(Stream stream, View<const Real, 2> from, View<Real, 2> to) {
    for_rows(stream, from.extent(0), from.extent(1),
             [&](Index row) { std::copy_n(from.row(row), from.extent(1), to.row(row)); });
}

template <class Real>
constexpr AttentionDecodeKernels<Real> kernels{forward<Real>, keep<Real>};

}  // namespace
}  // namespace moegrad::cpu::attention_decode

MOEGRAD_CPU_SEATS(attention_decode)
