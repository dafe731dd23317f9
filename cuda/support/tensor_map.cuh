#pragma once
// Tensor maps: how the copy engine is told of a matrix. Rows of the box are 128 bytes (64 bf16), swizzled the way
// wgmma reads them. What lies outside the matrix arrives as zeros.

#include <cuda.h>
#include <cudaTypedefs.h>

#include <moegrad/core/bf16.hpp>
#include <moegrad/core/view.hpp>
#include <moegrad/cuda/support/check.cuh>

namespace moegrad::cuda {

inline constexpr int kBoxColumns = 64;

/// What the copy engine asks of an operand: 16-byte aligned rows.
template <class T, int Rank>
bool fits_tensor_map(const View<T, Rank>& x) {
    return reinterpret_cast<std::uintptr_t>(x.data) % 16 == 0 && x.pitch % 8 == 0 && x.size() > 0;
}

namespace detail {

inline PFN_cuTensorMapEncodeTiled_v12000 tensor_map_encoder() {
    static const PFN_cuTensorMapEncodeTiled_v12000 encoder = [] {
        void* entry = nullptr;
        cudaDriverEntryPointQueryResult found;
#if CUDART_VERSION >= 12050
        check(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &entry, 12000, cudaEnableDefault,
                                               &found),
              "tensor_map");
#else
        check(cudaGetDriverEntryPoint("cuTensorMapEncodeTiled", &entry, cudaEnableDefault, &found),
              "tensor_map");
#endif
        if (found != cudaDriverEntryPointSuccess) {
            throw Error{ErrorCode::unsupported, "tensor_map", "a driver with cuTensorMapEncodeTiled", "none",
                        "moegrad doctor shows the driver; Hopper's kernels need that of CUDA 12.0 or later"};
        }
        return reinterpret_cast<PFN_cuTensorMapEncodeTiled_v12000>(entry);
    }();
    return encoder;
}

template <int Rank>
CUtensorMap encode(const bf16* data, const cuuint64_t (&extents)[Rank], const cuuint64_t (&strides)[Rank - 1],
                   const cuuint32_t (&box)[Rank]) {
    CUtensorMap map;
    cuuint32_t ones[Rank];
    for (cuuint32_t& one : ones) one = 1;
    const CUresult status =
        tensor_map_encoder()(&map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, Rank, const_cast<bf16*>(data), extents,
                             strides, box, ones, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                             CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
    if (status != CUDA_SUCCESS) {
        throw Error{
            ErrorCode::state, "tensor_map", "a map of the matrix",
            format("driver error {} for a matrix of {} columns", static_cast<int>(status), extents[0]),
            "a matrix that does not start at 16 bytes, or is too large; moegrad doctor shows the driver"};
    }
    return map;
}

}  // namespace detail

/// Boxes of `rows` rows by 64 columns of a matrix.
inline CUtensorMap tensor_map(const View<const bf16, 2>& x, int rows) {
    const cuuint64_t extents[2] = {static_cast<cuuint64_t>(x.extent(1)),
                                   static_cast<cuuint64_t>(x.extent(0))};
    const cuuint64_t strides[1] = {static_cast<cuuint64_t>(x.pitch) * sizeof(bf16)};
    const cuuint32_t box[2] = {kBoxColumns, static_cast<cuuint32_t>(rows)};
    return detail::encode<2>(x.data, extents, strides, box);
}

/// The same of a stack of matrices; a box never crosses from one to the next.
inline CUtensorMap tensor_map(const View<const bf16, 3>& x, int rows) {
    const cuuint64_t extents[3] = {static_cast<cuuint64_t>(x.extent(2)), static_cast<cuuint64_t>(x.extent(1)),
                                   static_cast<cuuint64_t>(x.extent(0))};
    const cuuint64_t pitch = static_cast<cuuint64_t>(x.pitch) * sizeof(bf16);
    const cuuint64_t strides[2] = {pitch, pitch * extents[1]};
    const cuuint32_t box[3] = {kBoxColumns, static_cast<cuuint32_t>(rows), 1};
    return detail::encode<3>(x.data, extents, strides, box);
}

}  // namespace moegrad::cuda
