#pragma once
// CUDA kernels of ops/adamw.hpp. A block of threads takes kUpdateBlock values at a time; 16 bytes an access. Learning rate,
// step, clip and `blocked` are read from the step scalars on the device: a captured launch stays right.
// The factors of a step are made in double, the rest is float; the copy in bf16 is rounded once.

#include <moegrad/cuda/support/seats.cuh>
#include <moegrad/cuda/support/step_scalars.cuh>
#include <moegrad/cuda/support/update_blocks.cuh>

namespace moegrad::cuda::adamw {
namespace {

/// x^n by squaring, as on the CPU.
__device__ inline double power(double x, std::uint64_t n) {
    double result = 1;
    for (; n > 0; n >>= 1, x *= x) {
        if (n & 1) result *= x;
    }
    return result;
}

struct Factors {
    float decay, step, first, old_second, new_second, inverse_root, epsilon, clip;
};

__device__ inline Factors factors_of(const StepScalars& scalars, const AdamWOptions& o) {
    const double rate = scalars.learning_rate * o.rate_ratio;
    Factors f;
    f.decay = static_cast<float>(1 - rate * o.weight_decay);
    f.step = static_cast<float>(rate / (1 - power(o.beta1, scalars.step + 1)));
    f.first = static_cast<float>(1 - o.beta1);
    f.old_second = static_cast<float>(o.beta2);
    f.new_second = static_cast<float>(1 - o.beta2);
    f.inverse_root = static_cast<float>(1 / sqrt(1 - power(o.beta2, scalars.step + 1)));
    f.epsilon = static_cast<float>(o.epsilon);
    f.clip = static_cast<float>(scalars.clip_scale);
    return f;
}

__device__ __forceinline__ void update_four(const Factors& f, const float (&gradient)[4], float (&w)[4],
                                            float (&m)[4], float (&v)[4]) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
        const float g = gradient[j] * f.clip;
        m[j] = m[j] + f.first * (g - m[j]);
        v[j] = f.old_second * v[j] + f.new_second * g * g;
        w[j] = w[j] * f.decay - f.step * (m[j] / (sqrtf(v[j]) * f.inverse_root + f.epsilon));
    }
}

__device__ __forceinline__ void store_copy(bf16* to, int count, bool wide, const float (&w)[4]) {
    if (wide && aligned_to(to, 8)) {
        *reinterpret_cast<uint2*>(to) = make_uint2(pack_bf16(w[0], w[1]), pack_bf16(w[2], w[3]));
        return;
    }
    for (int j = 0; j < count; ++j) to[j] = narrow<bf16>(w[j]);
}

__device__ inline void update_block(const Factors& f, const AdamWItem<float>& item, Index block,
                                    AfterUpdate after) {
    const bool fast = aligned_to(item.weight.data, 16) && aligned_to(item.first.data, 16) &&
                      aligned_to(item.second.data, 16) && uses_aligned(item.g);
    for_fours(item.g.size, block, fast, [&](Index i, int count, bool wide) {
        float g[4], w[4], m[4], v[4];
        load_gradient(item.g, i, count, wide, g);
        load_four(item.weight.data + i, count, wide, w);
        load_four(item.first.data + i, count, wide, m);
        load_four(item.second.data + i, count, wide, v);
        update_four(f, g, w, m, v);
        store_four(item.weight.data + i, count, wide, w);
        store_four(item.first.data + i, count, wide, m);
        store_four(item.second.data + i, count, wide, v);
        if (item.copy.data != nullptr) store_copy(item.copy.data + i, count, wide, w);
        if (after == AfterUpdate::keep_gradients) return;
        const float zero[4] = {};
        for (int n = 0; n < item.g.count; ++n) store_four(item.g.use[n].data + i, count, wide, zero);
    });
}

__global__ void __launch_bounds__(kThreads)
    update_kernel(const StepScalars* scalars, AdamWItem<float> item, Index blocks, AfterUpdate after) {
    __shared__ Factors factors;
    if (scalars->blocked) return;
    if (threadIdx.x == 0) factors = factors_of(*scalars, item.options);
    __syncthreads();
    for (Index b = blockIdx.x; b < blocks; b += gridDim.x) update_block(factors, item, b, after);
}

__global__ void __launch_bounds__(kThreads)
    update_all_kernel(const StepScalars* scalars, AdamWTable<float> table, AfterUpdate after) {
    __shared__ Factors factors;
    if (scalars->blocked) return;
    Index last = -1;
    for (Index b = blockIdx.x; b < table.blocks; b += gridDim.x) {
        const Index p = item_of(table.begin, b);
        const AdamWItem<float>& item = table.item(p);
        if (p != last) {
            __syncthreads();  // nobody still reads the factors of another weight
            if (threadIdx.x == 0) factors = factors_of(*scalars, item.options);
            __syncthreads();
            last = p;
        }
        update_block(factors, item, b - table.begin(p), after);
    }
}

template <class Real>
void update(Stream stream, const AdamWItem<Real>& item, AfterUpdate after) {
    const Index blocks = (item.g.size + kUpdateBlock - 1) / kUpdateBlock;
    launch("adamw", update_kernel, dim3(blocks_for(blocks, 1)), dim3(kThreads), 0, cuda_stream(stream),
           scalars(stream), item, blocks, after);
}

template <class Real>
void update_all(Stream stream, const AdamWTable<Real>& table, AfterUpdate after) {
    launch("adamw", update_all_kernel, dim3(blocks_for(table.blocks, 1)), dim3(kThreads), 0,
           cuda_stream(stream), scalars(stream), table, after);
}

template <class Real>
constexpr AdamWKernels<Real> kernels{update<Real>, update_all<Real>};

}  // namespace
}  // namespace moegrad::cuda::adamw

MOEGRAD_CUDA_FLOAT_SEAT(adamw)
