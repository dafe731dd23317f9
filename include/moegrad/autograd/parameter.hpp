#pragma once
// Parameter<T>: a weight with its name in the checkpoint, and while it trains its gradients and moments.
//
// A parameter that is used n times in a model has n gradient buffers, one per use, so that each is one chain over the
// rows of a step however the step is cut; the update adds them in order.
//
// Parameter<bf16> is a Parameter<float>, the master that the update works on, with a copy in bf16 that the model computes
// with. The master exists only where the parameter trains. So one list of Parameter<Wide<T>>* holds all that trains in a
// model, routers (float in a bf16 model) and weights alike.

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <moegrad/autograd/var.hpp>
#include <moegrad/core/nf4.hpp>

namespace moegrad {

/// Room on a GPU, or of a plan, for two weights [O, D] of a bf16 model, one behind the other in one block [2 O, D], so that
/// a kernel may take them for one matrix. The block is made for the first that comes; it goes with the two weights.
class SharedRoom {
public:
    /// of: 0 or 1.
    Tensor<bf16> place(int of, const Shape& shape, Device device) {
        if (!block_.defined() || given_[of])
            block_ = Tensor<bf16>::zeros({2 * shape[0], shape[1]}, device), given_[1 - of] = false;
        given_[of] = true;
        const Tensor<bf16> place = block_.rows(of * shape[0], (of + 1) * shape[0]);
        if (given_[1 - of]) block_ = {};
        return place;
    }

private:
    Tensor<bf16> block_;
    bool given_[2] = {};
};

template <class T>
class Parameter {
public:
    Parameter() = default;
    Parameter(std::string name, const Shape& shape) : Parameter(std::move(name), shape, true) {}
    Parameter(Parameter&&) = default;
    Parameter& operator=(Parameter&&) = default;
    Parameter(const Parameter&) = default;
    Parameter& operator=(const Parameter&) = default;
    virtual ~Parameter() = default;

    const std::string& name() const { return name_; }
    void rename(std::string name) { name_ = std::move(name); }
    const Shape& shape() const { return shape_; }
    Index size() const { return shape_.size(); }
    /// What the update works on; not there for a frozen Parameter<bf16>.
    const Tensor<T>& value() const { return value_; }
    /// What the model computes with, where that is another tensor: the update writes it too.
    virtual Tensor<bf16> compute_copy() const { return {}; }
    /// The type of what the model computes with.
    virtual Number number() const { return number_of<T>(); }
    bool defined() const { return shape_.rank() > 0; }

    bool trainable() const { return trainable_; }
    /// Frozen parameters hold no gradient and no moments; call before the first `use`.
    virtual void set_trainable(bool trainable) {
        if (trainable && quantised_.defined()) {
            throw Error{ErrorCode::config, name_, "a frozen weight", "one in NF4 that is to train",
                        "train an adapter, or load the model without model.quantise"};
        }
        trainable_ = trainable;
        if (!trainable) gradients_.clear();
    }

    /// The Var of the n-th place where the model uses this parameter.
    Var<T> use(int place = 0) {
        if (!trainable_) return Var<T>(value_);
        return Var<T>(value_, gradient(place));
    }

    /// One per use, in order; empty when frozen or never used.
    const std::vector<std::shared_ptr<Gradient<T>>>& gradients() const { return gradients_; }
    /// Blocks of each matrix that never train: their gradient is zeroed before the update.
    void freeze_block(const Block& block) { frozen_blocks_.push_back(block); }
    const std::vector<Block>& frozen_blocks() const { return frozen_blocks_; }

    void forget_gradients() {
        for (auto& gradient : gradients_) gradient->forget();
    }

    /// See Gradient::overwrite_next; of those there are.
    void overwrite_next(bool overwrites) {
        for (auto& gradient : gradients_) gradient->overwrite_next(overwrites);
    }
    /// See Gradient::set_accumulates; of those there are and those to come.
    void set_accumulates(bool accumulates) {
        accumulates_ = accumulates;
        for (auto& gradient : gradients_) gradient->set_accumulates(accumulates);
    }

    Tensor<T>& first_moment() { return moment(first_moment_); }
    Tensor<T>& second_moment() { return moment(second_moment_); }

