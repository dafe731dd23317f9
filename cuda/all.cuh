#pragma once
// All CUDA kernels, for programs built without CMake: include this in exactly one .cu, compiled with
//     nvcc -std=c++20 -O3 --expt-relaxed-constexpr --extended-lambda -gencode=arch=compute_90a,code=sm_90a
// and link cublasLt. With CMake link moegrad::cuda instead; having both is an error of the linker.

#include <moegrad/cuda/adamw.cuh>
#include <moegrad/cuda/add.cuh>
#include <moegrad/cuda/attention.cuh>
#include <moegrad/cuda/attention_decode.cuh>
#include <moegrad/cuda/attention_pool.cuh>
#include <moegrad/cuda/balance_loss.cuh>
#include <moegrad/cuda/balance_pool.cuh>
#include <moegrad/cuda/balanced_assignment.cuh>
#include <moegrad/cuda/broadcast_slots.cuh>
#include <moegrad/cuda/capacity.cuh>
#include <moegrad/cuda/cast.cuh>
#include <moegrad/cuda/clip.cuh>
#include <moegrad/cuda/combine.cuh>
#include <moegrad/cuda/concat.cuh>
#include <moegrad/cuda/cv2.cuh>
#include <moegrad/cuda/dispatch.cuh>
#include <moegrad/cuda/drop_slots.cuh>
#include <moegrad/cuda/dropout.cuh>
#include <moegrad/cuda/embedding.cuh>
#include <moegrad/cuda/entropy.cuh>
#include <moegrad/cuda/expert_choice.cuh>
#include <moegrad/cuda/expert_swiglu.cuh>
#include <moegrad/cuda/fill.cuh>
#include <moegrad/cuda/gather_rows.cuh>
#include <moegrad/cuda/gather_segments.cuh>
#include <moegrad/cuda/group_limit.cuh>
#include <moegrad/cuda/grouped_linear.cuh>
#include <moegrad/cuda/hash_choice.cuh>
#include <moegrad/cuda/jitter.cuh>
#include <moegrad/cuda/linear.cuh>
#include <moegrad/cuda/linear_cross_entropy.cuh>
#include <moegrad/cuda/local_balance.cuh>
#include <moegrad/cuda/lora_linear.cuh>
#include <moegrad/cuda/lora_norm.cuh>
#include <moegrad/cuda/mix.cuh>
#include <moegrad/cuda/molora_joint.cuh>
#include <moegrad/cuda/molora_linear.cuh>
#include <moegrad/cuda/multiply.cuh>
#include <moegrad/cuda/nf4.cuh>
#include <moegrad/cuda/noise.cuh>
#include <moegrad/cuda/noisy_gate.cuh>
#include <moegrad/cuda/null_slots.cuh>
#include <moegrad/cuda/prior_kl.cuh>
#include <moegrad/cuda/random_choice.cuh>
#include <moegrad/cuda/remap_slots.cuh>
#include <moegrad/cuda/renormalize.cuh>
#include <moegrad/cuda/rms_norm.cuh>
#include <moegrad/cuda/rope.cuh>
#include <moegrad/cuda/route_stats.cuh>
#include <moegrad/cuda/scale_columns.cuh>
#include <moegrad/cuda/scatter.cuh>
#include <moegrad/cuda/seed.cuh>
#include <moegrad/cuda/segment_mean.cuh>
#include <moegrad/cuda/segment_surprisal.cuh>
#include <moegrad/cuda/sigmoid.cuh>
#include <moegrad/cuda/slice_prior.cuh>
#include <moegrad/cuda/soft_balance_loss.cuh>
#include <moegrad/cuda/softmax.cuh>
#include <moegrad/cuda/sparsemixer.cuh>
#include <moegrad/cuda/stack_weights.cuh>
#include <moegrad/cuda/stats_total.cuh>
#include <moegrad/cuda/sum_squares.cuh>
#include <moegrad/cuda/swiglu.cuh>
#include <moegrad/cuda/take.cuh>
#include <moegrad/cuda/token_task.cuh>
#include <moegrad/cuda/top_k.cuh>
#include <moegrad/cuda/top_p.cuh>
#include <moegrad/cuda/total.cuh>
#include <moegrad/cuda/tsallis_entropy.cuh>
#include <moegrad/cuda/uncertain_tokens.cuh>
#include <moegrad/cuda/wide_linear.cuh>
#include <moegrad/cuda/z_loss.cuh>
#include <moegrad/cuda/zero_block.cuh>

/// A second copy of the kernels in one program is an error of the linker.
extern "C" {
int moegrad_cuda_kernels_linked_twice_see_docs = 1;
}
