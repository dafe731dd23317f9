#pragma once
// LoraParameters: the two trainable factors of a low-rank update, delta W = s B A, for one matrix or a stack of them.
//   A [R, D] or [E, R, D],   B [O, R] or [E, O, R],   s = alpha / R, or alpha / sqrt(R) with rsLoRA.
// Start: A uniform in +-1/sqrt(D) (Kaiming with a = sqrt 5), B zero, so that the first forward is the base's to the bit.
// Hu et al. 2021 (arXiv 2106.09685); Kalajdzievski 2023 (rsLoRA).

#include <cmath>
#include <cstdint>
#include <string>

#include <moegrad/autograd/parameter_values.hpp>
#include <moegrad/core/philox.hpp>

namespace moegrad {

struct LoraOptions {
    Index rank = 8;
    double alpha = 16;
    double dropout = 0;
    enum class Scale { alpha_over_rank, alpha_over_sqrt_rank } scale = Scale::alpha_over_rank;

    double factor() const {
        const double r = static_cast<double>(rank);
        return scale == Scale::alpha_over_rank ? alpha / r : alpha / std::sqrt(r);
    }
};

/// Uniform in +-1/sqrt(columns); the same values for float and double models up to rounding.
template <class Real>
void fill_kaiming(const Tensor<Real>& weight, std::uint64_t seed, std::uint64_t stream) {
    if (Planning::active()) return;
    Random random(seed, stream);
    const double bound = 1.0 / std::sqrt(static_cast<double>(weight.columns() > 0 ? weight.columns() : 1));
    for (Real& value : weight.values()) {
        value = static_cast<Real>(bound * (2.0 * static_cast<double>(random.next_uniform()) - 1.0));
    }
}

/// Normal with the given standard deviation.
template <class Real>
void fill_normal(const Tensor<Real>& weight, double deviation, std::uint64_t seed, std::uint64_t stream) {
    if (Planning::active()) return;
    Random random(seed, stream);
    for (Real& value : weight.values()) value = static_cast<Real>(deviation * random.next_normal());
}

template <class Real>
struct LoraParameters {
    Parameter<Real> A, B;
    double scale = 1;
    double dropout = 0;
    std::uint32_t module = 0;  // which mask: enters every dropout key

    LoraParameters() = default;

    /// For one [out, in] matrix (experts = 0) or a stack of `experts` of them. `module` also picks the random stream.
    LoraParameters(const std::string& name, Index experts, Index out, Index in, const LoraOptions& options,
                   std::uint64_t seed, std::uint32_t module_)
        : A(name + ".lora_A.weight",
            experts == 0 ? Shape{options.rank, in} : Shape{experts, options.rank, in}),
          B(name + ".lora_B.weight",
            experts == 0 ? Shape{out, options.rank} : Shape{experts, out, options.rank}),
          scale(options.factor()),
          dropout(options.dropout),
          module(module_) {
        if (options.rank < 1) throw Error{ErrorCode::config, name, "r >= 1", format("r = {}", options.rank)};
        if (options.dropout < 0 || options.dropout >= 1) {
            throw Error{ErrorCode::config, name, "lora_dropout in [0, 1)", format("{}", options.dropout)};
        }
        A.set_trainable(true);
        B.set_trainable(true);
        change_values<Real>(A, [&](const Tensor<Wide<Real>>& a) { fill_kaiming(a, seed, module_); });
    }

    bool defined() const { return A.defined(); }
    Index rank() const { return A.shape()[A.shape().rank() - 2]; }
};

}  // namespace moegrad
