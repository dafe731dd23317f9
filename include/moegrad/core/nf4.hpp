#pragma once
// NF4: weights in four bits, QLoRA's NormalFloat with double quantisation (Dettmers et al. 2023; tables and
// layout are those of bitsandbytes). A matrix is one run of values, row by row, in blocks of 64; w of a block
// becomes
//   m = max |w|,   x = w (1 / m) in float
//   code = how many of the 15 midpoints between neighbours of the book lie below x
// so that a tie goes down. A block of zeros gets the code of 0. Two codes a byte, the earlier one in the high
// half. The maxima are kept in eight bits, in blocks of 256, about the mean of all:
//   large = max |m - mean|,   scale = the nearest of the map to (m - mean) / large
// and a value comes back as   book[code] (map[scale] large + mean),   every operation rounded to float.
// 4 + 8/64 + 32/(64 256) = 4.127 bits a value.
// Each matrix has its own blocks: none reaches from one expert to the next.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

#include <moegrad/core/transfer.hpp>

namespace moegrad {

inline constexpr Index kNf4Block = 64;
inline constexpr Index kNf4ScaleBlock = 256;
inline constexpr int kNf4Zero = 7;  // the code of 0

/// The code book: sixteen quantiles of a normal distribution.
MOEGRAD_HD constexpr float nf4_value(int code) {
    constexpr float book[16] = {-1.0f,
                                -0.6961928009986877f,
                                -0.5250730514526367f,
                                -0.39491748809814453f,
                                -0.28444138169288635f,
                                -0.18477343022823334f,
                                -0.09105003625154495f,
                                0.0f,
                                0.07958029955625534f,
                                0.16093020141124725f,
                                0.24611230194568634f,
                                0.33791524171829224f,
                                0.44070982933044434f,
                                0.5626170039176941f,
                                0.7229568362236023f,
                                1.0f};
    return book[code];
}

/// The map of the scales, 256 values upwards: for i = 0 .. 6 the midpoints of 2^i equal parts of [0.1, 1],
/// times 10^(i - 6), with both signs; 0; and 1.
MOEGRAD_HD constexpr float nf4_map(int scale) {
    if (scale == 127) return 0.0f;
    if (scale == 255) return 1.0f;
    const int n = scale > 127 ? scale - 127 : 127 - scale;  // 1 .. 127, the parts of all i in a row
    int parts = 1;
    double power = 10000000;  // 10^(7 - i)
    while (2 * parts <= n) parts *= 2, power /= 10;
    // (0.1 + 0.9 (j + 1/2) / parts) 10^(i - 6), j = n - parts, as one quotient of whole numbers.
    const double value = (2 * parts + 9 * (2 * (n - parts) + 1)) / (2 * parts * power);
    return static_cast<float>(scale > 127 ? value : -value);
}

/// The maximum of a block as it comes back. The product is exact in double: nothing can be fused with the
/// sum.
MOEGRAD_HD constexpr float nf4_maximum(float map, float large, float mean) {
    return static_cast<float>(static_cast<double>(map) * static_cast<double>(large)) + mean;
}

/// What kernels need of an Nf4Matrix.
struct Nf4View {
    const std::uint8_t* code = nullptr;   // [(size + 1) / 2]
    const std::uint8_t* scale = nullptr;  // [blocks of 64]
    const float* large = nullptr;         // [blocks of 256 scales]
    float mean = 0;
};

struct Nf4Matrix {
    Shape shape;  // [rows, columns], or a stack of them
    Tensor<std::uint8_t> code, scale;
    Tensor<float> large;
    float mean = 0;

