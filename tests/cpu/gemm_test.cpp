#include <moegrad/core/philox.hpp>
#include <moegrad/core/thread_pool.hpp>
#include <moegrad/cpu/support/gemm.hpp>

#include <doctest/doctest.h>

#include <cmath>
#include <complex>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

namespace {

using moegrad::Index;
using moegrad::Random;
using moegrad::ThreadPool;
using moegrad::Write;
using moegrad::cpu::gemm;
using moegrad::cpu::GemmOptions;
using moegrad::cpu::InstructionSet;
using moegrad::cpu::Transpose;

double step(double a, double b, double c) {
    return std::fma(a, b, c);
}
float step(float a, float b, float c) {
    return std::fma(a, b, c);
}
std::complex<double> step(std::complex<double> a, std::complex<double> b, std::complex<double> c) {
    return c + a * b;
}

std::size_t at(Index i) {
    return static_cast<std::size_t>(i);
}

template <class T>
std::vector<T> normals(Index count, std::uint64_t stream) {
    Random random(1, stream);
    std::vector<T> values(at(count));
    for (T& value : values) value = static_cast<T>(random.next_normal());
    return values;
}

/// Stored operands with spare columns and spare rows, a C with spare columns, and the product by the
/// definition.
template <class T>
struct Case {
    Transpose ta, tb;
    Index M, N, K, lda, ldb, ldc;
    std::vector<T> A, B, C;
    std::vector<std::int32_t> a_rows, b_rows;

    Case(Transpose ta_, Transpose tb_, Index M_, Index N_, Index K_) : ta(ta_), tb(tb_), M(M_), N(N_), K(K_) {
        Index a_stored = ta == Transpose::no ? M : K, b_stored = tb == Transpose::no ? K : N;
        lda = (ta == Transpose::no ? K : M) + 3;
        ldb = (tb == Transpose::no ? N : K) + 1;
        ldc = N + 2;
        A = normals<T>((a_stored + 5) * lda, 1);
        B = normals<T>((b_stored + 5) * ldb, 2);
        C = normals<T>(M * ldc + 1, 3);
        Random random(2);
        for (Index i = 0; i < a_stored; ++i) a_rows.push_back(pick(random, a_stored));
        for (Index i = 0; i < b_stored; ++i) b_rows.push_back(pick(random, b_stored));
    }
    static std::int32_t pick(Random& random, Index stored) {
        return static_cast<std::int32_t>(random.next_below(static_cast<std::uint64_t>(stored + 5)));
    }

    T a(Index m, Index k, bool listed) const {
        Index row = ta == Transpose::no ? m : k, column = ta == Transpose::no ? k : m;
        return A[at((listed ? a_rows[at(row)] : row) * lda + column)];
    }
    T b(Index k, Index n, bool listed) const {
        Index row = tb == Transpose::no ? k : n, column = tb == Transpose::no ? n : k;
        return B[at((listed ? b_rows[at(row)] : row) * ldb + column)];
    }
    std::vector<T> expected(Write write, bool listed) const {
        std::vector<T> result = C;
        for (Index m = 0; m < M; ++m) {
            for (Index n = 0; n < N; ++n) {
                T sum = write == Write::accumulate ? C[at(m * ldc + n)] : T(0);
                for (Index k = 0; k < K; ++k) sum = step(a(m, k, listed), b(k, n, listed), sum);
                result[at(m * ldc + n)] = sum;
            }
        }
        return result;
    }
    std::vector<T> product(ThreadPool& pool, Write write, bool listed, InstructionSet set) const {
        std::vector<T> result = C;
        GemmOptions options{.instructions = set};
        if (listed) {
            options.a_rows = a_rows.data();
            options.b_rows = b_rows.data();
        }
        gemm<T>(pool, ta, tb, M, N, K, A.data(), lda, B.data(), ldb, result.data(), ldc, write, options);
        return result;
    }
};

/// Equal bits, spare columns included: nothing outside C may be written.
template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

std::vector<InstructionSet> instruction_sets() {
    std::vector<InstructionSet> sets;
    for (InstructionSet set : {InstructionSet::portable, InstructionSet::avx2, InstructionSet::avx512}) {
        if (moegrad::cpu::gemm_detail::supported(set)) sets.push_back(set);
    }
    return sets;
}

constexpr Transpose kTransposes[] = {Transpose::no, Transpose::yes};

/// All transposes, both ways of writing, with and without lists, on one shape, for every pool and instruction
/// set.
template <class T>
int wrong_products(std::vector<ThreadPool*> pools, Index M, Index N, Index K) {
    int wrong = 0;
    for (Transpose ta : kTransposes) {
        for (Transpose tb : kTransposes) {
            Case<T> one(ta, tb, M, N, K);
            for (Write write : {Write::overwrite, Write::accumulate}) {
                for (bool listed : {false, true}) {
                    std::vector<T> expected = one.expected(write, listed);
                    for (InstructionSet set : instruction_sets()) {
                        bool slow = set == InstructionSet::portable;
                        for (ThreadPool* pool : slow ? std::vector{pools.back()} : pools) {
                            if (!same_bits(one.product(*pool, write, listed, set), expected)) ++wrong;
                        }
                    }
                }
            }
        }
    }
    return wrong;
}

}  // namespace

