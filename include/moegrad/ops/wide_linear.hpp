#pragma once
// wide_linear: narrow activations times a wide weight, with the accuracy of the wide type and without a wide copy of x.
//     y[t,e] = s sum_d x[t,d] w[e,d]          x bf16; w, y float
// backward:   dx = s dy w, bf16;   dw[e,d] = s sum_t dy[t,e] x[t,d], float
// The router of a bf16 model. For a wide x that is deferred (cast_on_read) the narrow one is multiplied; for any other wide
// x it is linear. An x that its adapter reads too is read once for both (SharedInput, ops/molora_joint.hpp).
// Saved: x [T, D] when w needs a gradient.

#include <type_traits>

#include <moegrad/ops/add.hpp>
#include <moegrad/ops/cast.hpp>
#include <moegrad/ops/lora_linear.hpp>

namespace moegrad {

/// What a call needs besides. A GPU puts the narrow pieces there that sum up to a wide number, E' = piece_columns(E); the CPU wide
/// copies.
template <class Real>
struct WideLinearRoom {
    View<Real, 2> w;             // [3 E', D]  pieces of w, one below the other
    View<Real, 2> dy;            // [T, 4 E']  pieces of dy, side by side
    View<Wide<Real>, 2> sum;     // [T, 3 E'] forward, [3 E', D] backward: one product a piece
    View<Wide<Real>, 2> wide;    // [T, D]  x, then dx
    View<Wide<Real>, 2> scaled;  // [T, E]  s dy
};

/// There is nothing for types that are their own wide one.
template <class Real>
struct WideLinearKernels {
    void (*forward)(Stream, View<const Real, 2> x, View<const Wide<Real>, 2> w, double scale,
                    WideLinearRoom<Real>, View<Wide<Real>, 2> y);
    /// dx and dw may be empty: nobody needs them.
    void (*backward)(Stream, View<const Real, 2> x, View<const Wide<Real>, 2> w, View<const Wide<Real>, 2> dy,
                     double scale, WideLinearRoom<Real>, View<Real, 2> dx, Write write_x,
                     View<Wide<Real>, 2> dw, Write write_w);
};

inline constinit KernelSlot<WideLinearKernels> wide_linear_slot{"wide_linear"};

namespace detail {

/// E rounded up to 16 bytes of bf16, so that every piece begins where tensor cores can load from.
constexpr Index piece_columns(Index E) {
    return (E + 7) / 8 * 8;
}

/// Of one call.
template <class Real>
struct WideLinearMemory {
    static WideLinearMemory forward(Context& context, Index T, Index D, Index E) {
        if (context.target() != Device::cuda) return {.wide = context.make<Wide<Real>>({T, D})};
        const Index P = piece_columns(E);
        return {.w = context.make<Real>({3 * P, D}), .sum = context.make<Wide<Real>>({T, 3 * P})};
    }
    static WideLinearMemory backward(Context& context, Index T, Index D, Index E, bool dx, bool dw) {
        if (context.target() != Device::cuda)
            return {.wide = context.make<Wide<Real>>({T, D}), .scaled = context.make<Wide<Real>>({T, E})};
        const Index P = piece_columns(E);
        return {.w = dx ? context.make<Real>({3 * P, D}) : Tensor<Real>(),
                .dy = context.make<Real>({T, 4 * P}),
                .sum = dw ? context.make<Wide<Real>>({3 * P, D}) : Tensor<Wide<Real>>()};
    }
    WideLinearRoom<Real> room() const {
        return {view_or_none<2>(w), view_or_none<2>(dy), view_or_none<2>(sum), view_or_none<2>(wide),
                view_or_none<2>(scaled)};
    }

    Tensor<Real> w = {}, dy = {};
    Tensor<Wide<Real>> sum = {}, wide = {}, scaled = {};
};

/// What the backward of wide_linear holds.
template <class Real>
struct WideLinearBackward {
    Stream stream;
    Tensor<Real> x;  // only when w needs a gradient
    Var<Wide<Real>> w;
    double scale;
    std::shared_ptr<Gradient<Wide<Real>>> dy;
    std::shared_ptr<Gradient<Real>> dx;

