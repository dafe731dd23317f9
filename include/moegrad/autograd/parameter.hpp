#pragma once
// Parameter<T>: a weight with its name in the checkpoint, and while it trains its gradients and moments.
//
// Master copy and moments are Wide<T> (float for bf16 and float, double in a double model). The compute copy is the
// master itself unless T is narrower. A parameter that is used n times in a model has n gradient buffers, one per
// use, so that each is one chain over the rows of a step however the step is cut; the update adds them in order.

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <moegrad/autograd/var.hpp>

namespace moegrad {

template <class T>
class Parameter {
public:
    Parameter() = default;
    Parameter(std::string name, const Shape& shape)
        : name_(std::move(name)), value_(Tensor<T>::zeros(shape)) {}

    const std::string& name() const { return name_; }
    void rename(std::string name) { name_ = std::move(name); }
    const Shape& shape() const { return value_.shape(); }
    Index size() const { return value_.size(); }
    const Tensor<T>& value() const { return value_; }
    bool defined() const { return value_.defined(); }

    bool trainable() const { return trainable_; }
    /// Frozen parameters hold no gradient and no moments; call before the first `use`.
    void set_trainable(bool trainable) {
        trainable_ = trainable;
        if (!trainable) gradients_.clear();
    }

    /// The Var of the n-th place where the model uses this parameter.
    Var<T> use(int place = 0) {
        if (!trainable_) return Var<T>(value_);
        while (static_cast<int>(gradients_.size()) <= place) {
            gradients_.push_back(std::make_shared<Gradient<T>>(Tensor<T>::zeros(value_.shape())));
        }
        return Var<T>(value_, gradients_[static_cast<std::size_t>(place)]);
    }

    /// One per use, in order; empty when frozen or never used.
    const std::vector<std::shared_ptr<Gradient<T>>>& gradients() const { return gradients_; }
    /// Blocks of each matrix that never train: their gradient is zeroed before the update.
    void freeze_block(const Block& block) { frozen_blocks_.push_back(block); }
    const std::vector<Block>& frozen_blocks() const { return frozen_blocks_; }

    void forget_gradients() {
        for (auto& gradient : gradients_) gradient->forget();
    }

    Tensor<T>& first_moment() { return moment(first_moment_); }
    Tensor<T>& second_moment() { return moment(second_moment_); }

private:
    Tensor<T>& moment(Tensor<T>& m) {
        if (!m.defined()) m = Tensor<T>::zeros(value_.shape());
        return m;
    }

    std::string name_;
    Tensor<T> value_;
    bool trainable_ = false;
    std::vector<std::shared_ptr<Gradient<T>>> gradients_;
    std::vector<Block> frozen_blocks_;
    Tensor<T> first_moment_, second_moment_;
};

}  // namespace moegrad