TEST_CASE_TEMPLATE("gemm: the bits of the definition, small and odd shapes", T, float, double) {
    ThreadPool pool(2);
    for (Index M : {0, 1, 2, 5, 14, 15, 29}) {
        for (Index N : {0, 1, 3, 8, 16, 17, 33}) {
            for (Index K : {0, 1, 2, 9, 31}) {
                CAPTURE(M);
                CAPTURE(N);
                CAPTURE(K);
                CHECK(wrong_products<T>({&pool}, M, N, K) == 0);
            }
        }
    }
}

TEST_CASE_TEMPLATE("gemm: the bits of the definition, over block borders, 1 to 4 threads", T, float, double) {
    struct Shape {
        Index M, N, K;
    };
    ThreadPool one(1), two(2), three(3), four(4);
    for (Shape s :
         {Shape{1, 70, 300}, Shape{70, 1, 300}, Shape{61, 150, 257}, Shape{130, 65, 520}, Shape{3, 2100, 64},
          Shape{2100, 3, 40}, Shape{64, 64, 600}, Shape{12, 100, 50}, Shape{300, 16, 90}, Shape{300, 8, 130},
          Shape{16, 300, 90}, Shape{100, 200, 16}, Shape{260, 560, 270}}) {
        CAPTURE(s.M);
        CAPTURE(s.N);
        CAPTURE(s.K);
        CHECK(wrong_products<T>({&one, &two, &three, &four}, s.M, s.N, s.K) == 0);
    }
}

TEST_CASE("gemm: rows a multiple of 4 KiB apart") {
    ThreadPool pool(3);
    const Index M = 33, N = 70, K = 1024;
    std::vector<float> A = normals<float>(M * K, 1), B = normals<float>(N * K, 2), C(at(M * N)),
                       expected(at(M * N));
    for (Index m = 0; m < M; ++m) {
        for (Index n = 0; n < N; ++n) {
            float sum = 0.0f;
            for (Index k = 0; k < K; ++k) sum = std::fma(A[at(m * K + k)], B[at(n * K + k)], sum);
            expected[at(m * N + n)] = sum;
        }
    }
    gemm<float>(pool, Transpose::no, Transpose::yes, M, N, K, A.data(), K, B.data(), K, C.data(), N,
                Write::overwrite);
    CHECK(same_bits(C, expected));
}

TEST_CASE("gemm: whole numbers are exact") {
    ThreadPool pool(2);
    const Index M = 37, N = 41, K = 53;
    std::vector<float> A(at(M * K)), B(at(K * N)), C(at(M * N), 7.0f);
    for (Index i = 0; i < M * K; ++i) A[at(i)] = static_cast<float>(i % 13 - 6);
    for (Index i = 0; i < K * N; ++i) B[at(i)] = static_cast<float>(i % 11 - 5);
    gemm<float>(pool, Transpose::no, Transpose::no, M, N, K, A.data(), K, B.data(), N, C.data(), N,
                Write::overwrite);
    bool exact = true;
    for (Index m = 0; m < M; ++m) {
        for (Index n = 0; n < N; ++n) {
            Index sum = 0;
            for (Index k = 0; k < K; ++k) sum += ((m * K + k) % 13 - 6) * ((k * N + n) % 11 - 5);
            exact = exact && C[at(m * N + n)] == static_cast<float>(sum);
        }
    }
    CHECK(exact);
}

TEST_CASE_TEMPLATE("gemm: a row has the same bits alone and in any batch", T, float, double) {
    ThreadPool pool(3);
    const Index N = 172, K = 300;
    std::vector<T> A = normals<T>(200 * K, 1), B = normals<T>(N * K, 2);
    auto product = [&](Index first, Index rows) {
        std::vector<T> C(at(rows * N));
        gemm<T>(pool, Transpose::no, Transpose::yes, rows, N, K, A.data() + first * K, K, B.data(), K,
                C.data(), N, Write::overwrite);
        return C;
    };
    std::vector<T> all = product(0, 200);
    for (Index rows : {1, 2, 3, 7, 16, 64, 100}) {
        for (Index first : {0, 5, 100}) {
            std::vector<T> part = product(first, rows);
            CHECK(std::memcmp(part.data(), all.data() + first * N, part.size() * sizeof(T)) == 0);
        }
    }
}

