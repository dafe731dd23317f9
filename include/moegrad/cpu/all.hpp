#pragma once
// All CPU kernels, for programs built without CMake: include this in exactly one .cpp. With CMake link
// moegrad::moegrad instead, which compiles every kernel header once; having both is an error of the linker.

#include <moegrad/cpu/adamw.hpp>
#include <moegrad/cpu/add.hpp>
#include <moegrad/cpu/attention.hpp>
#include <moegrad/cpu/attention_decode.hpp>
#include <moegrad/cpu/attention_pool.hpp>
#include <moegrad/cpu/balance_loss.hpp>
#include <moegrad/cpu/balance_pool.hpp>
#include <moegrad/cpu/balanced_assignment.hpp>
#include <moegrad/cpu/broadcast_slots.hpp>
#include <moegrad/cpu/capacity.hpp>
#include <moegrad/cpu/cast.hpp>
#include <moegrad/cpu/clip.hpp>
#include <moegrad/cpu/combine.hpp>
#include <moegrad/cpu/concat.hpp>
#include <moegrad/cpu/cv2.hpp>
#include <moegrad/cpu/dispatch.hpp>
#include <moegrad/cpu/drop_slots.hpp>
#include <moegrad/cpu/dropout.hpp>
#include <moegrad/cpu/embedding.hpp>
#include <moegrad/cpu/entropy.hpp>
#include <moegrad/cpu/expert_choice.hpp>
#include <moegrad/cpu/expert_swiglu.hpp>
#include <moegrad/cpu/fill.hpp>
#include <moegrad/cpu/gather_rows.hpp>
#include <moegrad/cpu/gather_segments.hpp>
#include <moegrad/cpu/group_limit.hpp>
#include <moegrad/cpu/grouped_linear.hpp>
#include <moegrad/cpu/hash_choice.hpp>
#include <moegrad/cpu/linear.hpp>
#include <moegrad/cpu/linear_cross_entropy.hpp>
#include <moegrad/cpu/local_balance.hpp>
#include <moegrad/cpu/lora_linear.hpp>
#include <moegrad/cpu/lora_norm.hpp>
#include <moegrad/cpu/mix.hpp>
#include <moegrad/cpu/molora_linear.hpp>
#include <moegrad/cpu/multiply.hpp>
#include <moegrad/cpu/nf4.hpp>
#include <moegrad/cpu/noise.hpp>
#include <moegrad/cpu/noisy_gate.hpp>
#include <moegrad/cpu/null_slots.hpp>
#include <moegrad/cpu/prior_kl.hpp>
#include <moegrad/cpu/random_choice.hpp>
#include <moegrad/cpu/remap_slots.hpp>
#include <moegrad/cpu/renormalize.hpp>
#include <moegrad/cpu/rms_norm.hpp>
#include <moegrad/cpu/rope.hpp>
#include <moegrad/cpu/route_stats.hpp>
#include <moegrad/cpu/scale_columns.hpp>
#include <moegrad/cpu/scatter.hpp>
#include <moegrad/cpu/seed.hpp>
#include <moegrad/cpu/segment_mean.hpp>
#include <moegrad/cpu/segment_surprisal.hpp>
#include <moegrad/cpu/sigmoid.hpp>
#include <moegrad/cpu/slice_prior.hpp>
#include <moegrad/cpu/soft_balance_loss.hpp>
#include <moegrad/cpu/softmax.hpp>
#include <moegrad/cpu/sparsemixer.hpp>
#include <moegrad/cpu/stats_total.hpp>
#include <moegrad/cpu/sum_squares.hpp>
#include <moegrad/cpu/swiglu.hpp>
#include <moegrad/cpu/take.hpp>
#include <moegrad/cpu/token_task.hpp>
#include <moegrad/cpu/top_k.hpp>
#include <moegrad/cpu/top_p.hpp>
#include <moegrad/cpu/total.hpp>
#include <moegrad/cpu/tsallis_entropy.hpp>
#include <moegrad/cpu/uncertain_tokens.hpp>
#include <moegrad/cpu/wide_linear.hpp>
#include <moegrad/cpu/z_loss.hpp>
#include <moegrad/cpu/zero_block.hpp>

extern "C" {
int moegrad_cpu_kernels_linked_twice_see_docs = 1;
}