    /// Where defined, a frozen weight in four bits: it has no values then.
    const Nf4Matrix& quantised() const { return quantised_; }
    /// From now on the weight is kept in NF4, which must lie where the model computes; its values go.
    void set_quantised(Nf4Matrix matrix) {
        if (!(matrix.shape == shape_)) {
            throw Error{ErrorCode::shape, name_, shape_.text(), matrix.shape.text()};
        }
        if (trainable_) {
            throw Error{ErrorCode::config, name_, "a frozen weight for NF4", "one that trains"};
        }
        quantised_ = std::move(matrix);
        drop_value();
    }
    /// Before NF4 comes in its place: the name and the shape stay.
    virtual void drop_value() { value_ = {}; }
    /// Zeros on `device` in place of the value, which is not copied there: for one that is frozen and is filled there.
    virtual void clear_on(Device device) { value_ = Tensor<T>::zeros(shape_, device); }
    /// To another device, values and moments; gradients are made anew where the values moved.
    virtual void move_to(Device device) {
        const bool stays = value_.on_host() != (device == Device::cuda);
        value_ = placed(value_, device);
        if (quantised_.defined()) quantised_ = placed(quantised_, device);
        first_moment_ = placed(first_moment_, device);
        second_moment_ = placed(second_moment_, device);
        if (!stays) gradients_.clear();
    }

protected:
    Parameter(std::string name, const Shape& shape, bool with_value)
        : name_(std::move(name)), shape_(shape), value_(with_value ? Tensor<T>::zeros(shape) : Tensor<T>()) {}

    /// Of the n-th use, lasting, where `value` lies.
    const std::shared_ptr<Gradient<T>>& gradient(int place) {
        while (static_cast<int>(gradients_.size()) <= place) {
            gradients_.push_back(std::make_shared<Gradient<T>>(Tensor<T>::zeros(shape_, value_.device())));
            gradients_.back()->set_accumulates(accumulates_);
        }
        return gradients_[static_cast<std::size_t>(place)];
    }

    std::string name_;
    Shape shape_;
    Tensor<T> value_;

private:
    Tensor<T>& moment(Tensor<T>& m) {
        if (!m.defined()) m = Tensor<T>::zeros(shape_, value_.device());
        return m;
    }

    bool trainable_ = false, accumulates_ = false;
    std::vector<std::shared_ptr<Gradient<T>>> gradients_;
    std::vector<Block> frozen_blocks_;
    Tensor<T> first_moment_, second_moment_;
    Nf4Matrix quantised_;
};

template <>
class Parameter<bf16> final : public Parameter<float> {
public:
    Parameter() = default;
    Parameter(std::string name, const Shape& shape)
        : Parameter<float>(std::move(name), shape, false), copy_(Tensor<bf16>::zeros(shape)) {}

    /// What the model computes with.
    const Tensor<bf16>& value() const { return copy_; }
    Tensor<bf16> compute_copy() const override { return copy_; }
    Number number() const override { return Number::bfloat16; }
    /// In float: the master where there is one.
    const Tensor<float>& master() const { return value_; }

    void set_trainable(bool trainable) override {
        Parameter<float>::set_trainable(trainable);
        if (!trainable) value_ = {};
        if (trainable && !value_.defined()) value_ = widened();
    }
    /// The copy follows a master that was written by hand, on the host.
    void round_master() {
        if (!value_.defined()) return;
        const Tensor<float> from = host(value_);
        auto rounded = Tensor<bf16>::zeros(shape_);
        for (Index i = 0; i < size(); ++i) rounded.data()[i] = bf16(from.data()[i]);
        copy_values(rounded, copy_);
    }

    Weight<bf16> use(int place = 0) {
        if (!trainable()) return Weight<bf16>(copy_);
        return Weight<bf16>(copy_, gradient(place));
    }

    void drop_value() override {
        Parameter<float>::drop_value();
        copy_ = {};
    }
    void clear_on(Device device) override {
        copy_ = room_ && device == Device::cuda ? room_->place(place_, shape_, device)
                                                : Tensor<bf16>::zeros(shape_, device);
    }
    void move_to(Device device) override {
        Parameter<float>::move_to(device);
        if (!room_ || device != Device::cuda || !copy_.defined() || !copy_.on_host()) {
            copy_ = placed(copy_, device);
            return;
        }
        const Tensor<bf16> there = room_->place(place_, shape_, device);
        copy_values(copy_, there);
        copy_ = there;
    }

    /// On a GPU this weight and `next`, of the same shape, are to lie one behind the other; in a plan they do so here. Before
    /// either has values.
    void put_before(Parameter& next) {
        room_ = next.room_ = std::make_shared<SharedRoom>();
        place_ = 0, next.place_ = 1;
        if (!Planning::active()) return;
        for (Parameter* weight : {this, &next})
            weight->copy_ = room_->place(weight->place_, shape_, Device::cpu);
    }

private:
    Tensor<float> widened() const {
        auto master = Tensor<float>::zeros(shape_);
        if (Planning::active()) return master;
        const Tensor<bf16> from = host(copy_);
        for (Index i = 0; i < size(); ++i) master.data()[i] = static_cast<float>(from.data()[i]);
        return placed(master, copy_.device());
    }

    Tensor<bf16> copy_;
    std::shared_ptr<SharedRoom> room_;
    int place_ = 0;
};

}  // namespace moegrad
