#pragma once
// A small model with its frozen weights in NF4, without a checkpoint to read.

#include <moegrad/models/quantised.hpp>

namespace moegrad::test {

/// Every weight that may be NF4 is.
inline void quantise_weights(Decoder<float>& model) {
    for (auto* parameter : quantisable_parameters(model)) {
        parameter->set_trainable(false);
        Nf4Quantiser quantiser(parameter->shape());
        quantiser.add(parameter->value().values());
        parameter->set_quantised(quantiser.finish());
    }
}

}  // namespace moegrad::test
