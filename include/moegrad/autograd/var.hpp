#pragma once
// Var<T>: a value and, where someone needs it, the place of its gradient. Weight<T>: the same of a weight, whose gradient
// is a sum over many rows and micro-batches, kept in Wide<T>: float for bf16. For float and double both are one type.
// Closures on the tape keep the two apart: an op holds the values it saved and the gradients it writes, nothing else,
// so memory goes back as soon as the last reader has run.
// An op whose gradient is that of its result (add) hands the result's over instead of a copy: several gradients share one
// tensor, and the first that is added to while others still hold it gets a copy of its own.
// A deferred Var has a shape and no memory before somebody asks for its value or its gradient.

#include <memory>
#include <utility>

#include <moegrad/core/context.hpp>

namespace moegrad {

/// Where a gradient goes and whether this write is the first.
template <class T>
struct GradientTarget {
    Tensor<T> tensor;
    Write write;
};

/// Gradient of one use of one value. Step memory, made at the first write; parameters bring a lasting tensor instead.
template <class T>
class Gradient {
public:
    Gradient(Context& context, const Shape& shape) : context_(&context), shape_(shape) {}
    /// Lasting: stays after backward and goes on accumulating until `forget` is called.
    explicit Gradient(Tensor<T> lasting) : tensor_(std::move(lasting)), shape_(tensor_.shape()) {}

    bool written() const { return written_; }
    const Tensor<T>& tensor() const { return tensor_; }
    const Shape& shape() const { return shape_; }

    /// The next write: overwrite at first (and after overwrite_next), accumulate from then on.
    GradientTarget<T> target() {
        if (!tensor_.defined()) tensor_ = context_->template make<T>(shape_);
        if (adopted_ && !tensor_.alone()) tensor_ = context_->clone(tensor_);
        const bool adds = (written_ || accumulates_) && !overwrites_;
        written_ = true, overwrites_ = false;
        return {tensor_, adds ? Write::accumulate : Write::overwrite};
    }
    /// Whether the first write of a step accumulates too: then whoever updates leaves zeros behind. A recorded
    /// micro-batch cannot tell the first from the others.
    void set_accumulates(bool accumulates) { accumulates_ = accumulates; }
    /// Whether the next write overwrites all the same: where nothing but zeros can stand, to read them costs as much as to write.
    void overwrite_next(bool overwrites) { overwrites_ = overwrites; }

    /// Takes `whole` as this gradient, where nothing has been written yet and nothing lasting stands. What is added later is
    /// added in place once nobody else holds it, else to a copy.
    bool adopt(const Tensor<T>& whole) {
        if (written_ || tensor_.defined()) return false;
        tensor_ = whole;
        written_ = adopted_ = true;
        return true;
    }

    /// The tensor, which this gradient holds no longer: for whoever is the last to read it.
    Tensor<T> give() { return std::exchange(tensor_, {}); }

    /// The next write overwrites again; called by the update.
    void forget() { written_ = false; }

private:
    Context* context_ = nullptr;
    Tensor<T> tensor_;
    Shape shape_;
    bool written_ = false, accumulates_ = false, overwrites_ = false, adopted_ = false;
};

template <class T, class G = T>
class Var;

/// What a deferred Var is to be: made at the first question for it, once for all copies.
template <class T, class G = T>
class Deferred {
public:
    virtual ~Deferred() = default;
    virtual const Shape& shape() const = 0;
    virtual bool needs_gradient() const = 0;
    virtual const Var<T, G>& made() = 0;
};

template <class T, class G>
class Var {
public:
    Var() = default;
    /// A constant: frozen weights, inputs, masks.
    explicit Var(Tensor<T> value) : value_(std::move(value)) {}
    Var(Tensor<T> value, std::shared_ptr<Gradient<G>> gradient)
        : value_(std::move(value)), gradient_(std::move(gradient)) {}
    explicit Var(std::shared_ptr<Deferred<T, G>> deferred) : deferred_(std::move(deferred)) {}

    const Tensor<T>& value() const { return deferred_ ? deferred_->made().value() : value_; }
    const Shape& shape() const { return deferred_ ? deferred_->shape() : value_.shape(); }
    Index extent(int axis) const { return shape()[axis]; }
    bool defined() const { return deferred_ || value_.defined(); }
    bool needs_gradient() const { return deferred_ ? deferred_->needs_gradient() : gradient_ != nullptr; }
    const std::shared_ptr<Gradient<G>>& gradient() const {
        return deferred_ ? deferred_->made().gradient() : gradient_;
    }
    /// Null for a Var that has its value.
    const std::shared_ptr<Deferred<T, G>>& deferred() const { return deferred_; }

    template <int Rank>
    View<const T, Rank> view() const {
        return value().template view<Rank>();
    }

private:
    Tensor<T> value_;
    std::shared_ptr<Gradient<G>> gradient_;
    std::shared_ptr<Deferred<T, G>> deferred_;
};

template <class T>
using Weight = Var<T, Wide<T>>;

}  // namespace moegrad
