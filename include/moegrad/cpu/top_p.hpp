#pragma once
// CPU kernel of ops/top_p.hpp. Each row is sorted as far as it has slots, then cut.

#include <moegrad/cpu/support/best_columns.hpp>
#include <moegrad/cpu/support/rows.hpp>
#include <moegrad/cpu/support/seats.hpp>
#include <moegrad/ops/top_p.hpp>

namespace moegrad::cpu::top_p {
namespace {

template <class Real>
void forward(Stream stream, View<const Real, 2> scores, View<std::int32_t, 2> choice, TopPOptions options) {
    const Index C = scores.extent(1), K = choice.extent(1);
    for_rows(stream, scores.extent(0), C * 4, [&](Index t) {
        const Real* row = scores.row(t);
        std::int32_t* best = choice.row(t);
        require_numbers("top_p", row, C, t);
        best_columns(row, C, best, K);
        double sum = 0;
        Index k = 0;
        for (; k < K; ++k) {
            const double score = static_cast<double>(row[best[k]]);
            if (!options.stays(k, sum, score, static_cast<double>(row[best[0]]))) break;
            sum += score;
        }
        for (; k < K; ++k) best[k] = kUnused;
    });
}

template <class Real>
constexpr TopPKernels<Real> kernels{forward<Real>};

}  // namespace
}  // namespace moegrad::cpu::top_p

MOEGRAD_CPU_SEATS(top_p)
