#pragma once
// What the kernels of a GPU complained about.

#include <moegrad/core/device_reports.hpp>

namespace moegrad::test {

/// Since the last call; nothing in a program whose kernels came without a DeviceStep.
inline DeviceStatus take_status() {
    return take_device_status();
}

/// Whether there is a GPU, or the emulator, that can complain.
inline bool device_reports() {
    return has_cuda() && cuda_step().fetch_status != nullptr;
}

}  // namespace moegrad::test
