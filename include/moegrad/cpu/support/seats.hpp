#pragma once
// How a CPU kernel header fills its slot: one line at its end,
//
//   namespace moegrad::cpu::rms_norm { namespace { ... template <class Real> constexpr RmsNormKernels<Real> kernels{...}; } }
//   MOEGRAD_CPU_SEATS(rms_norm)      // float and double into rms_norm_slot
//
// Kernels have internal linkage: two translation units with other flags can never swap their code.
// The bf16 seats of the CPU stay empty: bf16 models run on a GPU. They can be planned all the same (Device::dry).

#include <moegrad/core/slot.hpp>

#define MOEGRAD_CPU_SEATS(op)                                                                       \
    namespace moegrad::cpu::op {                                                                    \
    namespace {                                                                                     \
    [[maybe_unused]] const bool float_seat = op##_slot.fill<float>(Device::cpu, kernels<float>);    \
    [[maybe_unused]] const bool double_seat = op##_slot.fill<double>(Device::cpu, kernels<double>); \
    [[maybe_unused]] const bool planned_seat = op##_slot.fill_dry<bf16>();                          \
    }                                                                                               \
    }
