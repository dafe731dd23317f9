// The emulator computes what a GPU computes, and finds what a GPU would leave to chance. Each kernel with a mistake must
// be caught.

#include <doctest/doctest.h>

#include <moegrad/core/transfer.hpp>
#include <moegrad/cuda/support/device_step.cuh>
#include <moegrad/cuda/support/rows.cuh>
#include <moegrad/cuda/support/step_scalars.cuh>

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <numeric>
#include <string>
#include <vector>

using namespace moegrad;
using namespace moegrad::cuda;

namespace {

/// y = f(x) for one warp.
template <class Body>
__global__ void of_warp(const int* x, int* y, Body body) {
    y[threadIdx.x] = body(x[threadIdx.x], static_cast<int>(threadIdx.x));
}
template <class Body>
std::vector<int> warp(Body body) {
    auto x = Tensor<int>::zeros({32});
    std::iota(x.values().begin(), x.values().end(), 100);
    const auto in = placed(x, Device::cuda), out = Tensor<int>::zeros({32}, Device::cuda);
    launch("warp", of_warp<Body>, dim3(1), dim3(32), 0, stream(), in.data(), out.data(), body);
    const auto y = host(out);
    return {y.values().begin(), y.values().end()};
}

__global__ void sum_of_rows(View<const float, 2> x, View<float, 1> y) {
    float* const parts = dynamic_shared<float>();
    for (Index row = blockIdx.x; row < x.rows(); row += gridDim.x) {
        float sum = 0;
        for (Index c = threadIdx.x; c < x.columns(); c += blockDim.x) sum += x.row(row)[c];
        parts[threadIdx.x] = sum;
        __syncthreads();
        for (unsigned half = blockDim.x / 2; half > 0; half /= 2) {
            if (threadIdx.x < half) parts[threadIdx.x] += parts[threadIdx.x + half];
            __syncthreads();
        }
        if (threadIdx.x == 0)
            y.data[row] = parts[0] - block_sum(0.0f);
        else
            block_sum(0.0f);
        __syncthreads();
    }
}

__global__ void indices(int* at) {
    const unsigned thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
    const unsigned block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
    at[block * blockDim.x * blockDim.y * blockDim.z + thread] += 1 + static_cast<int>(block);
}

// --- mistakes ---

__global__ void lane_returns_early(int* y) {
    if (threadIdx.x % kWarp > 20) return;
    y[0] = static_cast<int>(warp_sum(1.0f));
}
__global__ void warps_at_two_barriers(int* y) {
    if (threadIdx.x < 40)
        __syncthreads();
    else
        y[1] = static_cast<int>(warp_sum(2.0f));
}
__global__ void half_a_mask(int* y) {
    y[threadIdx.x] = __shfl_xor_sync(0xffffu, 1, 1);
}
__global__ void no_barrier(int* y) {
    __shared__ int kept[256];
    kept[threadIdx.x] = static_cast<int>(threadIdx.x);
    y[threadIdx.x] = kept[255 - threadIdx.x];
}
__global__ void order_of_blocks(int* y) {
    y[blockIdx.x] = atomicAdd(y + gridDim.x, 1);
}
__global__ void unwritten(float* y) {
    y[0] = dynamic_shared<float>()[3];
}

}  // namespace

TEST_CASE("emulator: what lanes exchange") {
    const auto shuffled = warp([](int x, int) { return __shfl_xor_sync(0xffffffffu, x, 5); });
    const auto up = warp([](int x, int) { return __shfl_up_sync(0xffffffffu, x, 3u); });
    const auto down = warp([](int x, int) { return __shfl_down_sync(0xffffffffu, x, 2u, 8); });
    const auto from = warp([](int x, int lane) { return __shfl_sync(0xffffffffu, x, lane / 2, 16); });
    const auto votes = warp([](int, int lane) { return __popc(__ballot_sync(0xffffffffu, lane % 3 == 0)); });
    const auto any = warp([](int, int lane) {
        return __any_sync(0xffffffffu, lane == 7) + 2 * __all_sync(0xffffffffu, lane < 31) +
               4 * __all_sync(0xffffffffu, lane < 32);
    });
    for (int lane = 0; lane < 32; ++lane) {
        const auto l = static_cast<std::size_t>(lane);
        CHECK(shuffled[l] == 100 + (lane ^ 5));
        CHECK(up[l] == 100 + (lane < 3 ? lane : lane - 3));
        CHECK(down[l] == 100 + (lane % 8 < 6 ? lane + 2 : lane));
        CHECK(from[l] == 100 + lane / 16 * 16 + (lane / 2 & 15));
        CHECK(votes[l] == 11);
        CHECK(any[l] == 5);
    }
}

