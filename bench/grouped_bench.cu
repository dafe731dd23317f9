// The expert engine on a GPU: the products of a MoE layer with LoRA, forward and backward, in turns with one cuBLASLt
// product of 8192^3 (the rate that they are compared with) and a copy.
//   grouped_bench [T K E D F R]      default: 8192 2 8 4096 14336 16, Mixtral-8x7B's layer
//   nvcc -std=c++20 -O3 --expt-relaxed-constexpr --extended-lambda -gencode=arch=compute_90a,code=sm_90a -DFMT_HEADER_ONLY
//        -I include -I <folder in which moegrad/cuda is cuda/> bench/grouped_bench.cu -lcublasLt
// A frozen layer's flops: 2 N D 2F and 2 N F D forward, the same back; LoRA's are counted as overhead.

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <vector>

#include <moegrad/core/philox.hpp>
#include <moegrad/core/transfer.hpp>
#include <moegrad/cuda/combine.cuh>
#include <moegrad/cuda/dispatch.cuh>
#include <moegrad/cuda/expert_swiglu.cuh>
#include <moegrad/cuda/grouped_linear.cuh>
#include <moegrad/cuda/support/products.cuh>
#include <moegrad/cuda/swiglu.cuh>

namespace {

using moegrad::bf16;
using moegrad::Context;
using moegrad::Device;
using moegrad::DispatchPlan;
using moegrad::DispatchView;
using moegrad::Index;
using moegrad::RowSource;
using moegrad::Shape;
using moegrad::Tensor;
using moegrad::Write;

struct Job {
    const char* name;
    double flops, bytes;
    std::function<void()> run;
    std::vector<float> times = {};

    float median() {
        std::sort(times.begin(), times.end());
        return times[times.size() / 2];
    }
};

/// Values that do not flatter: near normal, all bits in use.
Tensor<bf16> normal(const Shape& shape, std::uint64_t seed, float scale) {
    auto t = Tensor<bf16>::zeros(shape, Device::cuda);
    const auto view = t.data();
    moegrad::cuda::elements("normal", moegrad::cuda::stream(), t.size(), [=] __device__(Index i) {
        const auto words =
            moegrad::philox({static_cast<std::uint32_t>(i), static_cast<std::uint32_t>(i >> 32), 0, 0},
                            moegrad::philox_key(seed));
        float sum = 0;  // of eight uniforms
        for (int w = 0; w < 4; ++w) {
            const std::uint32_t low = words[w] & 0xffff, high = words[w] >> 16;
            sum += static_cast<float>(low + high) / 65536.0f - 1.0f;
        }
        view[i] = moegrad::cuda::narrow<bf16>(sum * 1.2247f * scale);
    });
    return t;
}

void time_in_turns(std::vector<Job>& jobs, int rounds) {
    using moegrad::cuda::check;
    const cudaStream_t stream = moegrad::cuda::stream();
    cudaEvent_t begin, end;
    check(cudaEventCreate(&begin), "bench");
    check(cudaEventCreate(&end), "bench");
    for (int round = -2; round < rounds; ++round) {
        for (Job& job : jobs) {
            check(cudaEventRecord(begin, stream), "bench");
            job.run();
            check(cudaEventRecord(end, stream), "bench");
            check(cudaEventSynchronize(end), "bench");
            float ms = 0;
            check(cudaEventElapsedTime(&ms, begin, end), "bench");
            if (round >= 0) job.times.push_back(ms);
        }
    }
}

/// A layer of E experts with LoRA of rank R, T tokens of which each takes K experts at random.
struct Layer {
    Index T, K, E, D, F, R, N = T * K;
    Context context{{.device = Device::cuda}};
    moegrad::Tape tape{context};
    DispatchPlan plan{};
    Tensor<bf16> x = normal({T, D}, 1, 1), dy = normal({N, D}, 2, 1);
    Tensor<bf16> up = normal({E, 2 * F, D}, 3, 1 / 64.0f), down = normal({E, D, F}, 4, 1 / 120.0f);
    Tensor<bf16> up_A = normal({E, R, D}, 5, 1 / 64.0f), up_B = normal({E, 2 * F, R}, 6, 0.1f);
    Tensor<bf16> down_A = normal({E, R, F}, 7, 1 / 120.0f), down_B = normal({E, D, R}, 8, 0.1f);
    Tensor<bf16> u = normal({N, R}, 9, 1), z = normal({N, 2 * F}, 10, 1), h = normal({N, F}, 11, 1);
    Tensor<bf16> y = normal({N, D}, 12, 1), out = normal({T, D}, 13, 1), dz = normal({N, 2 * F}, 14, 1);
    Tensor<float> dA = Tensor<float>::zeros({E, R, D}, Device::cuda),
                  dB = Tensor<float>::zeros({E, 2 * F, R}, Device::cuda);
    Tensor<float> weight = Tensor<float>::zeros({T, K}, Device::cuda),
                  dweight = Tensor<float>::zeros({T, K}, Device::cuda);
    Tensor<std::int32_t> expert = Tensor<std::int32_t>::zeros({T, K});

