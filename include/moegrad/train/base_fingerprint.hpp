#pragma once
// base_fingerprint: which base model an adapter was trained on. SHA-256 over name, shape and up to 1024 evenly spaced
// values of every weight but the gates (a gate may train in full), rounded to bf16: the same for a checkpoint stored in
// 32 or in 16 bits, fused or one by one, read as float or double.

#include <algorithm>
#include <cstddef>
#include <string>

#include <moegrad/core/bf16.hpp>
#include <moegrad/io/sha256.hpp>
#include <moegrad/models/decoder.hpp>

namespace moegrad {

/// The key in the metadata of an adapter's file.
inline constexpr const char* kBaseMark = "moegrad.base";

template <class Real>
std::string base_fingerprint(Decoder<Real>& model) {
    constexpr std::size_t kSamples = 1024;
    std::string text;
    for (const auto* parameter : model.base_parameters()) {
        if (parameter->name().ends_with(".mlp.gate.weight")) continue;
        text += parameter->name();
        for (int axis = 0; axis < parameter->shape().rank(); ++axis)
            text += format(" {}", parameter->shape()[axis]);
        const auto values = parameter->value().values();
        const std::size_t stride = std::max<std::size_t>(1, values.size() / kSamples);
        for (std::size_t i = 0; i < values.size(); i += stride)
            text += format(",{:x}", bf16(static_cast<float>(values[i])).bits);
        text += '\n';
    }
    return sha256_hex(text);
}

}  // namespace moegrad
