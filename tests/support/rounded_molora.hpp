#pragma once
// molora_linear and its backward by hand, in double with the roundings of bf16: drop(x), u and weight u, du; of y and dx both
// products, where they are not one (cuda/support/low_rank.cuh); and where the input is dropped what each mask leaves of du A.

#include <vector>

#include <moegrad/ops/molora_linear.hpp>

#include "support/grouped_reference.hpp"

namespace moegrad::test {

/// The numbers of one call; scale 0.75, module 4, one segment.
struct RoundedMolora {
    Tensor<double> x, w, A, B, weight, dropped, u, v;  // dropped [T K, D]: drop_e(x); v [T K, R]: weight u
    Tensor<std::int32_t> expert;
    double rate;
    Index T = x.extent(0), D = x.extent(1), O = w.extent(0), R = A.extent(1), K = weight.extent(1);
    bool apart = !one_contraction({D, O, A.extent(0) * R});

    static double stored(bool rounds, double value) { return rounds ? round_to_bf16(value) : value; }

    double kept(Index t, Index e, Index d) const {
        if (rate == 0) return 1;
        const auto mask = dropout_mask(context().scalars(), {rate, 4}, static_cast<std::uint32_t>(e));
        return dropout_keep(mask, 0, static_cast<std::int32_t>(t), d) ? mask.scale : 0;
    }
    /// body(t, i, e) for every chosen pair i = t K + k.
    template <class Body>
    void for_pairs(Body body) const {
        for (Index i = 0; i < T * K; ++i)
            if (expert.data()[i] >= 0) body(i / K, i, Index{expert.data()[i]});
    }

    Tensor<double> forward() {
        dropped = Tensor<double>::zeros({T * K, D});
        u = Tensor<double>::zeros({T * K, R});
        v = Tensor<double>::zeros({T * K, R});
        auto y = Tensor<double>::zeros({T, O});
        for_pairs([&](Index t, Index i, Index e) {
            for (Index d = 0; d < D; ++d)
                dropped.data()[i * D + d] = round_to_bf16(kept(t, e, d) * x.data()[t * D + d]);
            for (Index r = 0; r < R; ++r) {
                double sum = 0;
                for (Index d = 0; d < D; ++d) sum += dropped.data()[i * D + d] * A.view<3>()(e, r, d);
                u.data()[i * R + r] = round_to_bf16(0.75 * sum);
                v.data()[i * R + r] = round_to_bf16(weight.data()[i] * u.data()[i * R + r]);
                for (Index o = 0; o < O; ++o)
                    y.data()[t * O + o] += v.data()[i * R + r] * B.view<3>()(e, o, r);
            }
        });
        for (Index i = 0; i < T * O; ++i) {
            double base = 0;
            for (Index d = 0; d < D; ++d) base += x.data()[i / O * D + d] * w.data()[i % O * D + d];
            y.data()[i] = stored(apart, y.data()[i]) + stored(apart, base);
        }
        return y;
    }

    /// Into zeros.
    void backward(const Tensor<double>& dy, Tensor<double> dx, Tensor<double> dw, Tensor<double> dA,
                  Tensor<double> dB, Tensor<double> dweight) const {
        for_pairs([&](Index t, Index i, Index e) {
            std::vector<double> row(static_cast<std::size_t>(D));  // du A
            for (Index r = 0; r < R; ++r) {
                double q = 0;
                for (Index o = 0; o < O; ++o) {
                    q += dy.data()[t * O + o] * B.view<3>()(e, o, r);
                    dB.view<3>()(e, o, r) += dy.data()[t * O + o] * v.data()[i * R + r];
                }
                dweight.data()[i] += q * u.data()[i * R + r];
                const double du = round_to_bf16(0.75 * weight.data()[i] * q);
                for (Index d = 0; d < D; ++d) {
                    dA.view<3>()(e, r, d) += du * dropped.data()[i * D + d];
                    row[static_cast<std::size_t>(d)] += du * A.view<3>()(e, r, d);
                }
            }
            for (Index d = 0; d < D; ++d) {
                double term = row[static_cast<std::size_t>(d)];
                if (rate > 0) term = round_to_bf16(kept(t, e, d) * round_to_bf16(term));
                dx.data()[t * D + d] += term;
            }
        });
        for (Index i = 0; i < T * D; ++i) {
            double base = 0;
            for (Index o = 0; o < O; ++o) {
                base += dy.data()[i / D * O + o] * w.data()[o * D + i % D];
                dw.data()[o * D + i % D] += dy.data()[i / D * O + o] * x.data()[i];
            }
            const bool rounds = apart || rate > 0;
            dx.data()[i] = stored(rounds, dx.data()[i]) + stored(rounds, base);
        }
    }
};

}  // namespace moegrad::test
