#pragma once
// Lora: the low-rank adapter of one Linear, y = W x + s B A drop(x).   Hu et al. 2021 (arXiv 2106.09685).

#include <moegrad/autograd/lora_parameters.hpp>
#include <moegrad/nn/linear.hpp>
#include <moegrad/ops/lora_linear.hpp>

namespace moegrad {

template <class Real>
class Lora final : public LinearAdapter<Real> {
public:
    /// For `linear`; `module` numbers the place (dropout masks, random start), no two alike in a model.
    Lora(const Linear<Real>& linear, const LoraOptions& options, std::uint64_t seed, std::uint32_t module)
        : lora_(linear.path(), 0, linear.weight.shape()[0], linear.weight.shape()[1], options, seed, module) {
    }

    Var<Real> forward(Forward<Real>& forward, const Var<Real>& x, const Matrix<Real>& w) override {
        return lora_linear(
            forward.tape, x, w,
            LoraWeights<Real>{lora_.A.use(), lora_.B.use(), lora_.scale, {lora_.dropout, lora_.module}},
            forward.segments);
    }
    std::vector<Parameter<Wide<Real>>*> parameters() override { return {&lora_.A, &lora_.B}; }

    void clear_dropout() override { lora_.dropout = 0; }

    LoraParameters<Real>& lora() { return lora_; }

private:
    LoraParameters<Real> lora_;
};

}  // namespace moegrad
