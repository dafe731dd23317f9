#pragma once
// For tests of molora_joint: its inputs, and who chose whom.

#include <vector>

#include "support/op_check.hpp"

namespace moegrad::test {

inline constexpr double kJointScale = 0.75;  // as RoundedMolora has it

/// K different experts of E, or none, per token; every fifth token has none at all.
inline Tensor<std::int32_t> joint_choices(Index T, Index K, Index E) {
    auto expert = Tensor<std::int32_t>::zeros({T, K});
    for (Index t = 0; t < T; ++t) {
        for (Index k = 0; k < K; ++k) {
            const bool none = t % 5 == 3 || (t + k) % 4 == 3;
            expert.matrix()(t, k) = static_cast<std::int32_t>(none ? -1 - t % 3 : (2 * t + k) % E);
        }
    }
    return expert;
}

/// Of x, w, A, B, weight [T, K] and router [C, D].
inline auto joint_shapes(Index D, Index O, Index R, Index E, Index K, Index C) {
    return [=](Index T) {
        return std::vector{Shape{T, D},    Shape{O, D}, Shape{E, R, D},
                           Shape{E, O, R}, Shape{T, K}, Shape{C, D}};
    };
}
inline std::vector<Tensor<double>> joint_inputs(const std::vector<Shape>& all) {
    std::vector<Tensor<double>> in;
    for (const Shape& shape : all) in.push_back(random_tensor(shape, in.size() + 1));
    return in;
}

}  // namespace moegrad::test
