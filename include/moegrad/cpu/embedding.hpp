#pragma once
// CPU kernels of ops/embedding.hpp. dw is parallel over columns: each element is one chain over the tokens.

#include <moegrad/cpu/support/rows.hpp>
#include <moegrad/cpu/support/seats.hpp>
#include <moegrad/ops/embedding.hpp>

namespace moegrad::cpu::embedding {
namespace {

template <class Real>
void forward(Stream stream, View<const std::int32_t, 1> id, View<const Real, 2> w, View<Real, 2> y) {
    const Index D = w.extent(1);
    for_rows(stream, id.extent(0), D, [&](Index t) { std::copy_n(w.row(id(t)), D, y.row(t)); });
}

template <class Real>
void backward_weight(Stream stream, View<const std::int32_t, 1> id, View<const Real, 2> dy,
                     View<Wide<Real>, 2> dw, Write write, EmbeddingRoom<Real>) {
    const Index T = id.extent(0), V = dw.extent(0), D = dw.extent(1);
    if (write == Write::overwrite) {
        for_rows(stream, V, D, [&](Index v) { std::fill_n(dw.row(v), D, Real(0)); });
    }
    for_columns(stream, D, T, [&](Index begin, Index end) {
        for (Index t = 0; t < T; ++t) {
            Real* into = dw.row(id(t));
            const Real* from = dy.row(t);
            for (Index d = begin; d < end; ++d) into[d] += from[d];
        }
    });
}

template <class Real>
constexpr EmbeddingKernels<Real> kernels{forward<Real>, backward_weight<Real>};

}  // namespace
}  // namespace moegrad::cpu::embedding

MOEGRAD_CPU_SEATS(embedding)
