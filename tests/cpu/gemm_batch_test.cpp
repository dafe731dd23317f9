#include <moegrad/core/philox.hpp>
#include <moegrad/core/thread_pool.hpp>
#include <moegrad/cpu/support/gemm.hpp>

#include <doctest/doctest.h>

#include <cstddef>
#include <vector>

TEST_CASE_TEMPLATE("gemm_batch: each product as if alone, empty ones among them", T, float, double) {
    using moegrad::Index;
    using moegrad::Write;
    using moegrad::cpu::GemmCall;
    using moegrad::cpu::Transpose;
    const Index N = 70, K = 300, rows[] = {37, 0, 1, 200, 9, 16};
    moegrad::Random random(1);
    std::vector<T> A(263 * 300), B(6 * 70 * 300);
    for (T& value : A) value = static_cast<T>(random.next_normal());
    for (T& value : B) value = static_cast<T>(random.next_normal());
    for (int threads : {1, 2, 3}) {
        moegrad::ThreadPool pool(threads);
        std::vector<T> alone(263 * 70), together(263 * 70);
        std::vector<GemmCall<T>> calls;
        Index first = 0;
        for (Index e = 0; e < 6; ++e) {
            const T *a = A.data() + first * K, *b = B.data() + e * N * K;
            moegrad::cpu::gemm<T>(pool, Transpose::no, Transpose::yes, rows[e], N, K, a, K, b, K,
                                  alone.data() + first * N, N, Write::overwrite);
            calls.push_back({Transpose::no, Transpose::yes, rows[e], N, K, a, K, b, K,
                             together.data() + first * N, N, Write::overwrite});
            first += rows[e];
        }
        moegrad::cpu::gemm_batch(pool, calls.data(), static_cast<Index>(calls.size()));
        CHECK(alone == together);
    }
}