    void route() {
        moegrad::Random random(7);
        for (Index t = 0; t < T; ++t) {
            for (Index k = 0; k < K; ++k) {
                auto& e = expert.data()[t * K + k];
                e = static_cast<std::int32_t>(random.next_below(static_cast<std::uint64_t>(E)));
                for (Index other = 0; other < k; ++other) {
                    if (expert.data()[t * K + other] == e) e = -1;  // a token never takes an expert twice
                }
            }
        }
        expert = moegrad::placed(expert, Device::cuda);
        plan = moegrad::dispatch(tape, expert, E);
    }

    std::vector<Job> jobs() {
        namespace g = moegrad::cuda::grouped_linear;
        namespace s = moegrad::cuda::expert_swiglu;
        namespace c = moegrad::cuda::combine;
        const moegrad::Stream stream = context.stream();
        const DispatchView view(plan);
        const std::vector<std::int32_t> begin = [&] {
            const auto on_host = moegrad::host(plan.expert_begin);
            return std::vector<std::int32_t>(on_host.data(), on_host.data() + E + 1);
        }();
        const double rows = begin.back(), one = 2 * rows * static_cast<double>(D) * static_cast<double>(F);
        const double token_bytes = 2.0 * static_cast<double>(D), row_bytes = rows * token_bytes;
        const auto low = [](const Tensor<bf16>& a, const Tensor<bf16>& b) {
            return moegrad::LowRank<bf16>{a.view<2>(), b.view<3>()};
        };
        return {
            {"dispatch", 0, 0, [=, this] { moegrad::dispatch(tape, expert, E); }},
            {"u = x A^T", 0, row_bytes,
             [=, this] {
                 g::project<bf16>(stream, x.view<2>(), up_A.view<3>(), view, RowSource::tokens, 1,
                                  u.view<2>());
             }},
            {"gate_up, SwiGLU", 2 * one, 0,
             [=, this] {
                 s::forward<bf16>(stream, x.view<2>(), up.view<3>(), {}, view, z.view<2>(), h.view<2>());
             }},
            {"gate_up, SwiGLU, LoRA", 2 * one, 0,
             [=, this] {
                 s::forward<bf16>(stream, x.view<2>(), up.view<3>(), low(u, up_B), view, z.view<2>(),
                                  h.view<2>());
             }},
            {"down, LoRA", one, 0,
             [=, this] {
                 g::multiply<bf16>(stream, h.view<2>(), down.view<3>(), low(u, down_B), view, RowSource::rows,
                                   y.view<2>(), Write::overwrite);
             }},
            {"combine", 0, row_bytes + static_cast<double>(T) * token_bytes,
             [=, this] {
                 c::forward<bf16>(stream, y.view<2>(), weight.view<2>(), view.slot_row, {}, {},
                                  out.view<2>());
             }},
            {"combine, backward", 0, 2 * row_bytes + static_cast<double>(T) * token_bytes,
             [=, this] {
                 c::backward_slots<bf16>(stream, y.view<2>(), weight.view<2>(), view.slot_row, out.view<2>(),
                                         dy.view<2>(), Write::overwrite, dweight.view<2>(), Write::overwrite);
             }},
            {"du = dy B", 0, row_bytes,
             [=, this] {
                 g::project_back<bf16>(stream, dy.view<2>(), down_B.view<3>(), view, 1, u.view<2>());
             }},
            {"down dX, dSwiGLU, LoRA", one, 0,
             [=, this] {
                 s::backward<bf16>(stream, dy.view<2>(), down.view<3>(), low(u, down_A), view, dz.view<2>(),
                                   h.view<2>());
             }},
            {"gate_up dX, LoRA", 2 * one, 0,
             [=, this] {
                 g::multiply_back<bf16>(stream, z.view<2>(), up.view<3>(), low(u, up_A), view, y.view<2>(),
                                        Write::overwrite);
             }},
            {"dA", 0, row_bytes,
             [=, this] {
                 g::weight_gradient<bf16>(stream, u.view<2>(), x.view<2>(), view, RowSource::tokens,
                                          dA.view<3>(), Write::overwrite);
             }},
            {"dB", 0, 4 * rows * static_cast<double>(F),
             [=, this] {
                 g::weight_gradient<bf16>(stream, z.view<2>(), u.view<2>(), view, RowSource::rows,
                                          dB.view<3>(), Write::overwrite);
             }},
            {"sum of slots", 0, row_bytes + static_cast<double>(T) * token_bytes,
             [=, this] { g::sum_slots<bf16>(stream, y.view<2>(), view, out.view<2>(), Write::overwrite); }},
        };
    }
};

}  // namespace