TEST_CASE("emulator: indices of every thread of every block, once") {
    auto at = Tensor<int>::zeros({2 * 3 * 4 * 5 * 6 * 7}, Device::cuda);
    launch("indices", indices, dim3(2, 3, 4), dim3(5, 6, 7), 0, stream(), at.data());
    const auto seen = host(at);
    for (Index i = 0; i < seen.size(); ++i) CHECK(seen.data()[i] == 1 + i / 210);
}

TEST_CASE("emulator: dynamic shared memory, barriers and copies") {
    auto x = Tensor<float>::zeros({37, 70});
    for (Index i = 0; i < x.size(); ++i) x.data()[i] = static_cast<float>(i % 11);
    const auto y = Tensor<float>::zeros({37}, Device::cuda);
    launch("sum", sum_of_rows, dim3(5), dim3(64), 64 * sizeof(float), stream(),
           View<const float, 2>(placed(x, Device::cuda).matrix()), y.view<1>());
    const auto sums = host(y);
    for (Index row = 0; row < 37; ++row) {
        const float* values = x.matrix().row(row);
        CHECK(sums.data()[row] == std::accumulate(values, values + 70, 0.0f));
    }
    launch("nothing", no_barrier, dim3(0), dim3(64), 0, stream(), nullptr);
}

TEST_CASE("emulator: threads that never meet are errors that name the place") {
    using doctest::Contains;
    const auto y = Tensor<int>::zeros({64}, Device::cuda);
    const auto run = [&](auto kernel) {
        launch("planted", kernel, dim3(2), dim3(64), 0, stream(), y.data());
    };
    CHECK_THROWS_WITH_AS(run(lane_returns_early), Contains("a lane that has returned"), Error);
    CHECK_THROWS_WITH_AS(run(warps_at_two_barriers), Contains("40 threads at __syncthreads"), Error);
    CHECK_THROWS_WITH_AS(run(half_a_mask), Contains("mask 0xffff"), Error);
    CHECK(warp([](int x, int) { return __shfl_xor_sync(0xffffffffu, x, 0); })[9] ==
          109);  // goes on as before
}

TEST_CASE("emulator: a missing barrier, an order that is taken for granted, memory that nobody wrote") {
    const auto y = Tensor<int>::zeros({300}, Device::cuda);
    int right = 0;
    for (int i = 0; i < 8; ++i) {
        copy_values(Tensor<int>::zeros({300}), y);
        launch("planted", no_barrier, dim3(1), dim3(256), 0, stream(), y.data());
        right += host(y).values()[200] == 55 && host(y).values()[55] == 200;
    }
    CHECK(right < 8);
    right = 0;
    for (int i = 0; i < 8; ++i) {
        copy_values(Tensor<int>::zeros({300}), y);
        launch("planted", order_of_blocks, dim3(40), dim3(1), 0, stream(), y.data());
        right += host(y).values()[10] == 10;
    }
    CHECK(right < 8);
    const auto z = Tensor<float>::zeros({1}, Device::cuda);
    launch("planted", unwritten, dim3(1), dim3(1), 64, stream(), z.data());
    CHECK(std::isnan(host(z).values()[0]));
    float* fresh = nullptr;
    REQUIRE(cudaMalloc(&fresh, 64) == cudaSuccess);
    float value = 0;
    REQUIRE(cudaMemcpy(&value, fresh, sizeof value, cudaMemcpyDeviceToHost) == cudaSuccess);
    CHECK(std::isnan(value));
    CHECK(cudaFree(fresh) == cudaSuccess);
}

