#pragma once
// Random contents for benchmarks. Power, and with it the clock of a GPU, depends on the data: normal values, all bits in use.

#include <algorithm>
#include <vector>

#include <moegrad/autograd/var.hpp>
#include <moegrad/core/nf4.hpp>
#include <moegrad/core/philox.hpp>
#include <moegrad/core/transfer.hpp>

namespace moegrad::bench {

/// A tensor filled with `block`, again and again. Its odd length lets no two rows of a power of two begin at one place.
template <class Real>
void fill_with(const Tensor<Real>& all, const Tensor<Real>& block) {
    const auto flat = all.reshape({all.size()});
    const Index period = block.size();
    for (Index begin = 0; begin < all.size(); begin += period) {
        const Index count = std::min(period, all.size() - begin);
        copy_values(block.columns(0, count), flat.columns(begin, begin + count));
    }
}

/// Normal with the given standard deviation.
template <class Real>
void fill_normal_block(const Tensor<Real>& all, std::uint64_t seed, double deviation) {
    constexpr Index kBlock = (Index{1} << 20) - 3;
    auto block = Tensor<Real>::zeros({std::min(kBlock, all.size())});
    Random random(seed);
    for (Real& value : block.values())
        value = static_cast<Real>(static_cast<float>(deviation * random.next_normal()));
    fill_with(all, placed(block, all.device()));
}
template <class Real>
Tensor<Real> normal(const Shape& shape, std::uint64_t seed, double deviation, Device device) {
    auto all = Tensor<Real>::zeros(shape, device);
    fill_normal_block(all, seed, deviation);
    return all;
}

/// A weight that learns.
template <class Real>
Weight<Real> learning_weight(const Shape& shape, double deviation, Device device) {
    return Weight<Real>(normal<Real>(shape, 15, deviation, device),
                        std::make_shared<Gradient<Wide<Real>>>(Tensor<Wide<Real>>::zeros(shape, device)));
}

/// NF4 of a million normal values.
inline Nf4Matrix some_nf4(double deviation) {
    const auto values = normal<float>({1024, 1024}, 99, deviation, Device::cpu);
    Nf4Quantiser quantiser(values.shape());
    quantiser.add(values.values());
    return quantiser.finish();
}
/// The codes of `some` again and again: those of a large model take a minute to make.
inline Nf4Matrix repeated(const Nf4Matrix& some, const Shape& shape) {
    Nf4Matrix all = Nf4Matrix::zeros(shape);
    fill_with(all.code, some.code);
    fill_with(all.scale, some.scale);
    fill_with(all.large, some.large);
    all.mean = some.mean;
    return all;
}

/// Integers in [0, bound).
inline Tensor<std::int32_t> integers(Index n, Index bound, Device device) {
    auto all = Tensor<std::int32_t>::zeros({n});
    Random random(7);
    for (Index i = 0; i < n; ++i)
        all.data()[i] = static_cast<std::int32_t>(random.next_below(static_cast<std::uint64_t>(bound)));
    return placed(all, device);
}

/// Which experts each of T tokens takes: `count[e]` rows for expert e in all, `slots` places a token, no expert twice in
/// one token. Token t takes taken[t] of them, in its first slots; the others hold `rest`.
class Deal {
public:
    Deal(const std::vector<Index>& taken, const std::vector<Index>& count) : taken_(taken) {
        for (std::size_t e = 0; e < count.size(); ++e)
            deck_.insert(deck_.end(), static_cast<std::size_t>(count[e]), static_cast<std::int32_t>(e));
        for (std::size_t t = 0; t < taken.size(); ++t) {
            begin_.push_back(owner_.size());
            owner_.insert(owner_.end(), static_cast<std::size_t>(taken[t]), t);
        }
        for (std::size_t i = deck_.size(); i > 1; --i) std::swap(deck_[i - 1], deck_[random_.next_below(i)]);
        for (std::size_t i = 0; i < deck_.size(); ++i)
            while (clashes(i)) exchange(i, random_.next_below(deck_.size()));
    }

    Tensor<std::int32_t> experts(Index slots, std::int32_t rest) const {
        auto all = Tensor<std::int32_t>::zeros({static_cast<Index>(taken_.size()), slots});
        for (std::size_t t = 0; t < taken_.size(); ++t) {
            for (Index k = 0; k < slots; ++k) {
                all.data()[static_cast<Index>(t) * slots + k] =
                    k < taken_[t] ? deck_[begin_[t] + static_cast<std::size_t>(k)] : rest;
            }
        }
        return all;
    }

private:
    bool clashes(std::size_t i) const {
        const std::size_t t = owner_[i], end = begin_[t] + static_cast<std::size_t>(taken_[t]);
        for (std::size_t j = begin_[t]; j < end; ++j)
            if (j != i && deck_[j] == deck_[i]) return true;
        return false;
    }
    /// Unless that breaks the other token.
    void exchange(std::size_t i, std::size_t j) {
        std::swap(deck_[i], deck_[j]);
        if (clashes(j)) std::swap(deck_[i], deck_[j]);
    }

    Random random_{3};
    std::vector<Index> taken_;
    std::vector<std::int32_t> deck_;
    std::vector<std::size_t> begin_, owner_;
};

/// `total` split as the weights are; the largest remainders get what rounding leaves.
inline std::vector<Index> shares(const std::vector<double>& weight, Index total) {
    double sum = 0;
    for (const double w : weight) sum += w;
    std::vector<Index> part;
    std::vector<std::pair<double, std::size_t>> remainder;
    Index left = total;
    for (std::size_t i = 0; i < weight.size(); ++i) {
        const double exact = static_cast<double>(total) * weight[i] / sum;
        part.push_back(static_cast<Index>(exact));
        remainder.emplace_back(static_cast<double>(part[i]) - exact, i);
        left -= part[i];
    }
    std::sort(remainder.begin(), remainder.end());
    for (Index i = 0; i < left; ++i) ++part[remainder[static_cast<std::size_t>(i)].second];
    return part;
}

}  // namespace moegrad::bench