TEST_CASE_TEMPLATE("gemm: cutting the sum over k into calls changes nothing", T, float, double) {
    ThreadPool pool(2);
    const Index M = 64, N = 80, K = 600;
    std::vector<T> A = normals<T>(K * M, 1), B = normals<T>(K * N, 2), whole(at(M * N)), parts(at(M * N));
    gemm<T>(pool, Transpose::yes, Transpose::no, M, N, K, A.data(), M, B.data(), N, whole.data(), N,
            Write::overwrite);
    for (Index cut : {1, 75, 256, 300, 599}) {
        gemm<T>(pool, Transpose::yes, Transpose::no, M, N, cut, A.data(), M, B.data(), N, parts.data(), N,
                Write::overwrite);
        gemm<T>(pool, Transpose::yes, Transpose::no, M, N, K - cut, A.data() + cut * M, M, B.data() + cut * N,
                N, parts.data(), N, Write::accumulate);
        CHECK(same_bits(whole, parts));
    }
}

TEST_CASE("gemm: what stands in C does not matter when it is overwritten, and empty sums are zero") {
    ThreadPool pool(2);
    const double nan = std::numeric_limits<double>::quiet_NaN();
    std::vector<double> A = normals<double>(20 * 20, 1), B = normals<double>(20 * 20, 2), C(400, nan),
                        D(400, 0.0);
    gemm<double>(pool, Transpose::no, Transpose::no, 20, 20, 20, A.data(), 20, B.data(), 20, C.data(), 20,
                 Write::overwrite);
    gemm<double>(pool, Transpose::no, Transpose::no, 20, 20, 20, A.data(), 20, B.data(), 20, D.data(), 20,
                 Write::overwrite);
    CHECK(same_bits(C, D));
    gemm<double>(pool, Transpose::no, Transpose::no, 20, 20, 0, A.data(), 20, B.data(), 20, C.data(), 20,
                 Write::accumulate);
    CHECK(same_bits(C, D));
    gemm<double>(pool, Transpose::no, Transpose::no, 20, 20, 0, A.data(), 20, B.data(), 20, C.data(), 20,
                 Write::overwrite);
    CHECK(same_bits(C, std::vector<double>(400, 0.0)));
}

TEST_CASE("gemm: a NaN or infinity stays in its row and column") {
    ThreadPool pool(1);
    const Index size = 21;
    for (InstructionSet set : instruction_sets()) {
        std::vector<float> A = normals<float>(size * size, 1), B = normals<float>(size * size, 2),
                           C(at(size * size));
        A[at(4 * size + 7)] = std::numeric_limits<float>::infinity();
        B[at(3 * size + 20)] = std::numeric_limits<float>::quiet_NaN();
        gemm<float>(pool, Transpose::no, Transpose::no, size, size, size, A.data(), size, B.data(), size,
                    C.data(), size, Write::overwrite, {.instructions = set});
        for (Index m = 0; m < size; ++m) {
            for (Index n = 0; n < size; ++n) CHECK(std::isfinite(C[at(m * size + n)]) == (m != 4 && n != 20));
        }
    }
}

TEST_CASE("gemm: complex numbers, for complex-step checks") {
    ThreadPool pool(2);
    using Complex = std::complex<double>;
    const Index M = 9, N = 13, K = 21;
    std::vector<Complex> A(at(M * K)), B(at(N * K)), C(at(M * N), Complex(1, 2));
    std::vector<double> parts = normals<double>(2 * (M + N) * K, 4);
    for (Index i = 0; i < M * K; ++i) A[at(i)] = {parts[at(2 * i)], parts[at(2 * i + 1)]};
    for (Index i = 0; i < N * K; ++i) B[at(i)] = {parts[at(2 * (M * K + i))], parts[at(2 * (M * K + i) + 1)]};
    gemm<Complex>(pool, Transpose::no, Transpose::yes, M, N, K, A.data(), K, B.data(), K, C.data(), N,
                  Write::accumulate);
    for (Index m = 0; m < M; ++m) {
        for (Index n = 0; n < N; ++n) {
            Complex sum(1, 2);
            for (Index k = 0; k < K; ++k) sum = step(A[at(m * K + k)], B[at(n * K + k)], sum);
            CHECK(std::abs(C[at(m * N + n)] - sum) < 1e-13);
        }
    }
}
