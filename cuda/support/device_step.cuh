#pragma once
// The process's side of a step that never waits: graphs, captured in global mode so that any call which would wait or
// allocate fails by name, and pinned memory that results are copied to behind an event. Linked into a program, this gives
// core its DeviceStep.

#include <moegrad/core/device_step.hpp>
#include <moegrad/cuda/support/step_scalars.cuh>

namespace moegrad::cuda {

/// False where there are no graphs (the emulator of the tests).
inline bool begin_graph(const char* place) {
    detail::StepBlock& block = detail::StepBlock::get();  // made before: it allocates
    const cudaError_t status = cudaStreamBeginCapture(stream(), cudaStreamCaptureModeGlobal);
    if (status == cudaErrorNotSupported) {
        cudaGetLastError();
        return false;
    }
    check(status, place);
    block.capturing = recording = true;
    return true;
}

inline void* end_graph(const char* place) {
    detail::StepBlock::get().capturing = recording = false;
    cudaGraph_t graph = nullptr;
    const cudaError_t ended = cudaStreamEndCapture(stream(), &graph);
    if (const std::size_t blocks = release_given_back(); blocks > 0) {
        if (graph != nullptr) cudaGraphDestroy(graph);
        cudaGetLastError();
        throw Error{ErrorCode::state, place, "memory that outlives the recorded step",
                    format("{} blocks of GPU memory freed while it was recorded", blocks),
                    "set train.graphs = false, or keep what the step reads"};
    }
    check(ended, place);
    cudaGraphExec_t run = nullptr;
    const cudaError_t status = cudaGraphInstantiate(&run, graph, 0);
    cudaGraphDestroy(graph);
    check(status, place);
    return run;
}

/// After a failure while capturing: nothing of it runs, and the next launch does not report it again.
inline void abandon_graph() {
    detail::StepBlock::get().capturing = recording = false;
    cudaGraph_t graph = nullptr;
    cudaStreamEndCapture(stream(), &graph);
    if (graph != nullptr) cudaGraphDestroy(graph);
    cudaGetLastError();
    release_given_back();
}

inline void replay_graph(void* run, const StepScalars& scalars, const char* place) {
    publish(scalars);
    check(cudaGraphLaunch(static_cast<cudaGraphExec_t>(run), stream()), place);
}

inline void* pin(std::size_t bytes) {
    ++runtime_counts.allocations;
    void* memory = nullptr;
    check(cudaHostAlloc(&memory, bytes, cudaHostAllocDefault), "pinned memory");
    return memory;
}

inline void fetch(void* to, const void* from, std::size_t bytes) {
    if (bytes > 0) check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream()), "fetch");
}

inline void* make_mark() {
    cudaEvent_t event = nullptr;
    check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "mark");
    return event;
}

inline bool reached(void* mark) {
    const cudaError_t status = cudaEventQuery(static_cast<cudaEvent_t>(mark));
    if (status == cudaErrorNotReady) {
        cudaGetLastError();
        return false;
    }
    check(status, "the work of a step");
    return true;
}

inline std::string device_name() {
    cudaDeviceProp properties;
    int device = 0;
    check(cudaGetDevice(&device), "device name");
    check(cudaGetDeviceProperties(&properties, device), "device name");
    return properties.name;
}

inline const DeviceStep device_step{
    .begin = begin_graph,
    .end = end_graph,
    .abandon = abandon_graph,
    .replay = replay_graph,
    .destroy = [](void* run) { cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(run)); },
    .pin = pin,
    .unpin = [](void* memory) { cudaFreeHost(memory); },
    .fetch = fetch,
    .fetch_status = [](DeviceStatus* to) { fetch(to, status(), sizeof(DeviceStatus)); },
    .clear_status =
        [] { check(cudaMemsetAsync(status(), 0, sizeof(DeviceStatus), stream()), "step status"); },
    .make_mark = make_mark,
    .set_mark = [](void* mark) { check(cudaEventRecord(static_cast<cudaEvent_t>(mark), stream()), "mark"); },
    .reached = reached,
    .drop_mark = [](void* mark) { cudaEventDestroy(static_cast<cudaEvent_t>(mark)); },
    .counts = []() -> DeviceCounts {
        return {runtime_counts.allocations.load(), runtime_counts.synchronising.load()};
    },
    .name = device_name};

namespace {
[[maybe_unused]] const bool step_registered = (cuda_step() = device_step, true);
}

}  // namespace moegrad::cuda
