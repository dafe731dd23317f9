// The matrix product against OpenBLAS (where CMake found it) and Eigen (one thread only), interleaved:
// ours, theirs, ours, theirs ... per shape. Ratios above 1 say that ours is faster.
// With one thread the clock is that of the thread, so that other programs on the machine count less.
//   gemm_bench [--threads N] [--isa auto|avx2|avx512|portable] [--repeats N] [--set large|lora|rows|mixed]
//              [--peer openblas|eigen] [--case 512x16x4096]
//   gemm_bench --hash      one hash of the results per instruction set, over odd and large shapes

#include <moegrad/core/philox.hpp>
#include <moegrad/core/thread_pool.hpp>
#include <moegrad/cpu/support/gemm.hpp>

#include <fmt/core.h>
#include <Eigen/Core>
#ifdef MOEGRAD_BENCH_OPENBLAS
#include <cblas.h>
#endif

#include <time.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace {

using moegrad::Index;
using moegrad::ThreadPool;
using moegrad::Write;
using moegrad::cpu::InstructionSet;
using moegrad::cpu::Transpose;

constexpr Transpose no = Transpose::no, yes = Transpose::yes;

struct Shape {
    const char* set;
    const char* what;
    Transpose a, b;
    Index M, N, K;
    Write write = Write::overwrite;
};

constexpr Shape kShapes[] = {
    {"large", "square", no, no, 2048, 2048, 2048},
    {"large", "square", no, yes, 2048, 2048, 2048},
    {"large", "square", yes, no, 2048, 2048, 2048},
    {"large", "x W^T", no, yes, 1024, 4096, 4096},
    {"large", "dy W", no, no, 1024, 4096, 4096},
    {"large", "dy^T x", yes, no, 4096, 4096, 1024},
    {"lora", "x A^T", no, yes, 512, 16, 4096},
    {"lora", "x A^T", no, yes, 2048, 8, 4096},
    {"lora", "x A^T", no, yes, 2048, 16, 256},
    {"lora", "x A^T", no, yes, 512, 8, 256},
    {"lora", "y += u B^T", no, yes, 512, 4096, 16, Write::accumulate},
    {"lora", "y += u B^T", no, yes, 2048, 4096, 8, Write::accumulate},
    {"lora", "y += u B^T", no, yes, 2048, 256, 16, Write::accumulate},
    {"lora", "du = dy B", no, no, 512, 16, 4096},
    {"lora", "du = dy B", no, no, 2048, 8, 4096},
    {"lora", "du = dy B", no, no, 2048, 16, 256},
    {"lora", "dx += du A", no, no, 512, 4096, 16, Write::accumulate},
    {"lora", "dx += du A", no, no, 2048, 256, 16, Write::accumulate},
    {"lora", "dA = du^T x", yes, no, 16, 4096, 512},
    {"lora", "dA = du^T x", yes, no, 8, 4096, 2048},
    {"lora", "dA = du^T x", yes, no, 16, 256, 2048},
    {"lora", "dB = dy^T u", yes, no, 4096, 16, 512},
    {"lora", "dB = dy^T u", yes, no, 4096, 8, 2048},
    {"lora", "dB = dy^T u", yes, no, 256, 16, 2048},
    {"rows", "x W^T", no, yes, 1, 256, 256},
    {"rows", "x W^T", no, yes, 1, 1024, 1024},
    {"rows", "x W^T", no, yes, 1, 4096, 4096},
    {"rows", "x W^T", no, yes, 2, 1024, 1024},
    {"rows", "x W^T", no, yes, 4, 1024, 1024},
    {"rows", "x W^T", no, yes, 8, 1024, 1024},
    {"rows", "x W^T", no, yes, 16, 1024, 1024},
    {"rows", "x W^T", no, yes, 64, 1024, 1024},
    {"rows", "x W", no, no, 1, 1024, 1024},
    {"rows", "x W", no, no, 4, 1024, 1024},
    {"mixed", "square", no, no, 64, 64, 64},
    {"mixed", "square", no, yes, 64, 64, 64},
    {"mixed", "square", no, no, 256, 256, 256},
    {"mixed", "square", no, yes, 256, 256, 256},
    {"mixed", "square", no, yes, 512, 512, 512},
    {"mixed", "square", no, yes, 1024, 1024, 1024},
    {"mixed", "x W^T", no, yes, 2048, 64, 172},
    {"mixed", "x W^T", no, yes, 512, 512, 256},
    {"mixed", "dy W", no, no, 512, 256, 512},
    {"mixed", "x W^T", no, yes, 2048, 256, 256},
    {"mixed", "dy^T x", yes, no, 512, 256, 512},
};

