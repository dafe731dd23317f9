#pragma once
// Gate: the linear map from a token to router logits, z = x W^T (+ s B A x), frozen, with LoRA or fully trained.
// The weight is shared with the model that owns it: AdaMoE and Mixture of Routers reuse a checkpoint's own gate.
// Of a bf16 model it reads the activations as they are, if x is RouteInput::x itself (ops/wide_linear.hpp).

#include <memory>
#include <utility>
#include <vector>

#include <moegrad/autograd/lora_parameters.hpp>
#include <moegrad/ops/wide_linear.hpp>

namespace moegrad {

template <class Real>
struct Gate {
    std::shared_ptr<Parameter<Real>> weight;  // [C, D]
    LoraParameters<Real> lora;                // A [R, D], B [C, R]; undefined without LoRA
    int place = 0;                            // which use of the weight this is, where gates share one

    Gate() = default;
    explicit Gate(std::shared_ptr<Parameter<Real>> w, int place_ = 0) : weight(std::move(w)), place(place_) {}

    bool defined() const { return weight != nullptr; }
    Index columns() const { return defined() ? weight->shape()[0] : 0; }

    /// x [T, D] -> [T, C].
    Var<Real> logits(Tape& tape, const Var<Real>& x, const Segments& segments) {
        if (!lora.defined()) return wide_linear(tape, x, weight->use(place));
        return wide_lora_linear(
            tape, x, weight->use(place),
            LoraWeights<Real>{lora.A.use(), lora.B.use(), lora.scale, {lora.dropout, lora.module}}, segments);
    }

    std::vector<Parameter<Real>*> parameters() {
        std::vector<Parameter<Real>*> all{weight.get()};
        if (lora.defined()) all.insert(all.end(), {&lora.A, &lora.B});
        return all;
    }
};

}  // namespace moegrad
