#pragma once
// with_vectors(set, body) runs body() in code that the compiler made for the vectors of `set`: loops inside of it, and
// in what they call, become AVX-512, AVX2 or plain x86-64 code from one source.
//
// Every lane is plain IEEE arithmetic in the order of the source (nothing is contracted or reassociated, see
// core/math.hpp), so the three give the same bits. A fused multiply-add is written as gemm_detail::multiply_add.

#include <moegrad/cpu/support/gemm_x86.hpp>
#include <moegrad/cpu/support/rows.hpp>

#include <atomic>

namespace moegrad::cpu {

/// For tests and measurements: what instructions() says instead of the best that there is.
inline std::atomic<InstructionSet> forced_instructions{InstructionSet::automatic};

/// The instruction set that kernels run on.
inline InstructionSet instructions() {
    const InstructionSet forced = forced_instructions.load(std::memory_order_relaxed);
    return forced == InstructionSet::automatic ? gemm_detail::best_instructions() : forced;
}

namespace wide_detail {

#if defined(__x86_64__)
template <class Body>
[[gnu::target("avx512f"), gnu::flatten, gnu::noinline]] void run_avx512(Body& body) {
    body();
}
template <class Body>
[[gnu::target("avx2,fma"), gnu::flatten, gnu::noinline]] void run_avx2(Body& body) {
    body();
}
#endif

}  // namespace wide_detail

template <class Body>
void with_vectors([[maybe_unused]] InstructionSet set, Body&& body) {
#if defined(__x86_64__)
    if (set == InstructionSet::avx512) return wide_detail::run_avx512(body);
    if (set == InstructionSet::avx2) return wide_detail::run_avx2(body);
#endif
    body();
}

/// for_rows whose body is compiled with vectors. For bodies that compute; moving memory gains nothing.
template <class Body>
void for_vector_rows(Stream stream, Index rows, Index cost, Body&& body) {
    const InstructionSet set = instructions();
    for_row_blocks(stream, rows, cost, [&](Index begin, Index end) {
        with_vectors(set, [&] {
            for (Index row = begin; row < end; ++row) body(row);
        });
    });
}

}  // namespace moegrad::cpu
