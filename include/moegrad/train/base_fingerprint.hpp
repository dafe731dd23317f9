#pragma once
// base_fingerprint: which base model an adapter was trained on. SHA-256 over name, shape and up to 1024 evenly spaced
// values of every weight but the gates (a gate may train in full), rounded to bf16: the same for a checkpoint stored in
// 32 or in 16 bits, fused or one by one, read as float, double or bf16.
// A model that is loaded onto a GPU, or in NF4, keeps the fingerprint of what was read: no weight comes back for it.

#include <algorithm>
#include <span>
#include <string>

#include <moegrad/core/bf16.hpp>
#include <moegrad/io/sha256.hpp>
#include <moegrad/models/quantised.hpp>

namespace moegrad {

/// The key in the metadata of an adapter's file.
inline constexpr const char* kBaseMark = "moegrad.base";

namespace detail {

/// What one weight adds to the text that is hashed. Takes its values in order, in pieces of any size.
class FingerprintLine {
public:
    FingerprintLine(const std::string& name, const Shape& shape)
        : text_(name), stride_(std::max<Index>(1, shape.size() / kSamples)) {
        for (int axis = 0; axis < shape.rank(); ++axis) text_ += format(" {}", shape[axis]);
    }
    template <class T>
    void add(std::span<const T> values) {
        const Index end = seen_ + static_cast<Index>(values.size());
        for (; next_ < end; next_ += stride_) {
            const T value = values[static_cast<std::size_t>(next_ - seen_)];
            text_ += format(",{:x}", bf16(static_cast<float>(value)).bits);
        }
        seen_ = end;
    }
    std::string text() const { return text_ + '\n'; }

private:
    static constexpr Index kSamples = 1024;
    std::string text_;
    Index stride_, seen_ = 0, next_ = 0;
};

/// Of a weight that is there whole; nothing of a gate.
template <class Real>
std::string fingerprint_line(const Parameter<Wide<Real>>& parameter) {
    if (parameter.name().ends_with(".mlp.gate.weight")) return {};
    FingerprintLine line(parameter.name(), parameter.shape());
    visit_values<Real>(parameter, [&]<class T>(const Tensor<T>& all) {
        const auto whole = host(all);
        line.add(std::span<const T>(whole.values()));
    });
    return line.text();
}

}  // namespace detail

template <class Real>
std::string base_fingerprint(Decoder<Real>& model) {
    if (model.as_read && (model.away() || is_quantised(model))) return model.as_read->fingerprint;
    std::string text;
    for (const auto* parameter : model.base_parameters()) text += detail::fingerprint_line<Real>(*parameter);
    return sha256_hex(text);
}

}  // namespace moegrad
