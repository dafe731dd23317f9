#pragma once
// Context: one device with its step memory, threads and step scalars. Stream: the small handle that kernels get.
//
// StepScalars is everything that changes from step to step and that a kernel may read. It lives in one struct on the
// device, so that a step recorded once stays right when it is replayed.

#include <cstdint>
#include <memory>

#include <moegrad/core/arena.hpp>
#include <moegrad/core/device.hpp>
#include <moegrad/core/tensor.hpp>
#include <moegrad/core/thread_pool.hpp>
#include <moegrad/core/transfer.hpp>

namespace moegrad {

/// Which loss a coefficient belongs to; penalties of the routers come after the cross entropy.
inline constexpr int kCoefficients = 16;

struct StepScalars {
    std::uint64_t seed = 0;  // keys every random draw of the run
    std::uint64_t step = 0;  // optimiser steps taken so far
    double learning_rate = 0;
    double clip_scale = 1;      // factor on every gradient, from the global norm (ops/clip.hpp)
    std::uint64_t blocked = 0;  // 1: the update must leave weights and moments as they are
    // d objective / d (summed values of a loss): coefficient 0 is 1 / supervised tokens of the optimiser step.
    double coefficient[kCoefficients] = {1};

    bool operator==(const StepScalars&) const = default;
};

/// What went wrong on a GPU since it was last asked: kernels set words to 1, and while one is set no weight changes.
struct DeviceStatus {
    int not_finite = 0;  // a loss, a gradient or a router score that is no number
    int overflow = 0;    // more routed rows than the row budget holds
    int bad_index = 0;   // an expert, a column or a token id out of range
    int reserved = 0;

    MOEGRAD_HD bool any() const { return not_finite != 0 || overflow != 0 || bad_index != 0; }
};

struct ContextOptions {
    Device device = Device::cpu;
    int threads = 0;  // 0: MOEGRAD_THREADS, else all cores
    Arena::Fill fill = Arena::Fill::none;
    Device plans = Device::cpu;  // of Device::dry: where the plan will run
};

class Context;

/// Passed by value as the first argument of every kernel.
class Stream {
public:
    explicit Stream(Context& context) : context_(&context) {}
    Context& context() const { return *context_; }
    inline Device device() const;
    inline ThreadPool& pool() const;
    inline const StepScalars& scalars() const;

private:
    Context* context_;
};

class Context {
public:
    explicit Context(const ContextOptions& options = {})
        : device_(options.device),
          target_(device_ == Device::dry ? options.plans : device_),
          arena_(device_ == Device::dry ? Arena::planned(target_)
                                        : std::make_shared<Arena>(options.fill, options.device)),
          pool_(device_ == Device::dry ? 1
                : options.threads > 0  ? options.threads
                                       : default_threads()) {
        if (device_ == Device::cuda) require_cuda("Context");
    }
    Context(const Context&) = delete;
    Context& operator=(const Context&) = delete;

    Device device() const { return device_; }
    /// The device itself, or the one that a dry context plans for: what an op may choose its room by.
    Device target() const { return target_; }
    Stream stream() { return Stream(*this); }
    ThreadPool& pool() { return pool_; }
    Arena& arena() { return *arena_; }
    /// The host's copy. Kernels of a GPU that read scalars get what stands here when they are launched
    /// (cuda/support/step_scalars.cuh).
    StepScalars& scalars() { return scalars_; }

    /// Step memory, contents undefined.
    template <class T>
    Tensor<T> make(const Shape& shape) {
        return Tensor<T>(arena_, shape);
    }
    /// A copy in step memory of a dense tensor that lies where this context computes.
    template <class T>
    Tensor<T> clone(const Tensor<T>& tensor) {
        auto copy = make<T>(tensor.shape());
        if (device_ != Device::dry) copy_values(tensor, copy);
        return copy;
    }

private:
    Device device_, target_;
    std::shared_ptr<Arena> arena_;
    ThreadPool pool_;
    StepScalars scalars_;
};

inline Device Stream::device() const {
    return context_->device();
}
inline ThreadPool& Stream::pool() const {
    return context_->pool();
}
inline const StepScalars& Stream::scalars() const {
    return context_->scalars();
}

}  // namespace moegrad
