#pragma once
// CPU kernels of ops/grouped_linear.hpp: one matrix product per expert over its contiguous rows. The product
// gathers by a row list, and its elements are chains that do not see the other rows.

#include <moegrad/cpu/support/drop_row.hpp>
#include <moegrad/cpu/support/gemm.hpp>
#include <moegrad/cpu/support/rows.hpp>
#include <moegrad/cpu/support/seats.hpp>
#include <moegrad/ops/grouped_linear.hpp>

namespace moegrad::cpu::grouped_linear {
namespace {

/// body(expert, first row, rows) for every expert, those without rows too.
template <class Body>
void for_experts(const DispatchView& plan, Body&& body) {
    for (Index e = 0; e + 1 < plan.expert_begin.extent(0); ++e) {
        const Index begin = plan.expert_begin(e);
        body(e, begin, plan.expert_begin(e + 1) - begin);
    }
}

inline Index routed_rows(const DispatchView& plan) {
    return plan.expert_begin(plan.expert_begin.extent(0) - 1);
}

/// Where the rows from `begin` on are found in x: by the list of tokens, or in place.
template <class Real>
struct RowsOf {
    const Real* data;
    const std::int32_t* list;

    RowsOf(View<const Real, 2> x, const DispatchView& plan, RowSource source, Index begin)
        : data(source == RowSource::tokens ? x.data : x.row(begin)),
          list(source == RowSource::tokens ? plan.row_token.data + begin : nullptr) {}
};

/// The products of all experts at once, so that a few rows per expert keep every thread busy.
template <class Real, class Call>
void for_products(Stream stream, const DispatchView& plan, Call&& call) {
    const Index experts = plan.expert_begin.extent(0) - 1;
    GemmCall<Real>* calls = gemm_detail::scratch<GemmCall<Real>, 6>(experts);
    for_experts(plan, [&](Index e, Index begin, Index rows) { calls[e] = call(e, begin, rows); });
    gemm_batch(stream.pool(), calls, experts);
}

/// y (+)= x w^T
template <class Real>
void product(Stream stream, View<const Real, 2> x, View<const Real, 3> w, const DispatchView& plan,
             RowSource source, View<Real, 2> y, Write write) {
    for_products<Real>(stream, plan, [&](Index e, Index begin, Index rows) {
        const RowsOf<Real> from(x, plan, source, begin);
        return GemmCall<Real>{Transpose::no,
                              Transpose::yes,
                              rows,
                              w.extent(1),
                              w.extent(2),
                              from.data,
                              x.pitch,
                              w.slice(e).data,
                              w.pitch,
                              y.row(begin),
                              y.pitch,
                              write,
                              {.a_rows = from.list}};
    });
}

/// dx (+)= dy w
template <class Real>
void product_back(Stream stream, View<const Real, 2> dy, View<const Real, 3> w, const DispatchView& plan,
                  View<Real, 2> dx, Write write) {
    for_products<Real>(stream, plan, [&](Index e, Index begin, Index rows) {
        return GemmCall<Real>{Transpose::no, Transpose::no, rows,     w.extent(2),
                              w.extent(1),   dy.row(begin), dy.pitch, w.slice(e).data,
                              w.pitch,       dx.row(begin), dx.pitch, write};
    });
}

/// The low rank continues the chains that the product before it left in y.
template <class Real>
void multiply(Stream stream, View<const Real, 2> x, View<const Real, 3> w, LowRank<Real> low,
              DispatchView plan, RowSource source, View<Real, 2> y, Write write) {
    product(stream, x, w, plan, source, y, write);
    if (low.u.data) product(stream, low.u, low.weight, plan, RowSource::rows, y, Write::accumulate);
}

template <class Real>
void multiply_back(Stream stream, View<const Real, 2> dy, View<const Real, 3> w, LowRank<Real> low,
                   DispatchView plan, View<Real, 2> dx, Write write) {
    product_back(stream, dy, w, plan, dx, write);
    if (low.u.data) product_back(stream, low.u, low.weight, plan, dx, Write::accumulate);
}

template <class Real>
void scale(Stream stream, const DispatchView& plan, double factor, View<Real, 2> y) {
    for_rows(stream, routed_rows(plan), y.extent(1), [&](Index n) {
        for (Index c = 0; c < y.extent(1); ++c) y(n, c) *= Real(factor);
    });
}

template <class Real>
void project(Stream stream, View<const Real, 2> x, View<const Real, 3> A, DispatchView plan, RowSource source,
             double factor, View<Real, 2> u) {
    product(stream, x, A, plan, source, u, Write::overwrite);
    scale(stream, plan, factor, u);
}

template <class Real>
void project_back(Stream stream, View<const Real, 2> dy, View<const Real, 3> B, DispatchView plan,
                  double factor, View<Real, 2> du) {
    product_back(stream, dy, B, plan, du, Write::overwrite);
    scale(stream, plan, factor, du);
}

template <class Real>
void weight_gradient(Stream stream, View<const Real, 2> dy, View<const Real, 2> x, DispatchView plan,
                     RowSource source, View<Wide<Real>, 3> dw, Write write) {
    for_products<Real>(stream, plan, [&](Index e, Index begin, Index rows) {
        const RowsOf<Real> from(x, plan, source, begin);
        return GemmCall<Real>{Transpose::yes,
                              Transpose::no,
                              dw.extent(1),
                              dw.extent(2),
                              rows,
                              dy.row(begin),
                              dy.pitch,
                              from.data,
                              x.pitch,
                              dw.slice(e).data,
                              dw.pitch,
                              write,
                              {.b_rows = from.list}};
    });
}

template <class Real>
void rank_gradients(Stream stream, View<const Real, 2> dy, View<const Real, 3> B, View<const Real, 2> u,
                    DispatchView plan, double factor, View<Wide<Real>, 1>, View<Real, 2> du,
                    View<Wide<Real>, 3> dB, Write write) {
    project_back(stream, dy, B, plan, factor, du);
    weight_gradient(stream, dy, u, plan, RowSource::rows, dB, write);
}

template <class Real>
void drop(Stream stream, View<const Real, 2> x, DispatchView plan, RowSource source, TokenKeys keys,
          Dropout dropout, View<Real, 2> y, Write write) {
    if (dropout.rate == 0) {
        for_rows(stream, routed_rows(plan), x.extent(1), [&](Index n) {
            const Real* from = x.row(source == RowSource::tokens ? plan.row_token(n) : n);
            for (Index c = 0; c < x.extent(1); ++c) put(y(n, c), from[c], write);
        });
        return;
    }
    for_experts(plan, [&](Index e, Index begin, Index rows) {
        const DropoutMask mask = dropout_mask(stream.scalars(), dropout, static_cast<std::uint32_t>(e));
        for_rows(stream, rows, 8 * x.extent(1), [&](Index i) {
            const Index n = begin + i, token = plan.row_token(n);
            const Real* from = x.row(source == RowSource::tokens ? token : n);
            drop_row(mask, keys.sample(token), keys.position(token), from, y.row(n), x.extent(1), write);
        });
    });
}

template <class Real>
void sum_slots(Stream stream, View<const Real, 2> rows, DispatchView plan, View<Real, 2> dx, Write write) {
    const Index K = plan.slot_row.extent(1);
    for_rows(stream, dx.extent(0), dx.extent(1) * std::max<Index>(1, K), [&](Index t) {
        for (Index d = 0; d < dx.extent(1); ++d) {
            Real sum = Real(0);
            for (Index k = 0; k < K; ++k) {
                if (plan.slot_row(t, k) >= 0) sum += rows(plan.slot_row(t, k), d);
            }
            put(dx(t, d), sum, write);
        }
    });
}

template <class Real>
constexpr GroupedLinearKernels<Real> kernels{multiply<Real>,     multiply_back<Real>,  project<Real>,
                                             project_back<Real>, rank_gradients<Real>, weight_gradient<Real>,
                                             drop<Real>,         sum_slots<Real>};

}  // namespace
}  // namespace moegrad::cpu::grouped_linear

MOEGRAD_CPU_SEATS(grouped_linear)
