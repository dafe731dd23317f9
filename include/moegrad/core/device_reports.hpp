#pragma once
// What kernels of a GPU found wrong and could not throw, as the errors that the CPU throws. A step tells it by itself
// (train/finite_check.hpp); whoever reads results of a forward calls require_no_reports behind it.

#include <string>

#include <moegrad/core/device_memory.hpp>
#include <moegrad/core/device_step.hpp>
#include <moegrad/core/error.hpp>

namespace moegrad {

/// Of all work since the last call. Waits for the device; nothing in a program without one.
inline DeviceStatus take_device_status() {
    DeviceStatus status;
    if (cuda_step().fetch_status == nullptr) return status;
    cuda_step().fetch_status(&status);
    cuda_memory().wait();
    if (status.any()) cuda_step().clear_status();
    return status;
}

/// Throws for an index or a number of rows that a kernel could not work with; `after` stands before the hint.
inline void require_in_range(const DeviceStatus& status, const std::string& place,
                             const std::string& after = "") {
    if (status.bad_index != 0) {
        throw Error{ErrorCode::value, place, "experts, columns and ids in range",
                    "one out of range, found by a kernel", after + "does a router of your own choose it?"};
    }
    if (status.overflow != 0) {
        throw Error{ErrorCode::memory, place, "rows within the row budget", "more routed rows than it holds",
                    after + "raise the row budget"};
    }
}

/// Throws for what kernels reported since the last time. Waits for a GPU; on the CPU the ops have thrown already.
inline void require_no_reports(Device device, const std::string& place) {
    if (device != Device::cuda) return;
    const DeviceStatus status = take_device_status();
    if (status.not_finite != 0) {
        throw Error{ErrorCode::value, place, "finite scores of routers",
                    "one that is no number, found by a kernel", "is the checkpoint or the adapter damaged?"};
    }
    require_in_range(status, place);
}

}  // namespace moegrad