    bool defined() const { return code.defined(); }
    Nf4View view() const { return {code.data(), scale.data(), large.data(), mean}; }
    Index bytes() const { return code.size() + scale.size() + 4 * large.size(); }
};

inline Nf4Matrix placed(const Nf4Matrix& matrix, Device device) {
    Nf4Matrix there = matrix;
    there.code = placed(matrix.code, device);
    there.scale = placed(matrix.scale, device);
    there.large = placed(matrix.large, device);
    return there;
}

/// Takes the values of one matrix in order, in pieces of any size, and keeps none of them: a checkpoint
/// streams through.
class Nf4Quantiser {
public:
    /// [rows, columns], or a stack of such matrices whose blocks end where they end.
    explicit Nf4Quantiser(const Shape& shape) {
        if (shape.rank() == 3 && shape[1] * shape[2] % kNf4Block != 0) {
            throw Error{ErrorCode::shape, "Nf4Quantiser", "matrices of a multiple of 64 values in a stack",
                        shape.text(), "quantise them one by one"};
        }
        matrix_.shape = shape;
        const Index blocks = (shape.size() + kNf4Block - 1) / kNf4Block;
        matrix_.code = Tensor<std::uint8_t>::zeros({(shape.size() + 1) / 2});
        matrix_.scale = Tensor<std::uint8_t>::zeros({blocks});
        matrix_.large = Tensor<float>::zeros({(blocks + kNf4ScaleBlock - 1) / kNf4ScaleBlock});
        maximum_.reserve(static_cast<std::size_t>(blocks));
    }

    void add(std::span<const float> values) {
        if (static_cast<Index>(values.size()) > matrix_.shape.size() - seen_) {
            throw Error{ErrorCode::shape, "Nf4Quantiser", format("{} values", matrix_.shape.size()), "more"};
        }
        for (const float value : values) {
            if (!std::isfinite(value)) {
                throw Error{ErrorCode::value, "Nf4Quantiser", "finite weights",
                            format("{} at {}", value, seen_)};
            }
            block_[filled_++] = value;
            ++seen_;
            if (filled_ == kNf4Block) end_block();
        }
    }

    Nf4Matrix finish() {
        if (seen_ != matrix_.shape.size()) {
            throw Error{ErrorCode::shape, "Nf4Quantiser", format("{} values", matrix_.shape.size()),
                        format("{}", seen_)};
        }
        if (filled_ > 0) end_block();
        quantise_maxima();
        return std::move(matrix_);
    }

    /// How many of the 15 midpoints lie below x.
    static int code_of(float x) {
        int code = 0;
        while (code < 15 && x > (nf4_value(code) + nf4_value(code + 1)) / 2) ++code;
        return code;
    }

private:
    void end_block() {
        float largest = 0;
        for (Index i = 0; i < filled_; ++i) largest = std::max(largest, std::fabs(block_[i]));
        const float inverse = 1 / largest;  // infinite for zeros, and for what is as good as zeros
        for (Index i = 0; i < filled_; ++i) {
            const int code = std::isfinite(inverse) ? code_of(block_[i] * inverse) : kNf4Zero;
            const Index at = seen_ - filled_ + i;
            matrix_.code.data()[at / 2] |= static_cast<std::uint8_t>(at % 2 == 0 ? code << 4 : code);
        }
        maximum_.push_back(largest);
        filled_ = 0;
    }

    /// The nearest of the map; of two equally near the lower.
    static std::uint8_t nearest(const std::vector<float>& midpoint, float x) {
        return static_cast<std::uint8_t>(std::lower_bound(midpoint.begin(), midpoint.end(), x) -
                                         midpoint.begin());
    }

    void quantise_maxima() {
        double sum = 0;
        for (const float m : maximum_) sum += m;
        matrix_.mean = maximum_.empty() ? 0 : static_cast<float>(sum / static_cast<double>(maximum_.size()));
        std::vector<float> midpoint;
        for (int i = 0; i < 255; ++i) midpoint.push_back((nf4_map(i) + nf4_map(i + 1)) / 2);
        const Index blocks = static_cast<Index>(maximum_.size());
        for (Index begin = 0; begin < blocks; begin += kNf4ScaleBlock) {
            const Index end = std::min(blocks, begin + kNf4ScaleBlock);
            const auto shifted = [&](Index i) {
                return maximum_[static_cast<std::size_t>(i)] - matrix_.mean;
            };
            float large = 0;
            for (Index i = begin; i < end; ++i) large = std::max(large, std::fabs(shifted(i)));
            matrix_.large.data()[begin / kNf4ScaleBlock] = large;
            for (Index i = begin; i < end; ++i) {
                matrix_.scale.data()[i] = nearest(midpoint, large > 0 ? shifted(i) / large : 0.0f);
            }
        }
    }

    Nf4Matrix matrix_;
    float block_[kNf4Block] = {};
    Index filled_ = 0, seen_ = 0;
    std::vector<float> maximum_;  // of each block
};

}  // namespace moegrad
