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
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
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

/// How frozen weights are kept: as the checkpoint has them, or in NF4.
enum class Quantisation { none, nf4 };

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

    /// Room for a matrix, or a stack of matrices whose blocks end where they end: all codes and scales 0.
    static Nf4Matrix zeros(const Shape& shape, const std::string& place = "Nf4Matrix") {
        if (shape.rank() == 3 && shape[1] * shape[2] % kNf4Block != 0) {
            throw Error{ErrorCode::shape, place, "matrices of a multiple of 64 values in a stack",
                        shape.text(), "NF4 has blocks of 64, and none reaches from one matrix to the next"};
        }
        const Index blocks = (shape.size() + kNf4Block - 1) / kNf4Block;
        Nf4Matrix matrix;
        matrix.shape = shape;
        matrix.code = Tensor<std::uint8_t>::zeros({(shape.size() + 1) / 2});
        matrix.scale = Tensor<std::uint8_t>::zeros({blocks});
        matrix.large = Tensor<float>::zeros({(blocks + kNf4ScaleBlock - 1) / kNf4ScaleBlock});
        return matrix;
    }

    bool defined() const { return code.defined(); }
    Nf4View view() const { return {code.data(), scale.data(), large.data(), mean}; }
    Index bytes() const { return defined() ? code.size() + scale.size() + 4 * large.size() : 0; }
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
    /// [rows, columns], or a stack of such matrices; `place` is what errors name.
    explicit Nf4Quantiser(const Shape& shape, std::string place = "Nf4Quantiser")
        : matrix_(Nf4Matrix::zeros(shape, place)), place_(std::move(place)) {
        maximum_.reserve(static_cast<std::size_t>(matrix_.scale.size()));
    }

    /// How many values were added.
    Index seen() const { return seen_; }

    void add(std::span<const float> values) {
        if (static_cast<Index>(values.size()) > matrix_.shape.size() - seen_) {
            throw Error{ErrorCode::shape, place_, format("{} values", matrix_.shape.size()), "more"};
        }
        while (!values.empty()) {
            const auto room = static_cast<std::size_t>(kNf4Block - filled_);
            const auto some = values.first(std::min(values.size(), room));
            require_finite(some);
            std::copy(some.begin(), some.end(), block_ + filled_);
            filled_ += static_cast<Index>(some.size());
            seen_ += static_cast<Index>(some.size());
            if (filled_ == kNf4Block) end_block();
            values = values.subspan(some.size());
        }
    }

    Nf4Matrix finish() {
        if (seen_ != matrix_.shape.size()) {
            throw Error{ErrorCode::shape, place_, format("{} values", matrix_.shape.size()),
                        format("{}", seen_)};
        }
        if (filled_ > 0) end_block();
        quantise_maxima();
        return std::move(matrix_);
    }

    /// How many of the 15 midpoints lie below x.
    static int code_of(float x) {
        int code = 0;
        for (const float midpoint : kMidpoints) code += x > midpoint ? 1 : 0;
        return code;
    }

private:
    static constexpr std::array<float, 15> kMidpoints = [] {
        std::array<float, 15> all{};
        for (int code = 0; code < 15; ++code)
            all[static_cast<std::size_t>(code)] = (nf4_value(code) + nf4_value(code + 1)) / 2;
        return all;
    }();

    /// max |w|. Without the sign the bits of floats are in the order of their values: compilers find vectors for this.
    static float largest_of(std::span<const float> values) {
        std::int32_t largest = 0;
        for (const float value : values)
            largest = std::max(largest, std::bit_cast<std::int32_t>(value) & 0x7fffffff);
        return std::bit_cast<float>(largest);
    }
    void require_finite(std::span<const float> values) const {
        if (std::isfinite(largest_of(values))) return;
        const auto bad =
            std::find_if(values.begin(), values.end(), [](float value) { return !std::isfinite(value); });
        throw Error{ErrorCode::value, place_, "finite weights for NF4",
                    format("{} at {}", *bad, seen_ + (bad - values.begin()))};
    }

    void end_block() {
        const float largest = largest_of({block_, static_cast<std::size_t>(filled_)});
        const float inverse = 1 / largest;  // infinite for zeros, and for what is as good as zeros
        std::int32_t codes[kNf4Block] = {};
        if (std::isfinite(inverse)) {
            // Without a branch: compilers find vectors. What lies beyond a short block is not looked at.
            for (Index i = 0; i < kNf4Block; ++i) codes[i] = code_of(block_[i] * inverse);
        } else {
            std::fill_n(codes, kNf4Block, kNf4Zero);
        }
        // Blocks begin at whole bytes.
        std::uint8_t* to = matrix_.code.data() + (seen_ - filled_) / 2;
        for (Index i = 0; i < filled_ / 2; ++i)
            to[i] = static_cast<std::uint8_t>(codes[2 * i] << 4 | codes[2 * i + 1]);
        if (filled_ % 2 == 1) to[filled_ / 2] = static_cast<std::uint8_t>(codes[filled_ - 1] << 4);
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
    std::string place_;
    float block_[kNf4Block] = {};
    Index filled_ = 0, seen_ = 0;
    std::vector<float> maximum_;  // of each block
};

}  // namespace moegrad
