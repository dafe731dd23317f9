#pragma once
// The matrix product of the CPU side.   C [M, N] = A [M, K] B [K, N]   or   C
// += A B
//
// Every element is one chain of fused multiply-adds in order of k that starts
// from C (accumulate) or 0 (overwrite):
//   C[m, n] = fma(A[m, K-1], B[K-1, n], ... fma(A[m, 0], B[0, n], C0))
// so the bits depend on neither threads, nor M, N, nor tiling, nor instruction
// set, and a sum over k may be cut into calls that accumulate. (std::complex:
// the same chain without fusing.)
//
// Method: the product is cut into register tiles of rows x lanes
// (gemm_kernel.hpp). Lanes (columns of C, or its rows when that is cheaper: the
// chain is symmetric) are packed as [depth, lanes], read in place, or turned on
// the way when there are few rows (gemm_plan.hpp); rows are read as scalars,
// mostly in place. Tasks are rectangles of C over the whole depth
// (gemm_task.hpp).

#include <moegrad/core/error.hpp>
#include <moegrad/core/thread_pool.hpp>
#include <moegrad/core/view.hpp>
#include <moegrad/cpu/support/gemm_task.hpp>
#include <moegrad/cpu/support/gemm_x86.hpp>

#include <algorithm>
#include <cstdint>

namespace moegrad::cpu {

/// Of the stored matrix: A is stored [M, K], or [K, M] with yes; B [K, N], or
/// [N, K] with yes.
enum class Transpose { no, yes };

struct GemmOptions {
    /// Row r of the stored matrix is row a_rows[r] of A (b_rows: of B): a gather
    /// on load. Null: rows in order.
    const std::int32_t* a_rows = nullptr;
    const std::int32_t* b_rows = nullptr;
    InstructionSet instructions = InstructionSet::automatic;
};

/// One product of a batch.
template <class T>
struct GemmCall {
    Transpose transpose_a, transpose_b;
    Index M, N, K;
    const T* A;
    Index lda;
    const T* B;
    Index ldb;
    T* C;
    Index ldc;
    Write write;
    GemmOptions options = {};
};

namespace gemm_detail {

/// Small products are done before a second thread has woken up.
template <class Body>
void for_each(ThreadPool& pool, bool serial, Index count, Body&& body) {
    if (!serial) return pool.parallel_for(count, body);
    for (Index i = 0; i < count; ++i) body(i);
}

template <class T>
Product<T> make_product(const GemmCall<T>& call) {
    Operand<T> a{call.A, call.lda, call.options.a_rows, call.transpose_a == Transpose::no};
    Operand<T> b{call.B, call.ldb, call.options.b_rows, call.transpose_b == Transpose::yes};
    const Kernels<T>& kernels = choose_kernels<T>(call.options.instructions);
    Product<T> plain{&kernels, a, b, call.M, call.N, call.K, call.C, call.ldc, 1, call.write};
    Product<T> turned{&kernels, b, a, call.N, call.M, call.K, call.C, 1, call.ldc, call.write};
    return estimate(turned) < estimate(plain) ? turned : plain;
}

/// Done at once: nothing to do, or nothing to sum.
template <class T>
bool trivial(const GemmCall<T>& call) {
    if (call.M <= 0 || call.N <= 0) return true;
    if (call.K > 0) return false;
    for (Index m = 0; m < call.M && call.write == Write::overwrite; ++m) {
        std::fill_n(call.C + m * call.ldc, call.N, T(0));
    }
    return true;
}

/// The product that holds item i of a list whose items are numbered through.
template <class T>
const Product<T>& find(const Product<T>* products, Index count, Index Product<T>::*first, Index i) {
    return *(std::upper_bound(products, products + count, i,
                              [&](Index item, const Product<T>& p) { return item < p.*first; }) -
             1);
}

}  // namespace gemm_detail

/// Products that do not write into each other's C, their tasks on all threads
/// at once.
template <class T>
void gemm_batch(ThreadPool& pool, const GemmCall<T>* calls, Index count) {
    using namespace gemm_detail;
    Product<T>* products = scratch<Product<T>, 3>(count);
    Index products_count = 0, work = 0;
    for (Index i = 0; i < count; ++i) {
        if (trivial(calls[i])) continue;
        products[products_count++] = make_product(calls[i]);
        // Bringing a value of the lanes into its panel costs about as much as
        // sixteen multiply-adds.
        work += (products[products_count - 1].row_count + 16) * products[products_count - 1].lane_count *
                products[products_count - 1].depth;
    }
    const bool serial = pool.size() == 1 || work <= kSerialWork;
    const Index wanted = serial ? 1 : ceil_divide(4 * pool.size(), std::max<Index>(1, products_count));
    Index tasks = 0, packs = 0, room = 0;
    for (Index i = 0; i < products_count; ++i) {
        Product<T>& p = products[i];
        plan(p, wanted);
        p.first_task = tasks, p.first_pack = packs;
        tasks += p.tasks();
        if (p.feed != Feed::shared) continue;
        packs += p.depth_blocks();
        room += p.panels().stored() * p.depth;
    }
    if (packs > 0) {
        T* packed = scratch<T, 4>(room);
        for (Index i = 0; i < products_count; ++i) {
            products[i].packed = packed;
            if (products[i].feed == Feed::shared) packed += products[i].panels().stored() * products[i].depth;
        }
        for_each(pool, serial, packs, [&](Index i) {
            const Product<T>& p = find(products, products_count, &Product<T>::first_pack, i);
            run_pack(p, i - p.first_pack);
        });
    }
    for_each(pool, serial, tasks, [&](Index i) {
        const Product<T>& p = find(products, products_count, &Product<T>::first_task, i);
        run_task(p, i - p.first_task);
    });
}

// Compiled once, in cpu/linear.hpp.
extern template void gemm_batch<float>(ThreadPool&, const GemmCall<float>*, Index);
extern template void gemm_batch<double>(ThreadPool&, const GemmCall<double>*, Index);

template <class T>
void gemm(ThreadPool& pool, Transpose transpose_a, Transpose transpose_b, Index M, Index N, Index K,
          const T* A, Index lda, const T* B, Index ldb, T* C, Index ldc, Write write,
          const GemmOptions& options = {}) {
    const GemmCall<T> call{transpose_a, transpose_b, M, N, K, A, lda, B, ldb, C, ldc, write, options};
    gemm_batch(pool, &call, 1);
}

}  // namespace moegrad::cpu
