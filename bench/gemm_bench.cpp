// GFLOP/s of the matrix product against Eigen on one thread, and its own scaling over threads.
//   gemm_bench [threads]

#include <moegrad/core/philox.hpp>
#include <moegrad/core/thread_pool.hpp>
#include <moegrad/cpu/support/gemm.hpp>

#include <fmt/core.h>
#include <Eigen/Core>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <vector>

namespace {

using moegrad::Index;
using moegrad::ThreadPool;
using moegrad::Write;
using moegrad::cpu::Transpose;

template <class Body>
double best_seconds(Body&& body) {
    using Clock = std::chrono::steady_clock;
    double best = 1e30, total = 0.0;
    for (int run = 0; run < 5 || (total < 0.2 && run < 20000); ++run) {
        Clock::time_point begin = Clock::now();
        body();
        double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
        best = std::min(best, seconds);
        total += seconds;
    }
    return best;
}

template <class T>
std::vector<T> random_values(Index count, std::uint64_t stream) {
    moegrad::Random random(1, stream);
    std::vector<T> values(static_cast<std::size_t>(count));
    for (T& value : values) value = static_cast<T>(random.next_uniform() - 0.5f);
    return values;
}

template <class T>
using RowMajor = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

template <class T>
double eigen_seconds(Transpose ta, Transpose tb, Index M, Index N, Index K, const T* a, const T* b, T* c) {
    bool at = ta == Transpose::yes, bt = tb == Transpose::yes;
    Eigen::Map<const RowMajor<T>> A(a, at ? K : M, at ? M : K), B(b, bt ? N : K, bt ? K : N);
    Eigen::Map<RowMajor<T>> C(c, M, N);
    return best_seconds([&] {
        if (at && bt) C.noalias() = A.transpose() * B.transpose();
        if (at && !bt) C.noalias() = A.transpose() * B;
        if (!at && bt) C.noalias() = A * B.transpose();
        if (!at && !bt) C.noalias() = A * B;
    });
}

template <class T>
void line(const char* type, ThreadPool& one, ThreadPool& many, Transpose ta, Transpose tb, Index M, Index N,
          Index K) {
    std::vector<T> a = random_values<T>(M * K, 1), b = random_values<T>(K * N, 2);
    std::vector<T> c(static_cast<std::size_t>(M * N));
    Index lda = ta == Transpose::yes ? M : K, ldb = tb == Transpose::yes ? K : N;
    auto ours = [&](ThreadPool& pool) {
        return best_seconds([&] {
            moegrad::cpu::gemm(pool, ta, tb, M, N, K, a.data(), lda, b.data(), ldb, c.data(), N,
                               Write::overwrite);
        });
    };
    double single = ours(one), all = ours(many);
    double eigen = eigen_seconds(ta, tb, M, N, K, a.data(), b.data(), c.data());
    double gflop = 2e-9 * static_cast<double>(M) * static_cast<double>(N) * static_cast<double>(K);
    fmt::print(
        "{:6} {}{} {:5}x{:5}x{:5}  {:8.2f} GFLOP/s  {:5.2f} x Eigen ({:7.2f})  {:8.2f} on {} threads\n", type,
        ta == Transpose::yes ? 'T' : 'N', tb == Transpose::yes ? 'T' : 'N', M, N, K, gflop / single,
        eigen / single, gflop / eigen, gflop / all, many.size());
}

}  // namespace

int main(int argc, char** argv) {
    ThreadPool one(1);
    ThreadPool many(argc > 1 ? std::atoi(argv[1]) : moegrad::default_threads());
    constexpr Transpose no = Transpose::no, yes = Transpose::yes;
    const struct {
        Transpose a, b;
        Index M, N, K;
    } cases[] = {
        {no, no, 64, 64, 64},        {no, no, 128, 128, 128},     {no, no, 256, 256, 256},
        {no, no, 512, 512, 512},     {no, no, 1024, 1024, 1024},  {no, yes, 64, 64, 64},
        {no, yes, 256, 256, 256},    {no, yes, 1024, 1024, 1024}, {yes, no, 256, 256, 256},
        {yes, no, 1024, 1024, 1024}, {no, yes, 2048, 64, 172},    {no, yes, 2048, 172, 64},
        {no, no, 2048, 64, 172},     {yes, no, 172, 64, 2048},    {no, yes, 2048, 8, 64},
        {no, yes, 2048, 64, 8},      {no, yes, 32, 172, 64},      {no, yes, 32, 32, 32},
        {no, no, 32, 32, 32},        {no, yes, 1, 172, 64},       {no, yes, 1, 1024, 1024},
        {no, yes, 1, 4096, 1000},    {no, no, 1, 1024, 1024},     {no, yes, 4, 1024, 1024},
        {no, yes, 16, 1024, 1024},   {no, yes, 64, 1024, 1024},
    };
    for (const auto& c : cases) line<float>("float", one, many, c.a, c.b, c.M, c.N, c.K);
    for (const auto& c : cases) {
        if (c.M >= 256) line<double>("double", one, many, c.a, c.b, c.M, c.N, c.K);
    }
}
