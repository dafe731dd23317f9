// What a save costs: its time, and the share of a run that saves once a minute. On the disk of the temporary folder.
//   MOEGRAD_SAVE_MB    size of the state, 16 by default; tests/stress/run.sh takes 256
//   MOEGRAD_SAVE_DIR   where

#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "stress/process.hpp"
#include "stress/small_checkpoint.hpp"

using namespace stress;

namespace {

template <class Call>
double seconds_of(const Call& call) {
    const auto started = std::chrono::steady_clock::now();
    call();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
}

/// 96 tensors, as a model of 16 layers with LoRA on six Linears has them, one of them ten times the others.
struct LargeState {
    explicit LargeState(std::size_t bytes) : values(96) {
        for (std::size_t t = 0; t < values.size(); ++t) {
            values[t].resize(bytes / 4 / (values.size() + 9) * (t == 0 ? 10 : 1));
            for (std::size_t i = 0; i < values[t].size(); ++i)
                values[t][i] = static_cast<float>(i * 31 % 1009);
            tensors.push_back({format("weight.{}", t),
                               StoredType::f32,
                               {static_cast<Index>(values[t].size())},
                               std::as_writable_bytes(std::span(values[t]))});
        }
    }
    std::vector<std::vector<float>> values;
    std::vector<StateTensor> tensors;
};

}  // namespace

TEST_CASE("save: what it costs") {
    const int megabytes = setting("MOEGRAD_SAVE_MB", 16);
    const char* root = std::getenv("MOEGRAD_SAVE_DIR");
    std::string run =
        (root ? root : std::filesystem::temp_directory_path().string()) + "/moegrad-cost-XXXXXX";
    REQUIRE(::mkdtemp(run.data()) != nullptr);
    LargeState state(static_cast<std::size_t>(megabytes) << 20);
    ThreadPool pool;
    std::vector<double> saves;
    {
        CheckpointFolder checkpoints(run);
        for (Index step = 1; step <= 5; ++step) {
            RunState counters;
            counters.step = step;
            state.values[0][0] = static_cast<float>(step);
            saves.push_back(
                seconds_of([&] { save_state(checkpoints, state.tensors, counters, kIdentity, 2, pool); }));
        }
    }
    const double hashing =
        seconds_of([&] { state_parts("state.safetensors", "", state.tensors, pool, [] {}); });
    const double writing = seconds_of([&] {
        DurableFile file(run + "/alone");
        for (const auto& tensor : state.tensors) file.write(tensor.bytes);
        file.finish();
    });
    const double loading = seconds_of([&] {
        CheckpointFolder checkpoints(run);
        CHECK(load_newest(checkpoints, state.tensors, kIdentity, pool, [](const std::string&) {})->step == 5);
    });
    std::filesystem::remove_all(run);
    std::sort(saves.begin(), saves.end());
    std::printf(
        "save_cost: %d MB, %d threads, SHA instructions: %s; save %.3f s (%.3f to %.3f), %.2f %% of a run at "
        "one a "
        "minute; hashing alone %.3f s, write and fsync alone %.3f s; load %.3f s\n",
        megabytes, pool.size(), sha256::has_instructions() ? "yes" : "no", saves[2], saves[0], saves[4],
        saves[2] / 60 * 100, hashing, writing, loading);
    CHECK(saves[0] < 60);
}
