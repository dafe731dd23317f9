#pragma once
// How a CUDA kernel header fills its slot: one line at its end,
//
//   namespace moegrad::cuda::rms_norm { namespace { ... template <class Real> constexpr RmsNormKernels<Real> kernels{...}; } }
//   MOEGRAD_CUDA_SEATS(rms_norm)         // float and bf16 into rms_norm_slot
//   MOEGRAD_CUDA_FLOAT_SEAT(softmax)     // float alone: routers, losses, updates
//
// Kernels and launchers have internal linkage, in a namespace per op.

#include <moegrad/core/slot.hpp>
#include <moegrad/cuda/support/device_language.cuh>
#include <moegrad/cuda/support/runtime.cuh>

#define MOEGRAD_CUDA_FLOAT_SEAT(op)                                                               \
    namespace moegrad::cuda::op {                                                                 \
    namespace {                                                                                   \
    [[maybe_unused]] const bool float_seat = op##_slot.fill<float>(Device::cuda, kernels<float>); \
    }                                                                                             \
    }

#define MOEGRAD_CUDA_SEATS(op)                                                                 \
    MOEGRAD_CUDA_FLOAT_SEAT(op)                                                                \
    namespace moegrad::cuda::op {                                                              \
    namespace {                                                                                \
    [[maybe_unused]] const bool bf16_seat = op##_slot.fill<bf16>(Device::cuda, kernels<bf16>); \
    }                                                                                          \
    }