    void operator()() const {
        const auto memory = WideLinearMemory<Real>::backward(stream.context(), dy->shape()[0], w.extent(1),
                                                             w.extent(0), dx != nullptr, w.needs_gradient());
        const auto into_x = dx ? dx->target() : GradientTarget<Real>();
        const auto into_w = w.needs_gradient() ? w.gradient()->target() : GradientTarget<Wide<Real>>();
        wide_linear_slot.get<Real>(stream.device())
            .backward(stream, view_or_none<2>(x), w.template view<2>(), dy->tensor().template view<2>(),
                      scale, memory.room(), view_or_none<2>(into_x.tensor), into_x.write,
                      view_or_none<2>(into_w.tensor), into_w.write);
    }
};

template <class Real>
void check_wide_linear(const Var<Real>& x, const Var<Wide<Real>>& w) {
    if (x.shape().rank() == 2 && w.shape().rank() == 2 && x.extent(1) == w.extent(1)) return;
    throw Error{ErrorCode::shape, "wide_linear", "x [T, D] and w [E, D]",
                format("x {}, w {}", x.shape().text(), w.shape().text())};
}

/// x [T, D], w [E, D] -> s x w^T [T, E].
template <class Real>
Var<Wide<Real>> wide_product(Tape& tape, const Var<Real>& x, const Var<Wide<Real>>& w, double scale) {
    check_wide_linear(x, w);
    const Index T = x.extent(0), D = x.extent(1), E = w.extent(0);
    auto y = tape.output<Wide<Real>>({T, E}, x.needs_gradient() || w.needs_gradient());
    wide_linear_slot.get<Real>(tape.device())
        .forward(tape.stream(), x.template view<2>(), w.template view<2>(), scale,
                 WideLinearMemory<Real>::forward(tape.context(), T, D, E).room(),
                 y.value().template view<2>());
    if (!y.needs_gradient()) return y;
    tape.record(y.gradient(),
                WideLinearBackward<Real>{tape.stream(), w.needs_gradient() ? x.value() : Tensor<Real>(), w,
                                         scale, y.gradient(), x.gradient()});
    return y;
}

}  // namespace detail

/// A deferred x that another op reads too; what it reads for itself may take a product with a wide weight along.
template <class Real>
class SharedInput : public detail::DeferredCast<Wide<Real>, Real> {
public:
    using detail::DeferredCast<Wide<Real>, Real>::DeferredCast;
    /// x w^T; undefined where x has to be read for it alone.
    virtual Var<Wide<Real>> product(Tape& tape, const Var<Wide<Real>>& w) = 0;
};

/// x [T, D], w [E, D] -> [T, E].
template <class Real>
Var<Wide<Real>> wide_linear(Tape& tape, const Var<Real>& x, const std::type_identity_t<Var<Wide<Real>>>& w) {
    if constexpr (!std::is_same_v<Real, Wide<Real>>) {
        return detail::wide_product(tape, x, w, 1);
    } else {
        if constexpr (std::is_same_v<Real, Wide<bf16>>) {
            auto* shared = dynamic_cast<SharedInput<bf16>*>(x.deferred().get());
            if (auto y = shared ? shared->product(tape, w) : Var<Real>(); y.defined()) return y;
            if (const auto* narrow = before_cast<bf16>(x)) return detail::wide_product(tape, *narrow, w, 1);
        }
        return linear(tape, x, w);
    }
}

/// lora_linear in the same way:   y = x w^T + (s x A^T) B^T   with both products of x from the narrow numbers. Where x is
/// dropped, drop(x) is made from a wide x.
template <class Real>
Var<Real> wide_lora_linear(Tape& tape, const Var<Real>& x, const std::type_identity_t<Var<Real>>& w,
                           const LoraWeights<Real>& lora, const Segments& segments) {
    if constexpr (std::is_same_v<Real, Wide<bf16>>) {
        const auto* narrow = before_cast<bf16>(x);
        if (narrow && active_dropout(tape, lora.dropout, segments, x.extent(0)).rate == 0) {
            const auto u = detail::wide_product(tape, *narrow, lora.A, lora.scale);
            return add(tape, wide_linear(tape, x, w), linear(tape, u, lora.B));
        }
    }
    return lora_linear(tape, x, w, lora, segments);
}

}  // namespace moegrad
