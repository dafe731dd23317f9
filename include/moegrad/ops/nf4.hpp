#pragma once
// dequantise: a matrix in NF4 (core/nf4.hpp) as numbers, w [rows, columns] in step memory, rounded once to
// Real. The weights it stands for are frozen: gradients go through w, none to it. Saved: nothing; whoever
// needs w in backward asks again.
//
// Matrix<Real>: the weight of a Linear, or of a stack of them, as an op takes it, dense or in NF4:
//   kernels.forward(stream, x.view<2>(), w.dense(context).view<2>(), y.view<2>());

#include <concepts>
#include <utility>

#include <moegrad/autograd/parameter.hpp>
#include <moegrad/autograd/tape.hpp>
#include <moegrad/core/slot.hpp>

namespace moegrad {

template <class Real>
struct Nf4Kernels {
    void (*dequantise)(Stream, Nf4View matrix, View<Real, 2> w);
};

inline constinit KernelSlot<Nf4Kernels> nf4_slot{"nf4", Proof::reference};

template <class Real>
Tensor<Real> dequantise(Context& context, const Nf4Matrix& matrix) {
    auto w = context.make<Real>(matrix.shape);
    nf4_slot.get<Real>(context.device()).dequantise(context.stream(), matrix.view(), w.matrix());
    return w;
}

template <class Real>
class Matrix {
public:
    Matrix() = default;
    /// Whatever an op took for a weight before.
    template <class W>
    requires std::convertible_to<const W&, Weight<Real>> Matrix(const W& weight)
        : weight_(weight), shape_(weight_.shape()) {}
    /// Frozen. The tensors are shared.
    explicit Matrix(Nf4Matrix quantised) : quantised_(std::move(quantised)), shape_(quantised_.shape) {}

    const Shape& shape() const { return shape_; }
    Index extent(int axis) const { return shape_[axis]; }
    bool needs_gradient() const { return weight_.needs_gradient(); }
    const std::shared_ptr<Gradient<Wide<Real>>>& gradient() const { return weight_.gradient(); }

    /// The numbers; of NF4 for as long as the tensor lives, in step memory.
    Tensor<Real> dense(Context& context) const {
        return quantised_.defined() ? dequantise<Real>(context, quantised_) : weight_.value();
    }

private:
    Weight<Real> weight_;
    Nf4Matrix quantised_;
    Shape shape_;
};

/// A use of a weight, in whichever form it is kept.
template <class Real>
Matrix<Real> matrix_of(Parameter<Real>& weight) {
    return weight.quantised().defined() ? Matrix<Real>(weight.quantised()) : Matrix<Real>(weight.use());
}

}  // namespace moegrad
