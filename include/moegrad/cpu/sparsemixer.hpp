#pragma once
// CPU kernels of ops/sparsemixer.hpp. Tokens are independent.

#include <moegrad/core/error.hpp>
#include <moegrad/cpu/support/rows.hpp>
#include <moegrad/cpu/support/seats.hpp>
#include <moegrad/ops/sparsemixer.hpp>

namespace moegrad::cpu::sparsemixer {
namespace {

template <class Real>
void choose(Stream stream, SparsemixerBatch<Real> batch) {
    const PhiloxKey key = sparsemixer_key(batch.draw, stream.scalars());
    const Index E = batch.z.extent(1), K = batch.choice.extent(1);
    for_rows(stream, batch.z.extent(0), (batch.options.sample ? 64 : 8) * E * K, [&](Index t) {
        for (Index e = 0; e < E; ++e) {
            if (batch.z(t, e) - batch.z(t, e) == 0) continue;
            throw Error{ErrorCode::value, "sparsemixer", "logits that are finite",
                        format("{} for token {}, column {}", batch.z(t, e), t, e),
                        "the router's input or weight is not finite; look at the layers before it"};
        }
        const auto token = batch.token(t, key);
        for (Index k = 0; k < K; ++k) batch.choice(t, k) = token.pick(k);
    });
}

template <class Real>
void weigh(Stream stream, SparsemixerBatch<Real> batch, View<Real, 2> p, View<Real, 2> w) {
    const PhiloxKey key = sparsemixer_key(batch.draw, stream.scalars());
    const Index E = batch.z.extent(1), K = w.extent(1);
    for_rows(stream, w.extent(0), 16 * E * K, [&](Index t) {
        const auto token = batch.token(t, key);
        for (Index k = 0; k < K; ++k) w(t, k) = token.weigh(k, p.row(t) + k * E);
    });
}

template <class Real>
void backward(Stream stream, View<const Real, 2> p, View<const std::int32_t, 2> choice,
              View<const Real, 2> dw, View<Real, 2> dz, Write write) {
    const Index E = dz.extent(1), K = dw.extent(1);
    for_rows(stream, dz.extent(0), 4 * E * K, [&](Index t) {
        for (Index j = 0; j < E; ++j) {
            Real sum = Real(0);
            for (Index k = 0; k < K; ++k) {
                const Real* own = p.row(t) + k * E;
                const Real hit = j == choice(t, k) ? Real(1) : Real(0);
                sum += dw(t, k) * own[choice(t, k)] * (hit - own[j]);
            }
            put(dz(t, j), sum, write);
        }
    });
}

template <class Real>
constexpr SparsemixerKernels<Real> kernels{choose<Real>, weigh<Real>, backward<Real>};

}  // namespace
}  // namespace moegrad::cpu::sparsemixer

MOEGRAD_CPU_SEATS(sparsemixer)
