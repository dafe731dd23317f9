#pragma once
// What a step tells its kernels and what kernels tell the step, both in device memory so that a captured graph stays right.
//   scalars(stream)   the StepScalars; sent again when the host's copy changed since the last time. While a graph is
//                     captured nothing is sent: whoever replays it calls publish() before.
//   status()          what went wrong since it was last cleared; kernels set words of it, never clear them.

#include <moegrad/cuda/support/runtime.cuh>

namespace moegrad::cuda {

namespace detail {

struct StepBlock {
    StepScalars* scalars = nullptr;
    DeviceStatus* status = nullptr;
    StepScalars sent;
    bool any = false, capturing = false;

    static StepBlock& get() {
        static StepBlock block = [] {
            StepBlock b;
            b.scalars = static_cast<StepScalars*>(allocate(sizeof(StepScalars), "step scalars"));
            b.status = static_cast<DeviceStatus*>(allocate(sizeof(DeviceStatus), "step status"));
            check(cudaMemsetAsync(b.status, 0, sizeof(DeviceStatus), stream()), "step status");
            return b;
        }();
        return block;
    }
};

}  // namespace detail

inline void publish(const StepScalars& scalars) {
    detail::StepBlock& block = detail::StepBlock::get();
    if (block.any && block.sent == scalars) return;
    copy(block.scalars, &scalars, sizeof scalars, Copy::upload);
    block.sent = scalars;
    block.any = true;
}

/// For kernels; on the device.
inline StepScalars* scalars(const Stream& stream) {
    if (!detail::StepBlock::get().capturing) publish(stream.scalars());
    return detail::StepBlock::get().scalars;
}
inline DeviceStatus* status() {
    return detail::StepBlock::get().status;
}

/// Waits. Clears what it returns.
inline DeviceStatus take_status() {
    DeviceStatus taken;
    copy(&taken, status(), sizeof taken, Copy::download);
    check(cudaMemsetAsync(status(), 0, sizeof(DeviceStatus), stream()), "step status");
    return taken;
}

}  // namespace moegrad::cuda
