#pragma once
// CUDA kernels of ops/linear_cross_entropy.hpp. For a piece of the supervised rows: x gathered, logits by one product, a
// block of threads a row makes loss and d (p - e) in the place of the logits, from which the second product makes xhat or
// dw. Rows of the list that are -1 give zeros. A target out of range is reported and its token left out.
// bf16: logits, loss and d (p - e) are float; d (p - e) is rounded once as an operand; xhat and dx are rounded once.

#include <moegrad/cuda/support/cross_entropy_rows.cuh>
#include <moegrad/cuda/support/products.cuh>
#include <moegrad/cuda/support/seats.cuh>
#include <moegrad/cuda/support/step_scalars.cuh>
#include <moegrad/ops/linear_cross_entropy.hpp>

namespace moegrad::cuda::linear_cross_entropy {
namespace {

/// out[i] = x[row[i]], zeros where row is -1.
template <class Real>
void gather(Stream stream, View<const Real, 2> x, View<const std::int32_t, 1> row, View<Real, 2> out) {
    const bool fast = aligned(x) && aligned(out);
    constexpr int n = Pack<Real>::kSize;
    warps("linear_cross_entropy, rows", cuda_stream(stream), out.extent(0),
          [=] __device__(Index i, int lane) {
              const Index t = row(i), D = out.extent(1);
              for (Index c = n * lane; fast && c < D; c += n * kWarp) {
                  Pack<Real> pack{};
                  if (t >= 0) pack = Pack<Real>::load(x.row(t) + c);
                  pack.store(out.row(i) + c);
              }
              for (Index c = lane; !fast && c < D; c += kWarp)
                  out.row(i)[c] = t >= 0 ? x.row(t)[c] : narrow<Real>(0);
          });
}

/// body(x of the piece, its rows of the list, its logits, its first row) for every piece. The rows of x are gathered into
/// `room(first, rows)`.
template <class Real, class Room, class Body>
void for_pieces(Stream stream, View<const Real, 2> x, View<const Real, 2> w, View<const std::int32_t, 1> row,
                View<float, 2> logits, Room&& room, Body&& body) {
    for (Index first = 0; first < row.extent(0); first += logits.extent(0)) {
        const Index rows = std::min(logits.extent(0), row.extent(0) - first);
        const View<const std::int32_t, 1> list(row.data + first, {rows});
        const View<Real, 2> here = room(first, rows);
        const View<float, 2> z(logits.data, {rows, logits.extent(1)}, logits.pitch);
        gather(stream, x, list, here);
        multiply_rows<Real>("linear_cross_entropy, logits", stream, here, w, z, Write::overwrite);
        body(here, list, z, first);
    }
}

template <class Real>
void make_rows(Stream stream, View<const std::int32_t, 1> target, View<const std::int32_t, 1> list,
               View<float, 2> z, float* nll, const float* factor, bool gradient) {
    const Index groups = (z.extent(1) + 3) / 4;
    const bool kept = groups <= kKeptGroups * kMostThreads;
    launch("linear_cross_entropy", kept ? rows_kernel<Real, KeptRow> : rows_kernel<Real, ReadRow>,
           dim3(static_cast<unsigned>(z.extent(0))), dim3(kept ? kept_threads(groups) : kMostThreads), 0,
           cuda_stream(stream), target, list, z, nll, factor, gradient, status());
}

/// d (p - e) that make_rows left where the logits were.
template <class Real>
View<const Real, 2> operand(View<float, 2> z) {
    return {reinterpret_cast<const Real*>(z.data), z.extents,
            z.pitch * static_cast<Index>(sizeof(float) / sizeof(Real))};
}

template <class Real>
View<Real, 2> rows_of(View<Real, 2> all, Index first, Index rows) {
    return {all.row(first), {rows, all.extent(1)}, all.pitch};
}

template <class Real>
void forward(Stream stream, View<const Real, 2> x, View<const Real, 2> w, View<const std::int32_t, 1> target,
             View<const std::int32_t, 1> row, View<Wide<Real>, 2> logits, View<Real, 2> gathered,
             View<Wide<Real>, 1> nll, View<Real, 2> xhat) {
    elements("linear_cross_entropy", cuda_stream(stream), nll.extent(0),
             [=] __device__(Index t) { nll(t) = 0; });
    const bool keep = xhat.data != nullptr;
    const auto room = [&](Index first, Index rows) {
        return keep ? rows_of(xhat, first, rows) : rows_of(gathered, 0, rows);
    };
    for_pieces(stream, x, w, row, logits, room,
               [&](View<Real, 2> here, View<const std::int32_t, 1> list, View<float, 2> z, Index) {
                   make_rows<Real>(stream, target, list, z, nll.data, nullptr, keep);
                   if (keep)
                       multiply_back("linear_cross_entropy, xhat", stream, operand<Real>(z), w, here,
                                     Write::overwrite);
               });
}

template <class Real>
void backward_input(Stream stream, View<const std::int32_t, 1> row, View<const Wide<Real>, 1> d,
                    View<const Real, 2> xhat, View<Real, 2> dx, Write write) {
    const cudaStream_t s = cuda_stream(stream);
    const Index D = dx.extent(1);
    constexpr int n = Pack<Real>::kSize;
    const bool fast = aligned(dx) && aligned(xhat);
    if (write == Write::overwrite) {
        warps("linear_cross_entropy, dx", s, dx.extent(0), [=] __device__(Index t, int lane) {
            for (Index c = n * lane; fast && c < D; c += n * kWarp) Pack<Real>{}.store(dx.row(t) + c);
            for (Index c = lane; !fast && c < D; c += kWarp) dx.row(t)[c] = narrow<Real>(0);
        });
    }
    warps("linear_cross_entropy, dx", s, row.extent(0), [=] __device__(Index i, int lane) {
        const Index t = row(i);
        if (t < 0) return;
        const float factor = d(t);
        for (Index c = n * lane; fast && c < D; c += n * kWarp) {
            Pack<Real> pack = Pack<Real>::load(xhat.row(i) + c);
            for (int j = 0; j < n; ++j) pack.value[j] *= factor;
            pack.put(dx.row(t) + c, write);
        }
        for (Index c = lane; !fast && c < D; c += kWarp)
            put(dx.row(t)[c], factor * wide(xhat.row(i)[c]), write);
    });
}

template <class Real>
void backward_weight(Stream stream, View<const Real, 2> x, View<const Real, 2> w,
                     View<const std::int32_t, 1> target, View<const std::int32_t, 1> row,
                     View<const Wide<Real>, 1> d, View<Wide<Real>, 2> logits, View<Real, 2> gathered,
                     View<Wide<Real>, 2> dw, Write write) {
    if (row.extent(0) == 0)
        multiply_weight("linear_cross_entropy, dw", stream, operand<Real>(logits),
                        View<const Real, 2>(gathered), dw, write);
    const auto room = [&](Index, Index rows) { return rows_of(gathered, 0, rows); };
    for_pieces(stream, x, w, row, logits, room,
               [&](View<Real, 2> here, View<const std::int32_t, 1> list, View<float, 2> z, Index first) {
                   make_rows<Real>(stream, target, list, z, nullptr, d.data, true);
                   multiply_weight<Real>("linear_cross_entropy, dw", stream, operand<Real>(z), here, dw,
                                         first == 0 ? write : Write::accumulate);
               });
}

template <class Real>
constexpr LinearCrossEntropyKernels<Real> kernels{forward<Real>, backward_input<Real>, backward_weight<Real>};

}  // namespace
}  // namespace moegrad::cuda::linear_cross_entropy

MOEGRAD_CUDA_SEATS(linear_cross_entropy)
