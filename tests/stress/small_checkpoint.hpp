#pragma once
// A checkpoint of a few tensors whose values tell the step they are of, to be saved, broken and read back.

#include <algorithm>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <moegrad/train/checkpoint_store.hpp>

namespace stress {

using namespace moegrad;

/// A folder in memory where there is one: thousands of saves would wait for the disk.
inline std::string scratch_folder() {
    const std::string root =
        ::access("/dev/shm", W_OK) == 0 ? "/dev/shm" : std::filesystem::temp_directory_path().string();
    std::string pattern = root + "/moegrad-stress-XXXXXX";
    return ::mkdtemp(pattern.data());
}

class SmallState {
public:
    explicit SmallState(Index step = -1, std::size_t size = 500) : values_(3, std::vector<float>(size)) {
        for (std::size_t t = 0; t < values_.size(); ++t)
            for (std::size_t i = 0; i < size; ++i) values_[t][i] = value(step, t, i);
    }
    std::vector<StateTensor> tensors() {
        const char* names[] = {"weight.a", "first_moment.a", "second_moment.a"};
        std::vector<StateTensor> all;
        for (std::size_t t = 0; t < values_.size(); ++t)
            all.push_back({names[t],
                           StoredType::f32,
                           {static_cast<Index>(values_[t].size())},
                           std::as_writable_bytes(std::span(values_[t]))});
        return all;
    }
    /// Every value is that of the step.
    bool is_of(Index step) const {
        for (std::size_t t = 0; t < values_.size(); ++t)
            for (std::size_t i = 0; i < values_[t].size(); ++i)
                if (values_[t][i] != value(step, t, i)) return false;
        return true;
    }

private:
    static float value(Index step, std::size_t tensor, std::size_t i) {
        return static_cast<float>(step) + 0.25f * static_cast<float>(tensor) +
               1000.0f * static_cast<float>(i % 97);
    }
    std::vector<std::vector<float>> values_;
};

inline const std::string kIdentity = "optim.lr = 0.01\n";

inline void save_small(const std::string& run, Index step, ThreadPool& pool) {
    CheckpointFolder checkpoints(run);
    RunState state;
    state.step = step;
    state.average = static_cast<double>(step);
    SmallState values(step);
    save_state(checkpoints, values.tensors(), state, kIdentity, 2, pool);
}

/// The step that a run would go on from; -1: none, -2: what is loaded is not what was saved.
inline Index load_small(const std::string& run, ThreadPool& pool) {
    try {
        CheckpointFolder checkpoints(run);
        SmallState values;
        auto tensors = values.tensors();
        const auto state = load_newest(checkpoints, tensors, kIdentity, pool, [](const std::string&) {});
        if (!state) return -1;
        return values.is_of(state->step) && state->average == static_cast<double>(state->step) ? state->step
                                                                                               : -2;
    } catch (const Error&) {
        return -1;
    }
}

}  // namespace stress
