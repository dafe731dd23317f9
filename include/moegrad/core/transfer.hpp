#pragma once
// Tensors between host and device. Copies are ordered with the kernels; only `host` waits.

#include <algorithm>
#include <cstring>
#include <type_traits>

#include <moegrad/core/bf16.hpp>
#include <moegrad/core/tensor.hpp>

namespace moegrad {

/// to = from, dense tensors of one size, wherever they lie.
template <class T>
void copy_values(const Tensor<T>& from, const Tensor<T>& to) {
    const View<T, 1> source = from.flat(), target = to.flat();
    if (source.size() != target.size()) {
        throw Error{ErrorCode::shape, "copy_values", to.shape().text(), from.shape().text()};
    }
    const std::size_t bytes = static_cast<std::size_t>(source.size()) * sizeof(T);
    if (bytes == 0 || source.data == target.data) return;
    if (from.on_host() && to.on_host()) {
        std::memcpy(target.data, source.data, bytes);
        return;
    }
    cuda_memory().copy(target.data, source.data, bytes,
                       from.on_host() ? Copy::upload
                       : to.on_host() ? Copy::download
                                      : Copy::inside);
}

/// The tensor itself where it is on the host, else a copy. Waits for the device.
template <class T>
Tensor<T> host(const Tensor<T>& tensor) {
    if (tensor.on_host()) return tensor;
    auto copy = Tensor<T>::zeros(tensor.shape());
    copy_values(tensor, copy);
    return copy;
}

/// A host tensor in Wide<T>: itself, or the numbers of a bf16 tensor as float.
template <class T>
Tensor<Wide<T>> widened(const Tensor<T>& tensor) {
    if constexpr (std::is_same_v<T, Wide<T>>) {
        return tensor;
    } else {
        auto wide = Tensor<Wide<T>>::zeros(tensor.shape());
        const auto from = tensor.values();
        std::transform(from.begin(), from.end(), wide.data(), [](T value) { return Wide<T>(value); });
        return wide;
    }
}

/// The tensor itself where it lies on `device`, else a lasting copy there. A plan's tensors stay where they are.
template <class T>
Tensor<T> placed(const Tensor<T>& tensor, Device device) {
    if (!tensor.defined() || (device == Device::cuda) != tensor.on_host()) return tensor;
    auto copy = Tensor<T>::zeros(tensor.shape(), device);
    copy_values(tensor, copy);
    return copy;
}

/// All bytes zero; a dense tensor, wherever it lies.
template <class T>
void clear(const Tensor<T>& tensor) {
    const std::size_t bytes = static_cast<std::size_t>(tensor.flat().size()) * sizeof(T);
    if (bytes == 0) return;
    if (!tensor.on_host()) return cuda_memory().fill(tensor.data(), 0, bytes);
    std::fill_n(reinterpret_cast<unsigned char*>(tensor.data()), bytes, static_cast<unsigned char>(0));
}

}  // namespace moegrad
