// The same bits, a thousand times: only a real GPU, whose blocks run in another order each time, can say.

#include <doctest/doctest.h>

#include "support/device_bench.hpp"

// Tests of training are one translation unit: the names below are this file's.
namespace moegrad::device_repeat_test {

using namespace moegrad::test;

namespace {

bool without_gpu() {
    if (without_cuda()) return true;
    if (device_name().find("emulated") == std::string::npos) return false;
    MESSAGE("the kernels are emulated: repeated on a GPU only");
    return true;
}

/// Wide enough for the tensor-core paths: D = 256, heads of 64, F = 128.
ModelConfig wide_config() {
    return small_config(ModelFamily::mixtral, 256, 128);
}

/// FNV-1a over all bits that an update may change, and over the losses.
std::uint64_t hash_values(const std::vector<float>& values, double loss) {
    std::uint64_t hash = 0xcbf29ce484222325ull;
    const auto add = [&](std::span<const std::byte> bytes) {
        for (const std::byte byte : bytes)
            hash = (hash ^ static_cast<std::uint64_t>(byte)) * 0x100000001b3ull;
    };
    add(std::as_bytes(std::span(values)));
    add(std::as_bytes(std::span(&loss, 1)));
    return hash;
}

/// What is trained as it stands, to be put back.
template <class Real>
class Snapshot {
public:
    explicit Snapshot(const Trainer<Real>& trainer) {
        for (auto* parameter : trainer.parameters()) {
            for (const auto& tensor : trained_tensors(*parameter)) keep(tensor, values_);
            if (parameter->compute_copy().defined()) keep(parameter->compute_copy(), copies_);
        }
    }
    void put_back() const {
        for (const auto& [at, kept] : values_) copy_values(kept, at);
        for (const auto& [at, kept] : copies_) copy_values(kept, at);
    }

private:
    template <class T>
    using Kept = std::vector<std::pair<Tensor<T>, Tensor<T>>>;

    template <class T>
    static void keep(const Tensor<T>& tensor, Kept<T>& all) {
        all.emplace_back(tensor, Tensor<T>::zeros(tensor.shape(), tensor.device()));
        copy_values(tensor, all.back().second);
    }
    Kept<float> values_;
    Kept<bf16> copies_;
};

/// One step from one state, `times` times; how many different results came out.
template <class Real>
std::size_t different_steps(int times) {
    DeviceBench<Real> bench({}, wide_config());
    for (Index n = 0; n < 3; ++n) bench.step(n);  // moments are there, the graphs too
    const Snapshot<Real> snapshot(*bench.trainer);
    std::map<std::uint64_t, int> hashes;
    for (int i = 0; i < times; ++i) {
        snapshot.put_back();
        bench.trainer->resume_at(3);
        const double loss = bench.step(3).cross_entropy;
        ++hashes[hash_values(state_of(*bench.trainer), loss)];
    }
    return hashes.size();
}

std::uint64_t hash_of_run(Index steps) {
    DeviceBench<bf16> bench({.micro_batch = 4, .ahead = true}, wide_config());
    double losses = 0;
    for (Index n = 0; n < steps; ++n) {
        bench.begin(n);
        if (bench.trainer->in_flight() == bench.trainer->depth())
            losses += bench.trainer->finish_step()->cross_entropy;
    }
    while (const auto report = bench.trainer->finish_step()) losses += report->cross_entropy;
    return hash_values(state_of(*bench.trainer), losses);
}

}  // namespace

TEST_CASE("device repeat: a step taken 1,000 times from one state has one hash") {
    if (without_gpu()) return;
    CHECK(different_steps<bf16>(1000) == 1);
    CHECK(different_steps<float>(1000) == 1);
}

TEST_CASE("device repeat: 200 steps of a bf16 model, twice, have one hash") {
    if (without_gpu()) return;
    CHECK(hash_of_run(200) == hash_of_run(200));
}

}  // namespace moegrad::device_repeat_test
