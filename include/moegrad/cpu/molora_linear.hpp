#pragma once
// CPU kernels of ops/molora_linear.hpp. Expert after expert in ascending order, each on the rows of its
// tokens: they are gathered, continued by the products of that expert, and put back.

#include <moegrad/cpu/support/drop_row.hpp>
#include <moegrad/cpu/support/expert_choice.hpp>
#include <moegrad/cpu/support/products.hpp>
#include <moegrad/cpu/support/seats.hpp>
#include <moegrad/ops/molora_linear.hpp>

namespace moegrad::cpu::molora_linear {
namespace {

/// The pairs of one expert: rows `first` .. `first + rows - 1` of everything that lies in pair order.
struct Group {
    std::uint32_t expert;
    Index first, rows;
    const std::int32_t *token, *pair;
};

template <class Body>
void for_groups(const ExpertPairs& pairs, Body&& body) {
    for (Index e = 0; e + 1 < pairs.begin.extent(0); ++e) {
        const Index first = pairs.begin(e);
        body(Group{static_cast<std::uint32_t>(e), first, pairs.begin(e + 1) - first, pairs.token.data + first,
                   pairs.pair.data + first});
    }
}

template <class Real>
View<Real, 2> rows_of(View<Real, 2> all, Index first, Index rows) {
    return {all.row(first), {rows, all.extent(1)}, all.pitch};
}

template <class Real>
void gather(Stream stream, View<const Real, 2> all, const Group& group, View<Real, 2> rows) {
    for_rows(stream, group.rows, rows.extent(1),
             [&](Index n) { std::copy_n(all.row(group.token[n]), rows.extent(1), rows.row(n)); });
}
template <class Real>
void put_back(Stream stream, View<const Real, 2> rows, const Group& group, View<Real, 2> all) {
    for_rows(stream, group.rows, rows.extent(1),
             [&](Index n) { std::copy_n(rows.row(n), rows.extent(1), all.row(group.token[n])); });
}

/// rows[n] = drop_e(x[token(n)])
template <class Real>
void drop_gather(Stream stream, View<const Real, 2> x, const Group& group, Dropout dropout,
                 const TokenKeys& keys, View<Real, 2> rows) {
    const DropoutMask mask = dropout_mask(stream.scalars(), dropout, group.expert);
    for_rows(stream, group.rows, 4 * x.extent(1), [&](Index n) {
        const Index t = group.token[n];
        drop_row(mask, keys.sample(t), keys.position(t), x.row(t), rows.row(n), x.extent(1),
                 Write::overwrite);
    });
}

/// dx[token(n)] += mask_e(rows[n])
template <class Real>
void drop_add_back(Stream stream, View<const Real, 2> rows, const Group& group, Dropout dropout,
                   const TokenKeys& keys, View<Real, 2> dx) {
    const DropoutMask mask = dropout_mask(stream.scalars(), dropout, group.expert);
    for_rows(stream, group.rows, 4 * dx.extent(1), [&](Index n) {
        const Index t = group.token[n];
        drop_row(mask, keys.sample(t), keys.position(t), rows.row(n), dx.row(t), dx.extent(1),
                 Write::accumulate);
    });
}

/// v[n] = weight u[n]
template <class Real>
void weigh(Stream stream, View<const Real, 2> u, const Group& group, View<const Wide<Real>, 2> weight,
           View<Real, 2> v) {
    const Index K = weight.extent(1), R = u.extent(1);
    for_rows(stream, group.rows, R, [&](Index n) {
        const Real factor = Real(weight(group.pair[n] / K, group.pair[n] % K));
        for (Index r = 0; r < R; ++r) v(n, r) = factor * u(n, r);
    });
}

inline void sort(Stream, View<const std::int32_t, 2> expert, View<std::int32_t, 1> begin,
                 View<std::int32_t, 1> pair, View<std::int32_t, 1> token, View<std::int32_t, 2> place,
                 View<std::int32_t, 1>) {
    const Index T = expert.extent(0), K = expert.extent(1), E = begin.extent(0) - 1;
    std::fill_n(begin.data, E + 1, 0);
    for (Index t = 0; t < T; ++t) {
        for (Index k = 0; k < K; ++k) {
            if (expert(t, k) < 0) continue;
            check_choice("molora_linear", expert, t, k, E);
            ++begin(expert(t, k) + 1);
        }
    }
    for (Index e = 0; e < E; ++e) begin(e + 1) += begin(e);
    // begin(e) runs from the first place of expert e to that of e + 1; then all move up by one.
    for (Index t = 0; t < T; ++t) {
        for (Index k = 0; k < K; ++k) {
            place(t, k) = -1;
            if (expert(t, k) < 0) continue;
            const Index n = begin(expert(t, k))++;
            place(t, k) = static_cast<std::int32_t>(n);
            pair(n) = static_cast<std::int32_t>(t * K + k);
            token(n) = static_cast<std::int32_t>(t);
        }
    }
    for (Index e = E; e > 0; --e) begin(e) = begin(e - 1);
    begin(0) = 0;
}

template <class Real>
void forward(Stream stream, View<const Real, 2> x, View<const Real, 2> w, View<const Real, 3> A,
             View<const Real, 3> B, double scale, const ExpertPairs& pairs, View<const Wide<Real>, 2> weight,
             Dropout dropout, TokenKeys keys, const MoloraRoom<Real>& room, View<Real, 2> u,
             View<Real, 2> y) {
    multiply_rows(stream, x, w, y, Write::overwrite);
    for_groups(pairs, [&](const Group& group) {
        if (group.rows == 0) return;
        const View<Real, 2> ug = rows_of(u, group.first, group.rows);
        if (dropout.rate == 0) {
            multiply_rows(stream, x, A.slice(group.expert), ug, Write::overwrite, group.token);
        } else {
            const View<Real, 2> dropped = rows_of(room.input, 0, group.rows);
            drop_gather(stream, x, group, dropout, keys, dropped);
            multiply_rows<Real>(stream, dropped, A.slice(group.expert), ug, Write::overwrite);
        }
        for_rows(stream, group.rows, ug.extent(1), [&](Index n) {
            for (Index r = 0; r < ug.extent(1); ++r) ug(n, r) *= Real(scale);
        });
        const View<Real, 2> v = rows_of(room.rank, 0, group.rows), yg = rows_of(room.output, 0, group.rows);
        weigh<Real>(stream, ug, group, weight, v);
        gather<Real>(stream, y, group, yg);
        multiply_rows<Real>(stream, v, B.slice(group.expert), yg, Write::accumulate);
        put_back<Real>(stream, yg, group, y);
    });
}

/// First q = dy B_e in du, for dweight = <q, u>; then du = s weight q.
template <class Real>
void backward_rank(Stream stream, View<const Real, 2> dy, View<const Real, 3> B, double scale,
                   const ExpertPairs& pairs, View<const Wide<Real>, 2> weight, View<const Real, 2> u,
                   const MoloraRoom<Real>&, View<Real, 2> du, View<Wide<Real>, 2> dweight, Write write) {
    const Index K = weight.extent(1), R = u.extent(1);
    if (dweight.data && write == Write::overwrite) {
        for (Index t = 0; t < dweight.extent(0); ++t) std::fill_n(dweight.row(t), K, Real(0));
    }
    for_groups(pairs, [&](const Group& group) {
        if (group.rows == 0) return;
        const View<Real, 2> q = rows_of(du, group.first, group.rows);
        multiply_back(stream, dy, B.slice(group.expert), q, Write::overwrite, group.token);
        for_rows(stream, group.rows, 2 * R, [&](Index n) {
            const Index t = group.pair[n] / K, k = group.pair[n] % K;
            const Real* un = u.row(group.first + n);
            if (dweight.data) {
                put(dweight(t, k), sum_of<Real>(R, [&](Index r) { return q(n, r) * un[r]; }), write);
            }
            const Real factor = Real(weight(t, k));
            for (Index r = 0; r < R; ++r) q(n, r) = factor * (q(n, r) * Real(scale));
        });
    });
}

template <class Real>
void backward_up(Stream stream, View<const Real, 2> dy, const ExpertPairs& pairs,
                 View<const Wide<Real>, 2> weight, View<const Real, 2> u, const MoloraRoom<Real>& room,
                 View<Wide<Real>, 3> dB, Write write) {
    for_groups(pairs, [&](const Group& group) {
        const View<Real, 2> v = rows_of(room.rank, 0, group.rows);
        weigh(stream, rows_of(u, group.first, group.rows), group, weight, v);
        multiply_weight<Real>(stream, dy, v, group.rows, dB.slice(group.expert), write, group.token);
    });
}

template <class Real>
void backward_down(Stream stream, View<const Real, 2> x, View<const Real, 2> du, const ExpertPairs& pairs,
                   Dropout dropout, TokenKeys keys, const MoloraRoom<Real>& room, View<Wide<Real>, 3> dA,
                   Write write) {
    for_groups(pairs, [&](const Group& group) {
        const View<const Real, 2> dug = rows_of(du, group.first, group.rows);
        if (dropout.rate == 0) {
            multiply_weight(stream, dug, x, group.rows, dA.slice(group.expert), write, nullptr, group.token);
            return;
        }
        const View<Real, 2> dropped = rows_of(room.input, 0, group.rows);
        drop_gather(stream, x, group, dropout, keys, dropped);
        multiply_weight<Real>(stream, dug, dropped, group.rows, dA.slice(group.expert), write);
    });
}

template <class Real>
void backward_input(Stream stream, View<const Real, 2> dy, View<const Real, 2> w, View<const Real, 2> du,
                    View<const Real, 3> A, const ExpertPairs& pairs, Dropout dropout, TokenKeys keys,
                    const MoloraRoom<Real>& room, View<Real, 2> dx, Write write) {
    multiply_back(stream, dy, w, dx, write);
    for_groups(pairs, [&](const Group& group) {
        if (group.rows == 0) return;
        const View<const Real, 2> dug = rows_of(du, group.first, group.rows);
        const View<Real, 2> rows = rows_of(room.input, 0, group.rows);
        if (dropout.rate == 0) {
            gather<Real>(stream, dx, group, rows);
            multiply_back(stream, dug, A.slice(group.expert), rows, Write::accumulate);
            put_back<Real>(stream, rows, group, dx);
        } else {
            multiply_back(stream, dug, A.slice(group.expert), rows, Write::overwrite);
            drop_add_back<Real>(stream, rows, group, dropout, keys, dx);
        }
    });
}

template <class Real>
constexpr MoloraLinearKernels<Real> kernels{
    sort, forward<Real>, backward_rank<Real>, backward_up<Real>, backward_down<Real>, backward_input<Real>};

}  // namespace
}  // namespace moegrad::cpu::molora_linear

MOEGRAD_CPU_SEATS(molora_linear)