int main(int count, char** words) {
    Index size[6] = {8192, 2, 8, 4096, 14336, 16};
    for (int i = 1; i < count && i <= 6; ++i) size[i - 1] = std::atoll(words[i]);
    Layer layer{size[0], size[1], size[2], size[3], size[4], size[5]};
    layer.route();
    std::vector<Job> jobs = layer.jobs();
    constexpr Index kSide = 8192;
    const auto a = normal({kSide, kSide}, 20, 1), b = normal({kSide, kSide}, 21, 1);
    auto c = normal({kSide, kSide}, 22, 1);
    const double copied = 2.0 * static_cast<double>(kSide * kSide);
    jobs.push_back({"cuBLASLt 8192^3", 2.0 * kSide * kSide * kSide, 0, [&] {
                        moegrad::cuda::multiply_rows<bf16, bf16>("bench", layer.context.stream(), a.view<2>(),
                                                                 b.view<2>(), c.view<2>(), Write::overwrite);
                    }});
    jobs.push_back({"copy", 0, 2 * copied, [&] {
                        moegrad::cuda::check(
                            cudaMemcpyAsync(c.data(), a.data(), static_cast<std::size_t>(copied),
                                            cudaMemcpyDeviceToDevice, moegrad::cuda::stream()),
                            "bench");
                    }});
    time_in_turns(jobs, 15);
    std::printf("T %lld K %lld E %lld D %lld F %lld R %lld\n", (long long)size[0], (long long)size[1],
                (long long)size[2], (long long)size[3], (long long)size[4], (long long)size[5]);
    for (Job& job : jobs) {
        const double ms = job.median();
        std::printf("%-26s %8.3f ms", job.name, ms);
        if (job.flops > 0) std::printf("  %6.1f TFLOP/s", job.flops / ms * 1e-9);
        if (job.bytes > 0) std::printf("  %6.2f TB/s", job.bytes / ms * 1e-9);
        std::printf("\n");
    }
}
