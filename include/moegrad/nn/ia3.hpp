#pragma once
// Ia3: one vector that rescales what a Linear gives, or what a feed-forward's last Linear gets.
//     keys, values:      y = l * (W x),    l [O, 1]                 (the shapes are PEFT's)
//     down projection:   y = W (l * x),    l [1, D]: the hidden of the feed-forward
// l starts as ones: the first forward is the base's to the bit.       Liu et al. 2022 (arXiv 2205.05638), section 3.3.

#include <moegrad/autograd/parameter_values.hpp>
#include <moegrad/nn/linear.hpp>
#include <moegrad/ops/scale_columns.hpp>

namespace moegrad {

/// Which side of the Linear is rescaled.
enum class RescaledSide { output, input };

template <class Real>
class Ia3 final : public LinearAdapter<Real> {
public:
    Ia3(const Linear<Real>& linear, RescaledSide side)
        : side_(side),
          l_(linear.path() + ".ia3_l", side == RescaledSide::output ? Shape{linear.weight.shape()[0], 1}
                                                                    : Shape{1, linear.weight.shape()[1]}) {
        l_.set_trainable(true);
        for (auto& value : l_.value().values()) value = 1;
    }

    Var<Real> forward(Forward<Real>& forward, const Var<Real>& x, const Matrix<Real>& w) override {
        Tape& tape = forward.tape;
        return side_ == RescaledSide::output ? scale_columns(tape, linear(tape, x, w), l_.use())
                                             : linear(tape, scale_columns(tape, x, l_.use()), w);
    }
    std::vector<Parameter<Wide<Real>>*> parameters() override { return {&l_}; }

private:
    RescaledSide side_;
    Parameter<Wide<Real>> l_;
};

}  // namespace moegrad
