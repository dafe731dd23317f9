#pragma once
// scale_columns: every column has a factor of its own.   y[t,o] = l[o] x[t,o],   or (l[o] / n[o]) x[t,o]
// backward:   dx[t,o] = dy[t,o] l[o] / n[o],   dl[o] = sum_t dy[t,o] x[t,o] / n[o];   n is a constant
// A column with n[o] = 0 is 0, forward and backward.
// Saved: x [T, O] when l needs a gradient.      (IA)3: Liu et al. 2022, eq. 1; with n the row norms: DoRA, Liu et al. 2024.

#include <moegrad/autograd/tape.hpp>
#include <moegrad/core/slot.hpp>

namespace moegrad {

/// Rows whose share of dl a GPU adds in one chain.
inline constexpr Index kScaleColumnsRows = 16;

/// n: empty where nothing divides.
template <class Real>
struct ScaleColumnsKernels {
    /// y = x l / n, or y += that. Backward for the input alone is the same function of dy.
    void (*apply)(Stream, View<const Real, 2> x, View<const Wide<Real>, 1> l, View<const Wide<Real>, 1> n,
                  View<Real, 2> y, Write);
    /// dl, and dx with it unless that is empty: dy is read once for both. CPU: one chain per column over the rows, starting from what
    /// dl holds. GPU: the sums of kScaleColumnsRows rows each in `part` [ceil(T / kScaleColumnsRows), O], then over those.
    void (*backward)(Stream, View<const Real, 2> x, View<const Wide<Real>, 1> l, View<const Wide<Real>, 1> n,
                     View<const Real, 2> dy, View<Wide<Real>, 1> dl, Write dl_write, View<Real, 2> dx,
                     Write dx_write, View<Wide<Real>, 2> part);
};

inline constinit KernelSlot<ScaleColumnsKernels> scale_columns_slot{"scale_columns"};

namespace detail {
/// The values of one factor per column, [O], [O, 1] or [1, O], dense; nothing where it is not defined.
template <class Real>
View<Real, 1> factors_of(const Tensor<Real>& l) {
    return l.defined() ? l.flat() : View<Real, 1>();
}
}  // namespace detail

/// x [T, O], l of O values, n [O] or undefined -> [T, O]. Factors are kept in Wide: in bf16 a factor near 1 moves in steps of 0.4 %.
template <class Real>
Var<Real> scale_columns(Tape& tape, const Var<Real>& x, const std::type_identity_t<Var<Wide<Real>>>& l,
                        const std::type_identity_t<Tensor<Wide<Real>>>& n = {}) {
    if (x.shape().rank() != 2 || l.value().size() != x.extent(1) ||
        (n.defined() && n.size() != x.extent(1))) {
        throw Error{ErrorCode::shape, "scale_columns", "x [T, O], l [O] and n [O]",
                    format("x {}, l {}{}", x.shape().text(), l.shape().text(),
                           n.defined() ? ", n " + n.shape().text() : "")};
    }
    const auto& kernels = scale_columns_slot.get<Real>(tape.device());
    auto y = tape.output<Real>(x.shape(), x.needs_gradient() || l.needs_gradient());
    kernels.apply(tape.stream(), x.template view<2>(), detail::factors_of(l.value()), detail::factors_of(n),
                  y.value().template view<2>(), Write::overwrite);
    if (!y.needs_gradient()) return y;
    tape.record(y.gradient(), [&kernels, stream = tape.stream(),
                               x = l.needs_gradient() ? x.value() : Tensor<Real>(), l, n, dy = y.gradient(),
                               into = x.gradient()] {
        const View<const Real, 2> dy_view = dy->tensor().template view<2>();
        const auto l_view = detail::factors_of(l.value()), n_view = detail::factors_of(n);
        const auto dx = into ? into->target() : GradientTarget<Real>();
        if (!l.needs_gradient()) {
            return kernels.apply(stream, dy_view, l_view, n_view, dx.tensor.template view<2>(), dx.write);
        }
        auto dl = l.gradient()->target();
        const Index parts = (x.extent(0) + kScaleColumnsRows - 1) / kScaleColumnsRows;
        const auto part = stream.context().template make<Wide<Real>>({parts, x.extent(1)});
        kernels.backward(stream, x.template view<2>(), l_view, n_view, dy_view, detail::factors_of(dl.tensor),
                         dl.write, view_or_none<2>(dx.tensor), dx.write, part.template view<2>());
    });
    return y;
}

}  // namespace moegrad
