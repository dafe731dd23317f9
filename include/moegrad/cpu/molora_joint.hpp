#pragma once
// CPU kernels of ops/molora_joint.hpp: the plain products, on the ranks of all experts at once. A model on a CPU runs
// molora_linear and linear; here is the reference of what a GPU does in one reading of x.

#include <moegrad/cpu/support/expert_choice.hpp>
#include <moegrad/cpu/support/products.hpp>
#include <moegrad/cpu/support/rows.hpp>
#include <moegrad/cpu/support/seats.hpp>
#include <moegrad/ops/molora_joint.hpp>

namespace moegrad::cpu::molora_joint {
namespace {

template <class Real>
View<Real, 2> first_columns(View<Real, 2> all, Index count) {
    return {all.data, {all.extent(0), count}, all.pitch};
}

/// A [E, R, D] as [E R, D].
template <class Real>
View<Real, 2> below(View<Real, 3> A) {
    return {A.data, {A.extent(0) * A.extent(1), A.extent(2)}, A.pitch};
}

/// B [E, O, R] as [O, E R], in `up`.
template <class Real>
View<const Real, 2> beside(Stream stream, View<const Real, 3> B, View<Real, 2> up) {
    const Index R = B.extent(2), columns = B.extent(0) * R;
    for_rows(stream, up.extent(0), columns, [&](Index o) {
        for (Index c = 0; c < columns; ++c) up(o, c) = B(c / R, o, c % R);
    });
    return first_columns<const Real>(up, columns);
}

/// value times the weight of expert e for token t; 0 where it was not chosen, whatever the value.
template <class Real>
Real weighed(const MoloraChoice<Real>& choice, Index t, Index e, Real value) {
    Real sum = 0;
    for (Index k = 0; k < choice.expert.extent(1); ++k) {
        if (choice.expert(t, k) == e) sum += choice.weight(t, k) * value;
    }
    return sum;
}

/// v [T, E R]
template <class Real>
View<const Real, 2> masked(Stream stream, View<const Real, 2> u, const MoloraChoice<Real>& choice, Index R,
                           Index columns, View<Real, 2> v) {
    for_rows(stream, v.extent(0), columns, [&](Index t) {
        for (Index c = 0; c < columns; ++c) v(t, c) = weighed(choice, t, c / R, u(t, c));
    });
    return first_columns<const Real>(v, columns);
}

template <class Real>
void read(Stream stream, View<const Real, 2> x, const JointFactors<Real>& factors, double scale,
          const MoloraJointRoom<Real>&, View<Real, 2> u, View<Real, 2> z) {
    const View<const Real, 2> A = below(factors.A);
    multiply_rows<Real>(stream, x, A, first_columns(u, A.extent(0)), Write::overwrite);
    for_rows(stream, u.extent(0), u.extent(1), [&](Index t) {
        for (Index c = 0; c < u.extent(1); ++c) u(t, c) = c < A.extent(0) ? u(t, c) * Real(scale) : Real(0);
    });
    multiply_rows<Real>(stream, x, factors.router, z, Write::overwrite);
}

template <class Real>
void forward(Stream stream, View<const Real, 2> x, View<const Real, 2> w, View<const Real, 3> B,
             View<const Real, 2> u, const MoloraChoice<Real>& choice, const MoloraJointRoom<Real>& room,
             View<Real, 2> y) {
    const Index R = B.extent(2), columns = B.extent(0) * R;
    for (Index t = 0; t < y.extent(0); ++t) {
        for (Index k = 0; k < choice.expert.extent(1); ++k)
            check_choice("molora_joint", choice.expert, t, k, B.extent(0));
    }
    multiply_rows<Real>(stream, x, w, y, Write::overwrite);
    multiply_rows<Real>(stream, masked(stream, u, choice, R, columns, room.masked),
                        beside(stream, B, room.up), y, Write::accumulate);
}

template <class Real>
void backward_up(Stream stream, View<const Real, 2> dy, View<const Real, 2> u,
                 const MoloraChoice<Real>& choice, const MoloraJointRoom<Real>& room, View<Real, 3> dB,
                 Write write) {
    const Index R = dB.extent(2), columns = dB.extent(0) * R;
    const View<Real, 2> all = first_columns(room.up, columns);
    multiply_weight<Real>(stream, dy, masked(stream, u, choice, R, columns, room.masked), dy.extent(0), all,
                          Write::overwrite);
    for_rows(stream, all.extent(0), columns, [&](Index o) {
        for (Index c = 0; c < columns; ++c) put(dB(c / R, o, c % R), all(o, c), write);
    });
}

template <class Real>
void backward_rank(Stream stream, View<const Real, 2> dy, View<const Real, 3> B, double scale,
                   View<const Real, 2> u, const MoloraChoice<Real>& choice, const MoloraJointRoom<Real>& room,
                   View<Real, 2> du, View<Real, 2> dweight, Write write) {
    const Index R = B.extent(2), columns = B.extent(0) * R;
    const View<Real, 2> q = first_columns(room.dense, columns);
    multiply_back<Real>(stream, dy, beside(stream, B, room.up), q, Write::overwrite);
    for_rows(stream, dy.extent(0), columns, [&](Index t) {
        for (Index k = 0; dweight.data && k < choice.expert.extent(1); ++k) {
            const Index first = choice.expert(t, k) * R;
            const auto product = [&](Index r) { return q(t, first + r) * u(t, first + r); };
            put(dweight(t, k), first < 0 ? Real(0) : sum_of<Real>(R, product), write);
        }
        for (Index c = 0; c < columns; ++c) du(t, c) = weighed(choice, t, c / R, q(t, c) * Real(scale));
    });
}

template <class Real>
void backward_ranks(Stream stream, View<const Real, 2> dy, View<const Real, 3> B, double scale,
                    View<const Real, 2> u, const MoloraChoice<Real>& choice,
                    const MoloraJointRoom<Real>& room, const JointRankTargets<Real>& to) {
    if (to.dB.data != nullptr) backward_up(stream, dy, u, choice, room, to.dB, to.write_B);
    if (to.du.data != nullptr)
        backward_rank(stream, dy, B, scale, u, choice, room, to.du, to.dweight, to.write_weight);
}

template <class Real>
void backward(Stream stream, View<const Real, 2> x, const JointFactors<Real>& factors, View<const Real, 2> dy,
              View<const Real, 2> w, View<const Real, 2> dz, View<Real, 2> ranks,
              const MoloraJointRoom<Real>&, const JointTargets<Real>& to) {
    const View<const Real, 2> A = below(factors.A), du = first_columns<const Real>(ranks, A.extent(0));
    if (to.dA.data != nullptr) multiply_weight<Real>(stream, du, x, dy.extent(0), below(to.dA), to.write_A);
    if (to.router.data != nullptr)
        multiply_weight<Real>(stream, dz, x, dy.extent(0), to.router, to.write_router);
    if (to.dx.data == nullptr) return;
    multiply_back<Real>(stream, dy, w, to.dx, to.write_x);
    multiply_back<Real>(stream, du, A, to.dx, Write::accumulate);
    if (dz.data != nullptr) multiply_back<Real>(stream, dz, factors.router, to.dx, Write::accumulate);
}

template <class Real>
constexpr MoloraJointKernels<Real> kernels{read<Real>, forward<Real>, backward_ranks<Real>, backward<Real>};

}  // namespace
}  // namespace moegrad::cpu::molora_joint

MOEGRAD_CPU_SEATS(molora_joint)
