#pragma once
// DeviceStep: what a step that never waits for the host needs of a device beside memory (device_memory.hpp): work that is
// recorded once and replayed, and numbers that come to the host while the device goes on. moegrad::cuda puts its functions
// here when the program starts.

#include <cstddef>
#include <string>
#include <utility>

#include <moegrad/core/context.hpp>

namespace moegrad {

/// Calls since the program started that ask the system for memory, or wait until the device has nothing left to do.
struct DeviceCounts {
    long allocations = 0, synchronising = 0;

    DeviceCounts operator-(const DeviceCounts& before) const {
        return {allocations - before.allocations, synchronising - before.synchronising};
    }
    DeviceCounts operator+(const DeviceCounts& more) const {
        return {allocations + more.allocations, synchronising + more.synchronising};
    }
};

struct DeviceStep {
    // Everything that is launched between `begin` and `end` is recorded and does not run. Whatever would wait or allocate
    // fails meanwhile. `begin` says false where the device records nothing.
    bool (*begin)(const char* place) = nullptr;
    void* (*end)(const char* place) = nullptr;
    void (*abandon)() = nullptr;
    /// Sends the scalars, if they changed, then runs what was recorded.
    void (*replay)(void* recorded, const StepScalars&, const char* place) = nullptr;
    void (*destroy)(void* recorded) = nullptr;

    // Memory of the host that a copy from the device may fill later; a mark stands after all that was asked for so far.
    void* (*pin)(std::size_t bytes) = nullptr;
    void (*unpin)(void* memory) = nullptr;
    void (*fetch)(void* to, const void* from, std::size_t bytes) = nullptr;
    void (*fetch_status)(DeviceStatus* to) = nullptr;
    void (*clear_status)() = nullptr;
    void* (*make_mark)() = nullptr;
    void (*set_mark)(void* mark) = nullptr;
    bool (*reached)(void* mark) = nullptr;
    void (*drop_mark)(void* mark) = nullptr;

    DeviceCounts (*counts)() = nullptr;
    std::string (*name)() = nullptr;  // "NVIDIA H100 80GB HBM3"
};

/// Of Device::cuda; empty until moegrad::cuda is linked.
inline DeviceStep& cuda_step() {
    static DeviceStep step;
    return step;
}

inline DeviceCounts device_counts() {
    return cuda_step().counts ? cuda_step().counts() : DeviceCounts();
}

/// The model of GPU; bits are promised on one model.
inline std::string device_name() {
    return cuda_step().name ? cuda_step().name() : std::string("none");
}

/// Recorded work. The places it reads and writes must hold what it needs whenever it is replayed.
class Recording {
public:
    Recording() = default;
    Recording(Recording&& other) noexcept : work_(std::exchange(other.work_, nullptr)) {}
    Recording& operator=(Recording&& other) noexcept {
        std::swap(work_, other.work_);
        return *this;
    }
    ~Recording() {
        if (work_ != nullptr) cuda_step().destroy(work_);
    }

    bool defined() const { return work_ != nullptr; }

    /// Records what `body` launches; false where the device cannot, and then `body` has not been called.
    template <class Body>
    bool record(const char* place, Body&& body) {
        if (!cuda_step().begin(place)) return false;
        try {
            body();
        } catch (...) {
            cuda_step().abandon();
            throw;
        }
        work_ = cuda_step().end(place);
        return true;
    }
    void replay(const StepScalars& scalars, const char* place) const {
        cuda_step().replay(work_, scalars, place);
    }

private:
    void* work_ = nullptr;
};

}  // namespace moegrad