struct Settings {
    int threads = 1, repeats = 21;
    InstructionSet set = InstructionSet::automatic;
    std::string only, peer, shape;
    bool hash = false;
};

std::vector<float> random_values(Index count, std::uint64_t stream) {
    moegrad::Random random(1, stream);
    std::vector<float> values(static_cast<std::size_t>(count));
    for (float& value : values) value = random.next_uniform() - 0.5f;
    return values;
}

struct Operands {
    Shape s;
    Index lda, ldb;
    std::vector<float> a, b, c;

    explicit Operands(const Shape& shape)
        : s(shape),
          lda(s.a == yes ? s.M : s.K),
          ldb(s.b == yes ? s.K : s.N),
          a(random_values(s.M * s.K, 1)),
          b(random_values(s.K * s.N, 2)),
          c(random_values(s.M * s.N, 3)) {}

    void ours(ThreadPool& pool, InstructionSet set) {
        moegrad::cpu::gemm(pool, s.a, s.b, s.M, s.N, s.K, a.data(), lda, b.data(), ldb, c.data(), s.N,
                           s.write, {.instructions = set});
    }
    void eigen() {
        using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
        bool at = s.a == yes, bt = s.b == yes;
        Eigen::Map<const Matrix> A(a.data(), at ? s.K : s.M, lda), B(b.data(), bt ? s.N : s.K, ldb);
        Eigen::Map<Matrix> C(c.data(), s.M, s.N);
        if (s.write == Write::overwrite) C.setZero();
        if (at && bt) C.noalias() += A.transpose() * B.transpose();
        if (at && !bt) C.noalias() += A.transpose() * B;
        if (!at && bt) C.noalias() += A * B.transpose();
        if (!at && !bt) C.noalias() += A * B;
    }
    void openblas() {
#ifdef MOEGRAD_BENCH_OPENBLAS
        auto kind = [](Transpose t) { return t == yes ? CblasTrans : CblasNoTrans; };
        cblas_sgemm(CblasRowMajor, kind(s.a), kind(s.b), static_cast<int>(s.M), static_cast<int>(s.N),
                    static_cast<int>(s.K), 1.0f, a.data(), static_cast<int>(lda), b.data(),
                    static_cast<int>(ldb), s.write == Write::accumulate ? 1.0f : 0.0f, c.data(),
                    static_cast<int>(s.N));
#endif
    }
};

