#pragma once
// The emulator's dense products: cuda/support/blas.cuh without cuBLASLt.

#include <moegrad/cuda/support/plain_product.cuh>

namespace moegrad::cuda {

inline void prepare_products() {}

namespace {

template <class In, class Out>
void matrix_product(const char* place, Stream stream, float alpha, View<const In, 2> a, Side a_side,
                    View<const In, 2> b, Side b_side, View<Out, 2> y, Write write) {
    plain_product(place, cuda_stream(stream), alpha, a, a_side, b, b_side, y, write);
}

}  // namespace
}  // namespace moegrad::cuda
