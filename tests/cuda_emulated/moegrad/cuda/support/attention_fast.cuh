#pragma once
// In the place of cuda/support/attention_fast.cuh: the emulator has no tensor cores.

#include <moegrad/cuda/support/attention_rows.cuh>

namespace moegrad::cuda::attention {
namespace {

template <class... Views>
bool fits_fast(const AttentionOptions&, const Views&...) {
    return false;
}
template <class... Arguments>
void forward_fast(Arguments&&...) {}
template <class... Arguments>
void backward_fast(Arguments&&...) {}

}  // namespace
}  // namespace moegrad::cuda::attention
