#pragma once
// base_fingerprint: which base model an adapter was trained on. SHA-256 over name, shape and up to 1024 evenly spaced
// values of every weight but the gates (a gate may train in full), rounded to bf16: the same for a checkpoint stored in
// 32 or in 16 bits, fused or one by one, read as float, double or bf16.
// A model that is loaded onto a GPU keeps the fingerprint of what was read: no weight comes back for it.

#include <algorithm>
#include <cstddef>
#include <string>

#include <moegrad/core/bf16.hpp>
#include <moegrad/io/sha256.hpp>
#include <moegrad/models/decoder.hpp>

namespace moegrad {

/// The key in the metadata of an adapter's file.
inline constexpr const char* kBaseMark = "moegrad.base";

namespace detail {

/// What one weight adds to the text that is hashed; nothing of a gate.
template <class Real>
std::string fingerprint_line(const Parameter<Wide<Real>>& parameter) {
    constexpr std::size_t kSamples = 1024;
    if (parameter.name().ends_with(".mlp.gate.weight")) return {};
    std::string text = parameter.name();
    for (int axis = 0; axis < parameter.shape().rank(); ++axis)
        text += format(" {}", parameter.shape()[axis]);
    visit_values<Real>(parameter, [&](const auto& all) {
        const auto whole = host(all);
        const auto values = whole.values();
        const std::size_t stride = std::max<std::size_t>(1, values.size() / kSamples);
        for (std::size_t i = 0; i < values.size(); i += stride)
            text += format(",{:x}", bf16(static_cast<float>(values[i])).bits);
    });
    return text + '\n';
}

}  // namespace detail

template <class Real>
std::string base_fingerprint(Decoder<Real>& model) {
    if (model.away() && model.as_read) return model.as_read->fingerprint;
    std::string text;
    for (const auto* parameter : model.base_parameters()) text += detail::fingerprint_line<Real>(*parameter);
    return sha256_hex(text);
}

}  // namespace moegrad
