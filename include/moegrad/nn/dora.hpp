#pragma once
// Dora: LoRA with the length of every row of the weight on its own, a vector m that trains.
//     y = (m / n) (W x + s B A x),   n[o] = |V_o|,   V = W + s B A        m starts as |W_o|: the first forward is the base's
// n follows A and B and is a constant in backward (section 4.3): dm[o] = sum_t dy (V x)_o / n_o, and what reaches A, B and x
// is m / n times what LoRA would get. A row of W that is 0 stays 0 until m moves.
// With dropout, x~ = drop(x), only the change is dropped, at the price of a second product (PEFT and NVlabs alike):
//     y = W x + (m / n - 1) W x~ + (m / n) s B A x~  =  W (x - x~) + (m / n) (W x~ + s B A x~)
// Liu et al. 2024 (arXiv 2402.09353), eq. 5. Tensors are named as PEFT's use_dora names them.

#include <moegrad/autograd/lora_parameters.hpp>
#include <moegrad/nn/linear.hpp>
#include <moegrad/ops/add.hpp>
#include <moegrad/ops/fill.hpp>
#include <moegrad/ops/lora_norm.hpp>
#include <moegrad/ops/scale_columns.hpp>

namespace moegrad {

namespace detail {

/// W on the host as the model computes with it: NF4 comes back as it was rounded.
template <class Real>
Tensor<Wide<Real>> computed_values(Context& host_context, const Parameter<Real>& weight) {
    if (!weight.quantised().defined()) return host_values<Real>(weight);
    const auto w = dequantise<Wide<Real>>(host_context, placed(weight.quantised(), Device::cpu));
    for (Wide<Real>& value : w.values()) value = static_cast<Wide<Real>>(Real(value));
    return w;
}

/// |W_o| of every row.
template <class Real>
void fill_row_norms(const Parameter<Real>& weight, const Tensor<Wide<Real>>& norms) {
    if (Planning::active()) return;
    using Value = Wide<Real>;
    Context context({.device = Device::cpu, .threads = 1});
    const Index O = weight.shape()[0], D = weight.shape()[1];
    const LoraWeights<Value> none{Weight<Value>(Tensor<Value>::zeros({1, D})),
                                  Weight<Value>(Tensor<Value>::zeros({O, 1}))};
    copy_values(lora_norm<Value>(context, Weight<Value>(computed_values(context, weight)), none), norms);
}

}  // namespace detail

template <class Real>
class Dora final : public LinearAdapter<Real> {
public:
    /// After the base's weights are there. `module` numbers the place, as for Lora.
    Dora(const Linear<Real>& linear, const LoraOptions& options, std::uint64_t seed, std::uint32_t module)
        : lora_(linear.path(), 0, linear.weight.shape()[0], linear.weight.shape()[1], options, seed, module),
          magnitude_(linear.path() + ".lora_magnitude_vector", Shape{linear.weight.shape()[0]}) {
        magnitude_.set_trainable(true);
        detail::fill_row_norms(linear.weight, magnitude_.value());
    }

    Var<Real> forward(Forward<Real>& forward, const Var<Real>& x, const Matrix<Real>& w) override {
        Tape& tape = forward.tape;
        const LoraWeights<Real> lora{lora_.A.use(), lora_.B.use(), lora_.scale};
        const auto norms = lora_norm<Real>(tape.context(), w, lora);
        const Dropout dropping{lora_.dropout, lora_.module};
        const bool drops = active_dropout(tape, dropping, forward.segments, x.extent(0)).rate > 0;
        const auto dropped = drops ? dropout(tape, x, forward.segments, dropping) : x;
        const auto y = scale_columns(tape, lora_linear(tape, dropped, w, lora, forward.segments),
                                     magnitude_.use(), norms);
        return drops ? add(tape, linear(tape, difference(tape, x, dropped), w), y) : y;
    }
    std::vector<Parameter<Wide<Real>>*> parameters() override { return {&lora_.A, &lora_.B, &magnitude_}; }
    void clear_dropout() override { lora_.dropout = 0; }

    LoraParameters<Real>& lora() { return lora_; }
    Parameter<Wide<Real>>& magnitude() { return magnitude_; }

private:
    static Var<Real> difference(Tape& tape, const Var<Real>& a, const Var<Real>& b) {
        const Var<Wide<Real>> minus(filled<Wide<Real>>(tape, {b.extent(1)}, -1));
        return add(tape, a, scale_columns(tape, b, minus));
    }

    LoraParameters<Real> lora_;
    Parameter<Wide<Real>> magnitude_;  // [O]
};

}  // namespace moegrad
