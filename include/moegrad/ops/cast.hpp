#pragma once
// cast<To>(tape, x): x in another number type, rounded to nearest (ties to even) where it is the narrower one.
// backward: dx = dy, cast back. Equal types give x itself: no copy, no record. Between bf16 and float:
//   a router reads the activations of a bf16 model in float.
// cast_on_read<To>(tape, x): the same once somebody reads it; what takes x as it is (ops/wide_linear.hpp) asks before_cast.
// Saved: nothing.

#include <type_traits>

#include <moegrad/autograd/tape.hpp>
#include <moegrad/core/slot.hpp>

namespace moegrad {

/// Real is the narrow type; nothing is there for types that are their own wide one.
template <class Real>
struct CastKernels {
    void (*widen)(Stream, View<const Real, 2> from, View<Wide<Real>, 2> to, Write);
    /// to = from rounded, or to + from rounded once.
    void (*narrow)(Stream, View<const Wide<Real>, 2> from, View<Real, 2> to, Write);
};

inline constinit KernelSlot<CastKernels> cast_slot{"cast", Proof::reference};

namespace detail {

template <class Narrow, class From, class To>
void put_cast(const CastKernels<Narrow>& kernels, Stream stream, const Tensor<From>& from,
              const Tensor<To>& to, Write write) {
    if constexpr (std::is_same_v<Narrow, From>) {
        kernels.widen(stream, from.matrix(), to.matrix(), write);
    } else {
        kernels.narrow(stream, from.matrix(), to.matrix(), write);
    }
}

}  // namespace detail

/// Any shape.
template <class To, class From>
Var<To> cast(Tape& tape, const Var<From>& x) {
    if constexpr (std::is_same_v<To, From>) {
        return x;
    } else if constexpr (std::is_same_v<To, Wide<From>> || std::is_same_v<From, Wide<To>>) {
        using Narrow = std::conditional_t<std::is_same_v<To, Wide<From>>, From, To>;
        const auto& kernels = cast_slot.get<Narrow>(tape.device());
        auto y = tape.output<To>(x.shape(), x.needs_gradient());
        detail::put_cast(kernels, tape.stream(), x.value(), y.value(), Write::overwrite);
        if (!y.needs_gradient()) return y;
        tape.record(y.gradient(), [&kernels, stream = tape.stream(), dy = y.gradient(), into = x.gradient()] {
            auto dx = into->target();
            detail::put_cast(kernels, stream, dy->tensor(), dx.tensor, dx.write);
        });
        return y;
    } else {
        throw Error{ErrorCode::unsupported, "cast", "equal number types, or bf16 and float",
                    format("{} to {}", name(number_of<From>()), name(number_of<To>()))};
    }
}

namespace detail {

/// Lives no longer than the tape that the cast goes on.
template <class To, class From>
class DeferredCast : public Deferred<To> {
public:
    DeferredCast(Tape& tape, const Var<From>& x) : tape_(&tape), x_(x) {}

    const Var<From>& source() const { return x_; }
    const Shape& shape() const override { return x_.shape(); }
    bool needs_gradient() const override { return tape_->recording() && x_.needs_gradient(); }
    const Var<To>& made() final {
        if (!made_.defined()) made_ = cast<To>(*tape_, x_);
        return made_;
    }

protected:
    Tape* tape_;

private:
    Var<From> x_;
    Var<To> made_;
};

}  // namespace detail

/// Equal types give x itself.
template <class To, class From>
Var<To> cast_on_read(Tape& tape, const Var<From>& x) {
    if constexpr (std::is_same_v<To, From>) {
        return x;
    } else {
        return Var<To>(std::make_shared<detail::DeferredCast<To, From>>(tape, x));
    }
}

/// The x that a Var of cast_on_read stands for, or null for any other Var.
template <class From, class To>
const Var<From>* before_cast(const Var<To>& x) {
    const auto* deferred = dynamic_cast<const detail::DeferredCast<To, From>*>(x.deferred().get());
    return deferred ? &deferred->source() : nullptr;
}

}  // namespace moegrad
