#pragma once
// Host ids where a model can read them.

#include <span>

#include <moegrad/core/transfer.hpp>
#include <moegrad/ops/embedding.hpp>

namespace moegrad {

/// [n] on `device`; ids of a GPU are checked here, for nobody can look at them there.
inline Tensor<std::int32_t> placed_ids(std::span<const std::int32_t> ids, Index below, Device device) {
    if (device == Device::cuda) check_ids(ids, below);
    return placed(Tensor<std::int32_t>::from({static_cast<Index>(ids.size())}, ids), device);
}

}  // namespace moegrad