TEST_CASE("emulator: what a GPU refuses") {
    const auto y = Tensor<int>::zeros({2000}, Device::cuda);
    const auto run = [&](dim3 grid, dim3 block, std::size_t shared) {
        launch("planted", no_barrier, grid, block, shared, stream(), y.data());
    };
    CHECK_THROWS_WITH_AS(run(dim3(1), dim3(1025), 0), doctest::Contains("cudaErrorInvalidConfiguration"),
                         Error);
    CHECK_THROWS_WITH_AS(
        run(dim3(1, 70000), dim3(1), 0),
        doctest::Contains("planted\n  expected: a launch of 1 x 70000 x 1 blocks of 1 threads"), Error);
    CHECK_THROWS_AS(run(dim3(1), dim3(32), 170000), Error);
    int word = 0;
    CHECK(cudaMemcpy(&word, y.data(), 4, cudaMemcpyHostToDevice) == cudaErrorInvalidValue);
    CHECK(cudaMemcpy(&word, &word, 4, cudaMemcpyDeviceToHost) == cudaErrorInvalidValue);
    CHECK(cudaFree(&word) == cudaErrorInvalidValue);
    CHECK_THROWS_WITH_AS((Tensor<float>::zeros({Index{1} << 40}, Device::cuda)),
                         doctest::Contains("bytes free"), Error);
    CHECK_THROWS_WITH_AS(y.values(), doctest::Contains("host(tensor)"), Error);
}

TEST_CASE("emulator: a failure is reported once, and memory given back while a step is recorded by name") {
    void* memory = nullptr;
    CHECK_THROWS_AS(check(cudaMalloc(&memory, std::size_t{1} << 60), "too much"), Error);
    CHECK(cudaGetLastError() == cudaSuccess);
    auto block = Tensor<float>::zeros({4}, Device::cuda);
    recording = true;
    block = {};
    CHECK_THROWS_WITH_AS(end_graph("a step"), doctest::Contains("1 blocks of GPU memory freed"), Error);
    CHECK(!recording);
    CHECK(release_given_back() == 0);
    CHECK_FALSE(device_limits().hopper);
}

TEST_CASE("emulator: step scalars are sent when they changed") {
    Context own({.device = Device::cuda, .threads = 1});
    const auto y = Tensor<double>::zeros({1}, Device::cuda);
    for (double rate : {0.5, 0.25}) {
        own.scalars().learning_rate = rate;
        double* const place = y.data();
        const StepScalars* const now = scalars(own.stream());
        elements("scalars", stream(), 1, [=] __device__(Index) { *place = now->learning_rate; });
        CHECK(host(y).values()[0] == rate);
    }
}

#if !defined(MOEGRAD_EMULATED_ASAN)
TEST_CASE("emulator: host code that looks into device memory ends, and is told why") {
    const auto y = Tensor<float>::zeros({5}, Device::cuda);
    int said[2];
    REQUIRE(pipe(said) == 0);
    const pid_t child = fork();
    if (child == 0) {
        dup2(said[1], 2);
        close(1);
        signal(SIGALRM, SIG_DFL);
        alarm(20);
        const volatile float* const place = y.data();
        _exit(place[2] == 0 ? 1 : 2);
    }
    close(said[1]);
    std::string text;
    char part[256];
    for (ssize_t n = read(said[0], part, sizeof part); n > 0; n = read(said[0], part, sizeof part)) {
        text.append(part, static_cast<std::size_t>(n));
    }
    close(said[0]);
    int status = 0;
    REQUIRE(waitpid(child, &status, 0) == child);
    CHECK(WIFSIGNALED(status));
    CHECK(text.find("host code read or wrote device memory") != text.npos);
}
#endif
