#pragma once
// add, the residual sum.   y = a + b          backward: da = dy, db = dy
// Both take over dy's tensor where they have none of their own yet: along a residual stream no gradient is copied.
// add_on_read: the same once somebody reads y; rms_norm makes y in its own reading of a and b (sum_on_read).
// Saved: nothing.

#include <moegrad/autograd/tape.hpp>
#include <moegrad/core/slot.hpp>

namespace moegrad {

template <class Real>
struct AddKernels {
    void (*forward)(Stream, View<const Real, 2> a, View<const Real, 2> b, View<Real, 2> y);
    /// dx = dy, or dx += dy.
    void (*backward)(Stream, View<const Real, 2> dy, View<Real, 2> dx, Write);
};

inline constinit KernelSlot<AddKernels> add_slot{"add"};

namespace detail {

template <class Real>
void check_add(const Var<Real>& a, const Var<Real>& b) {
    if (a.shape() == b.shape()) return;
    throw Error{ErrorCode::shape, "add", "two equal shapes",
                format("a {}, b {}", a.shape().text(), b.shape().text())};
}

/// y, which nobody has written yet, and its backward on the tape.
template <class Real>
Var<Real> place_of_sum(Tape& tape, const Var<Real>& a, const Var<Real>& b) {
    auto y = tape.output<Real>(a.shape(), a.needs_gradient() || b.needs_gradient());
    if (!y.needs_gradient()) return y;
    tape.record(y.gradient(), [&kernels = add_slot.get<Real>(tape.device()), stream = tape.stream(),
                               dy = y.gradient(), da = a.gradient(), db = b.gradient()] {
        for (const auto& into : {da, db}) {
            if (!into || into->adopt(dy->tensor())) continue;
            auto dx = into->target();
            kernels.backward(stream, dy->tensor().matrix(), dx.tensor.matrix(), dx.write);
        }
    });
    return y;
}

}  // namespace detail

/// Any one shape.
template <class Real>
Var<Real> add(Tape& tape, const Var<Real>& a, const Var<Real>& b) {
    detail::check_add(a, b);
    const View<const Real, 2> a_view = a.value().matrix(), b_view = b.value().matrix();
    auto y = detail::place_of_sum(tape, a, b);
    add_slot.get<Real>(tape.device()).forward(tape.stream(), a_view, b_view, y.value().matrix());
    return y;
}

namespace detail {

/// Lives no longer than the tape that the sum goes on, and holds a and b until it is made.
template <class Real>
class DeferredSum final : public Deferred<Real> {
public:
    DeferredSum(Tape& tape, const Var<Real>& a, const Var<Real>& b)
        : tape_(&tape), a_(a), b_(b), shape_(a.shape()) {}

    const Shape& shape() const override { return shape_; }
    bool needs_gradient() const override {
        if (made_.defined()) return made_.needs_gradient();
        return tape_->recording() && (a_.needs_gradient() || b_.needs_gradient());
    }
    const Var<Real>& made() override {
        if (!made_.defined()) set(add(*tape_, a_, b_));
        return made_;
    }

    /// Whether it may still be made on `tape` by an op that reads a and b.
    bool open(const Tape& tape) const { return !made_.defined() && &tape == tape_; }
    /// make(a, b, y) writes y.
    template <class Make>
    void made_by(Make make) {
        const Tensor<Real> a = a_.value(), b = b_.value();
        auto y = place_of_sum(*tape_, a_, b_);
        make(a, b, y.value());
        set(std::move(y));
    }

private:
    void set(Var<Real> y) {
        made_ = std::move(y);
        a_ = b_ = {};
    }

    Tape* tape_;
    Var<Real> a_, b_, made_;
    Shape shape_;
};

}  // namespace detail

/// Any one shape.
template <class Real>
Var<Real> add_on_read(Tape& tape, const Var<Real>& a, const Var<Real>& b) {
    detail::check_add(a, b);
    return Var<Real>(std::make_shared<detail::DeferredSum<Real>>(tape, a, b));
}

/// The sum of add_on_read that x is, where nobody has read it yet and it belongs to `tape`; else null.
template <class Real>
detail::DeferredSum<Real>* sum_on_read(const Tape& tape, const Var<Real>& x) {
    auto* sum = dynamic_cast<detail::DeferredSum<Real>*>(x.deferred().get());
    return sum && sum->open(tape) ? sum : nullptr;
}

}  // namespace moegrad
