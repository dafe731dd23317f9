#pragma once
// The process's side of the GPU: one stream, memory, uploads through a pinned ring, and counts of the calls that a steady
// step must not make. Linked into a program, this gives core its DeviceMemory.

#include <atomic>
#include <cstring>
#include <mutex>
#include <utility>
#include <vector>

#include <moegrad/core/context.hpp>
#include <moegrad/core/device_memory.hpp>
#include <moegrad/cuda/support/check.cuh>
#include <moegrad/cuda/support/describe.cuh>

namespace moegrad::cuda {

/// Since the program started. `train` prints what a steady step adds: 0 and 0.
struct RuntimeCounts {
    std::atomic<long> allocations{0}, synchronising{0};
};
inline RuntimeCounts runtime_counts;

/// While a step is recorded the host may neither wait, nor allocate, nor send: a replay would not do it again.
inline bool recording = false;

inline void refuse_while_recording(const char* place, const char* what) {
    if (!recording) return;
    throw Error{ErrorCode::unsupported, place, "work for the device alone while a step is recorded", what,
                "set train.graphs = false; a router that does this says so with reads_on_host"};
}

/// All work of the process runs in this one stream, in order.
inline cudaStream_t stream() {
    static const cudaStream_t made = [] {
        cudaStream_t s = nullptr;
        check(cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking), "stream");
        return s;
    }();
    return made;
}
inline cudaStream_t cuda_stream(const Stream&) {
    return stream();
}

inline void wait(const char* place) {
    refuse_while_recording(place, "a wait for the device");
    ++runtime_counts.synchronising;
    check(cudaStreamSynchronize(stream()), place);
}

/// Out of memory says what was asked and what is free.
inline void* allocate(std::size_t bytes, const char* place) {
    refuse_while_recording(place, "memory of the system");
    ++runtime_counts.allocations;
    void* memory = nullptr;
    if (cudaMalloc(&memory, bytes) == cudaSuccess) return memory;
    cudaGetLastError();  // forget it: the next launch must not report this one
    std::size_t free = 0, total = 0;
    check(cudaMemGetInfo(&free, &total), place);
    throw Error{ErrorCode::memory, place, format("{} bytes on the GPU", bytes),
                format("{} of {} bytes free", free, total),
                "moegrad estimate says what a run needs; a smaller micro-batch, checkpointing or NF4 weights "
                "need less"};
}

/// Blocks given back while a step is recorded: cudaFree would break the recording without naming itself.
inline std::vector<void*> given_back_while_recording;

/// cudaFree waits for the device, so blocks may go while kernels that read them run.
inline void release(void* memory) {
    if (recording) return given_back_while_recording.push_back(memory);
    ++runtime_counts.allocations;
    if (cudaFree(memory) != cudaSuccess) cudaGetLastError();  // in destructors: nothing to throw
}

/// After a recording: how many blocks it gave back.
inline std::size_t release_given_back() {
    const std::vector<void*> blocks = std::exchange(given_back_while_recording, {});
    for (void* block : blocks) release(block);
    return blocks.size();
}

/// Pinned memory that uploads pass through, so that the caller's block may go at once. A slot is written again only when
/// the copy out of it is done.
class UploadRing {
public:
    static constexpr std::size_t kSlot = std::size_t{4} << 20;
    static constexpr int kSlots = 8;

    static UploadRing& get() {
        static UploadRing ring;
        return ring;
    }
    void upload(void* to, const void* from, std::size_t bytes) {
        const std::lock_guard lock(mutex_);
        for (std::size_t done = 0; done < bytes; done += kSlot) {
            const std::size_t part = bytes - done < kSlot ? bytes - done : kSlot;
            const int slot = next_++ % kSlots;
            if (used_[slot] && cudaEventQuery(free_[slot]) != cudaSuccess) {
                cudaGetLastError();  // not ready: the next launch must not report it
                ++runtime_counts.synchronising;
                check(cudaEventSynchronize(free_[slot]), "upload");
            }
            unsigned char* staged = memory_ + static_cast<std::size_t>(slot) * kSlot;
            std::memcpy(staged, static_cast<const unsigned char*>(from) + done, part);
            check(cudaMemcpyAsync(static_cast<unsigned char*>(to) + done, staged, part,
                                  cudaMemcpyHostToDevice, stream()),
                  "upload");
            check(cudaEventRecord(free_[slot], stream()), "upload");
            used_[slot] = true;
        }
    }

private:
    UploadRing() {
        check(cudaHostAlloc(reinterpret_cast<void**>(&memory_), kSlot * kSlots, cudaHostAllocDefault),
              "pinned memory");
        for (auto& event : free_)
            check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "pinned memory");
    }

    std::mutex mutex_;
    unsigned char* memory_ = nullptr;
    cudaEvent_t free_[kSlots];
    bool used_[kSlots] = {};
    int next_ = 0;
};

inline void copy(void* to, const void* from, std::size_t bytes, Copy kind) {
    if (kind != Copy::inside) refuse_while_recording("copy", "a copy between host and device");
    if (kind == Copy::upload) return UploadRing::get().upload(to, from, bytes);
    const cudaMemcpyKind direction =
        kind == Copy::download ? cudaMemcpyDeviceToHost : cudaMemcpyDeviceToDevice;
    check(cudaMemcpyAsync(to, from, bytes, direction, stream()), "copy");
    if (kind == Copy::download) wait("download");
}

inline bool runs_hopper() {
    int devices = 0;
    if (cudaGetDeviceCount(&devices) == cudaSuccess && devices > 0) return device_limits().hopper;
    cudaGetLastError();
    return true;
}

inline const DeviceMemory device_memory{allocate,
                                        release,
                                        [](void* place, unsigned char value, std::size_t bytes) {
                                            if (bytes > 0)
                                                check(cudaMemsetAsync(place, value, bytes, stream()), "fill");
                                        },
                                        copy,
                                        [] { wait("wait"); },
                                        describe,
                                        runs_hopper};

namespace {
[[maybe_unused]] const bool registered = (cuda_memory() = device_memory, true);
}

}  // namespace moegrad::cuda
