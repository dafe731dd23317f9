#pragma once
// StepFetch: the numbers of a step on the host. From a GPU they come behind the step, into pinned memory, while the device
// goes on with the next; `wait` looks until they are there. On the host they are copied at once.

#include <chrono>
#include <cstring>
#include <thread>
#include <vector>

#include <moegrad/core/device_step.hpp>
#include <moegrad/ops/clip.hpp>
#include <moegrad/train/step_sums.hpp>

namespace moegrad {

class StepFetch {
public:
    explicit StepFetch(Device device) : on_gpu_(device == Device::cuda) {
        if (on_gpu_) mark_ = cuda_step().make_mark();
    }
    StepFetch(const StepFetch&) = delete;
    StepFetch& operator=(const StepFetch&) = delete;
    ~StepFetch() {
        try {
            if (pinned_ != nullptr) wait();
        } catch (const Error&) {
            // The device is lost; there is nobody to tell, and nothing that could still write.
        }
        if (pinned_ != nullptr) cuda_step().unpin(pinned_);
        if (mark_ != nullptr) cuda_step().drop_mark(mark_);
    }

    /// The tensors may be written again by whatever is launched after this.
    void start(const Tensor<double>& report, const Tensor<double>& sums, const Tensor<std::int64_t>& counts) {
        sums_ = static_cast<std::size_t>(sums.size());
        counts_ = static_cast<std::size_t>(counts.size());
        make_room(kHead + sums_ + counts_);
        copy(words() + kStatus, report);
        copy(words() + kHead, sums);
        copy(words() + kHead + sums_, counts);
        if (!on_gpu_) return;
        cuda_step().fetch_status(reinterpret_cast<DeviceStatus*>(words()));
        cuda_step().set_mark(mark_);
    }

    void wait() const {
        for (int looks = 0; on_gpu_ && !cuda_step().reached(mark_); ++looks) {
            if (looks < 16) std::this_thread::yield();
            if (looks >= 16) std::this_thread::sleep_for(std::chrono::microseconds(20));
        }
    }

    // After `wait`, until the next `start`.
    double report(ClipReport place) const {
        return reinterpret_cast<const double*>(words() + kStatus)[place];
    }
    DeviceStatus status() const {
        return on_gpu_ ? *reinterpret_cast<const DeviceStatus*>(words()) : DeviceStatus();
    }
    StepValues values() const {
        return {{reinterpret_cast<const double*>(words() + kHead), sums_},
                {reinterpret_cast<const std::int64_t*>(words() + kHead + sums_), counts_}};
    }

private:
    using Word = std::uint64_t;  // every number has eight bytes
    static constexpr std::size_t kStatus = sizeof(DeviceStatus) / sizeof(Word), kHead = kStatus + kClipReport;

    Word* words() { return on_gpu_ ? static_cast<Word*>(pinned_) : plain_.data(); }
    const Word* words() const { return on_gpu_ ? static_cast<const Word*>(pinned_) : plain_.data(); }

    template <class Value>
    void copy(Word* to, const Tensor<Value>& from) const {
        static_assert(sizeof(Value) == sizeof(Word));
        const std::size_t bytes = static_cast<std::size_t>(from.size()) * sizeof(Word);
        if (on_gpu_) return cuda_step().fetch(to, from.flat().data, bytes);
        if (bytes > 0) std::memcpy(to, from.flat().data, bytes);
    }

    void make_room(std::size_t words) {
        if (!on_gpu_) return plain_.resize(std::max(words, plain_.size()));
        if (words <= room_) return;
        if (pinned_ != nullptr) cuda_step().unpin(pinned_);
        pinned_ = cuda_step().pin(2 * words * sizeof(Word));
        room_ = 2 * words;
    }

    bool on_gpu_;
    void* mark_ = nullptr;
    void* pinned_ = nullptr;
    std::size_t room_ = 0, sums_ = 0, counts_ = 0;
    std::vector<Word> plain_;
};

}  // namespace moegrad