double now(clockid_t clock) {
    timespec time;
    clock_gettime(clock, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

template <class Body>
double seconds(clockid_t clock, int calls, Body&& body) {
    double begin = now(clock);
    for (int i = 0; i < calls; ++i) body();
    return (now(clock) - begin) / calls;
}

double quantile(std::vector<double> values, double part) {
    std::sort(values.begin(), values.end());
    return values[static_cast<std::size_t>(part * static_cast<double>(values.size() - 1) + 0.5)];
}

/// Times of both, alternating. Before each of ours the threads of the other library have time to fall asleep.
template <class Ours, class Theirs>
void compare(const char* name, const Settings& settings, double gflop, Ours&& ours, Theirs&& theirs) {
    const clockid_t clock = settings.threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC;
    ours(), theirs();
    int calls = std::clamp(static_cast<int>(1e-3 / seconds(clock, 1, ours)), 1, 2000);
    std::vector<double> mine, other, ratio;
    for (int run = 0; run < settings.repeats; ++run) {
        if (settings.threads > 1) std::this_thread::sleep_for(std::chrono::milliseconds(150));
        if (calls > 1) ours();
        mine.push_back(seconds(clock, calls, ours));
        if (calls > 1) theirs();
        other.push_back(seconds(clock, calls, theirs));
        ratio.push_back(other.back() / mine.back());
    }
    double own = *std::min_element(mine.begin(), mine.end());
    double best = *std::min_element(other.begin(), other.end());
    fmt::print("  x {}: {:4.2f} [{:4.2f} {:4.2f}] best {:4.2f} ({:5.1f} to {:5.1f} GF/s)", name,
               quantile(ratio, 0.5), quantile(ratio, 0.1), quantile(ratio, 0.9), best / own, gflop / own,
               gflop / best);
}

void measure(const Shape& s, const Settings& settings, ThreadPool& pool) {
    Operands operands(s);
    double gflop = 2e-9 * static_cast<double>(s.M) * static_cast<double>(s.N) * static_cast<double>(s.K);
    fmt::print("{:11} {}{} {:4}x{:4}x{:4}", s.what, s.a == yes ? 'T' : 'N', s.b == yes ? 'T' : 'N', s.M, s.N,
               s.K);
    auto ours = [&] { operands.ours(pool, settings.set); };
#ifdef MOEGRAD_BENCH_OPENBLAS
    if (settings.peer != "eigen") compare("OpenBLAS", settings, gflop, ours, [&] { operands.openblas(); });
#endif
    if (settings.threads == 1 && settings.peer != "openblas")
        compare("Eigen", settings, gflop, ours, [&] { operands.eigen(); });
    fmt::print("\n");
    std::fflush(stdout);
}

/// FNV-1a over the bytes of the results, all shapes above (those of the portable kernel's speed) and odd ones.
std::uint64_t hash_of_results(InstructionSet set, ThreadPool& pool) {
    std::uint64_t hash = 14695981039346656037ull;
    auto add = [&](const Shape& s) {
        Operands operands(s);
        operands.ours(pool, set);
        for (float value : operands.c) {
            std::uint32_t bits;
            std::memcpy(&bits, &value, sizeof bits);
            hash = (hash ^ bits) * 1099511628211ull;
        }
    };
    for (const Shape& s : kShapes) {
        if (s.M * s.N * s.K <= Index(64) << 20) add(s);
    }
    for (Transpose a : {no, yes}) {
        for (Transpose b : {no, yes}) {
            for (Index M : {1, 3, 8, 15, 37, 301}) {
                for (Index N : {1, 7, 16, 33, 515}) {
                    for (Index K : {1, 5, 64, 259, 777}) add({"", "", a, b, M, N, K, Write::accumulate});
                }
            }
        }
    }
    return hash;
}

void print_hashes(ThreadPool& pool) {
    const struct {
        const char* name;
        InstructionSet set;
    } sets[] = {{"portable", InstructionSet::portable},
                {"avx2", InstructionSet::avx2},
                {"avx512", InstructionSet::avx512}};
    for (const auto& entry : sets) {
        if (!moegrad::cpu::gemm_detail::supported(entry.set)) continue;
        fmt::print("{:8} {:016x}\n", entry.name, hash_of_results(entry.set, pool));
    }
}

Settings parse(int argc, char** argv) {
    Settings settings;
    for (int i = 1; i < argc; ++i) {
        std::string_view flag = argv[i];
        std::string_view value = i + 1 < argc ? argv[i + 1] : "";
        if (flag == "--hash") {
            settings.hash = true;
            continue;
        }
        ++i;
        if (flag == "--threads") settings.threads = std::max(1, std::atoi(value.data()));
        if (flag == "--repeats") settings.repeats = std::max(1, std::atoi(value.data()));
        if (flag == "--set") settings.only = value;
        if (flag == "--case") settings.shape = value;
        if (flag == "--peer") settings.peer = value;
        if (flag == "--isa" && value == "avx2") settings.set = InstructionSet::avx2;
        if (flag == "--isa" && value == "avx512") settings.set = InstructionSet::avx512;
        if (flag == "--isa" && value == "portable") settings.set = InstructionSet::portable;
    }
    return settings;
}

}  // namespace

int main(int argc, char** argv) {
    const Settings settings = parse(argc, argv);
    ThreadPool pool(settings.threads);
    if (settings.hash) {
        print_hashes(pool);
        return 0;
    }
#ifdef MOEGRAD_BENCH_OPENBLAS
    openblas_set_num_threads(settings.threads);
#endif
    fmt::print("median of {} ratios [10 % to 90 %], ratio of the best times; {} thread(s)\n",
               settings.repeats, settings.threads);
    for (const Shape& s : kShapes) {
        if (!settings.only.empty() && settings.only != s.set) continue;
        std::string shape = fmt::format("{}x{}x{}", s.M, s.N, s.K);
        if (settings.shape.empty() || settings.shape == shape) measure(s, settings, pool);
    }
}
