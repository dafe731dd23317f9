#pragma once
// CPU kernels of ops/expert_swiglu.hpp: grouped_linear's products, and swiglu on their rows.

#include <moegrad/cpu/support/seats.hpp>
#include <moegrad/cpu/support/swiglu_row.hpp>
#include <moegrad/cpu/support/wide.hpp>
#include <moegrad/ops/expert_swiglu.hpp>

namespace moegrad::cpu::expert_swiglu {
namespace {

inline const std::int32_t* routed_rows(const DispatchView& plan) {
    return &plan.expert_begin(plan.expert_begin.extent(0) - 1);
}

template <class Real>
void forward(Stream stream, View<const Real, 2> x, View<const Real, 3> w, LowRank<Real> low,
             DispatchView plan, RowSource source, View<Real, 2> z, View<Real, 2> h) {
    grouped_linear_slot.get<Real>(Device::cpu).multiply(stream, x, w, low, plan, source, z, Write::overwrite);
    swiglu_slot.get<Real>(Device::cpu)
        .forward(stream, {z.data, h.extents, z.pitch}, {z.data + h.columns(), h.extents, z.pitch}, h,
                 routed_rows(plan));
}

template <class Real>
void gradient(Stream stream, DispatchView plan, View<Real, 2> z, View<Real, 2> h) {
    constexpr Index kPiece = SwigluRowGradient<Real>::kPiece;
    const Index F = h.columns();
    for_vector_rows(stream, *routed_rows(plan), 9 * F, [&](Index n) {
        Real *gate = z.row(n), *up = gate + F, *dh = h.row(n);
        Real again[kPiece];
        for (Index begin = 0; begin < F; begin += kPiece) {
            const Index count = std::min(kPiece, F - begin);
            for (Index f = 0; f < count; ++f) again[f] = moegrad::silu(gate[begin + f]) * up[begin + f];
            const SwigluRowGradient<Real> piece{gate + begin, up + begin,       dh + begin,      gate + begin,
                                                up + begin,   Write::overwrite, Write::overwrite};
            piece.run(count);
            std::copy_n(again, count, dh + begin);
        }
    });
}

template <class Real>
void backward(Stream stream, View<const Real, 2> dy, View<const Real, 3> w, LowRank<Real> low,
              DispatchView plan, View<Real, 2> z, View<Real, 2> h) {
    grouped_linear_slot.get<Real>(Device::cpu).multiply_back(stream, dy, w, low, plan, h, Write::overwrite);
    gradient(stream, plan, z, h);
}

template <class Real>
constexpr ExpertSwigluKernels<Real> kernels{forward<Real>, backward<Real>, gradient<Real>};

}  // namespace
}  // namespace moegrad::cpu::expert_swiglu

MOEGRAD_CPU_SEATS(expert_swiglu)
