#pragma once
// How the neurons of a feed-forward are cut into E slices of equal size: one permutation for gate, up and down, slice j
// owns its entries j F/E .. (j+1) F/E - 1. Clustering the three apart would pair neurons that do not belong together.
//     contiguous   as they lie (the released code)
//     random       shuffled by the seed
//     kmeans       balanced k-means of the rows [gate_f | up_f]: Lloyd's steps with room for F/E rows per centre, the
//                  closest pairs of row and centre first; it ends when nothing moves, after kFactorSteps at the latest

#include <algorithm>
#include <limits>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include <moegrad/core/philox.hpp>
#include <moegrad/core/tensor.hpp>

namespace moegrad {

enum class FactorSplit { contiguous, random, kmeans };

inline constexpr int kFactorSteps = 10;

inline FactorSplit factor_split_named(const std::string& name) {
    if (name == "contiguous") return FactorSplit::contiguous;
    if (name == "random") return FactorSplit::random;
    if (name == "kmeans") return FactorSplit::kmeans;
    throw Error{ErrorCode::config, "router.options: split", "contiguous, random or kmeans", name};
}

namespace detail {

/// Balanced k-means of the rows of `points` [F, C].
class BalancedClusters {
public:
    BalancedClusters(const Tensor<float>& points, Index clusters, Random& random)
        : points_(points), E_(clusters), centre_(Tensor<float>::zeros({clusters, points.extent(1)})) {
        std::vector<Index> order(static_cast<std::size_t>(points.extent(0)));
        std::iota(order.begin(), order.end(), 0);
        for (Index e = 0; e < E_; ++e) {  // E different rows
            const auto left = static_cast<std::uint64_t>(points.extent(0) - e);
            std::swap(order[static_cast<std::size_t>(e)],
                      order[static_cast<std::size_t>(e + static_cast<Index>(random.next_below(left)))]);
            std::copy_n(points.data() + order[static_cast<std::size_t>(e)] * points.extent(1),
                        points.extent(1), centre_.data() + e * points.extent(1));
        }
    }

    /// The cluster of every row.
    const std::vector<Index>& run() {
        for (int step = 0; step < kFactorSteps && assign(); ++step) move_centres();
        return owner_;
    }

private:
    /// Whether a row has another cluster now.
    bool assign() {
        const Index F = points_.extent(0);
        std::vector<std::pair<float, Index>> pairs;  // distance, f E + e
        for (Index f = 0; f < F; ++f) {
            for (Index e = 0; e < E_; ++e) pairs.emplace_back(distance(f, e), f * E_ + e);
        }
        std::sort(pairs.begin(), pairs.end());
        std::vector<Index> owner(static_cast<std::size_t>(F), -1), room(static_cast<std::size_t>(E_), F / E_);
        for (const auto& [far, pair] : pairs) {
            Index& mine = owner[static_cast<std::size_t>(pair / E_)];
            Index& left = room[static_cast<std::size_t>(pair % E_)];
            if (mine >= 0 || left == 0) continue;
            mine = pair % E_;
            --left;
        }
        const bool moved = owner != owner_;
        owner_ = std::move(owner);
        return moved;
    }
    float distance(Index f, Index e) const {
        const float *a = points_.data() + f * points_.extent(1), *b = centre_.data() + e * points_.extent(1);
        float sum = 0;
        for (Index c = 0; c < points_.extent(1); ++c) sum += (a[c] - b[c]) * (a[c] - b[c]);
        return sum;
    }
    void move_centres() {
        const Index F = points_.extent(0), C = points_.extent(1);
        std::fill(centre_.values().begin(), centre_.values().end(), 0.0f);
        const float part = static_cast<float>(E_) / static_cast<float>(F);
        for (Index f = 0; f < F; ++f) {
            float* into = centre_.data() + owner_[static_cast<std::size_t>(f)] * C;
            for (Index c = 0; c < C; ++c) into[c] += part * points_.data()[f * C + c];
        }
    }

    const Tensor<float>& points_;
    Index E_;
    Tensor<float> centre_;
    std::vector<Index> owner_;
};

}  // namespace detail

/// The neurons in the order of their slices. gate, up [F, D] on the host; E divides F.
template <class Real>
std::vector<Index> slice_permutation(FactorSplit split, const Tensor<Real>& gate, const Tensor<Real>& up,
                                     Index E, std::uint64_t seed, std::uint64_t stream) {
    const Index F = gate.extent(0), D = gate.extent(1);
    std::vector<Index> order(static_cast<std::size_t>(F));
    std::iota(order.begin(), order.end(), 0);
    Random random(seed, stream);
    if (split == FactorSplit::random) shuffle(std::span<Index>(order), random);
    if (split != FactorSplit::kmeans) return order;
    auto points = Tensor<float>::zeros({F, 2 * D});
    for (Index f = 0; f < F; ++f) {
        for (Index d = 0; d < D; ++d) {
            points.data()[f * 2 * D + d] = static_cast<float>(gate.data()[f * D + d]);
            points.data()[f * 2 * D + D + d] = static_cast<float>(up.data()[f * D + d]);
        }
    }
    const auto owner = detail::BalancedClusters(points, E, random).run();
    std::stable_sort(order.begin(), order.end(), [&](Index a, Index b) {
        return owner[static_cast<std::size_t>(a)] < owner[static_cast<std::size_t>(b)];
    });
    return order;
}

}  // namespace moegrad
