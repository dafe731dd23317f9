#pragma once
// Hopper's asynchronous machinery, one small function per instruction: mbarriers, the copy engine (TMA), clusters,
// register budgets. wgmma is in wgmma.cuh. Bodies are empty for targets other than sm_90a (nobody calls them there).

#include <cstdint>

#if defined(__CUDA_ARCH_FEAT_SM90_ALL) || !defined(__CUDA_ARCH__)
#define MOEGRAD_SM90A 1
#else
#define MOEGRAD_SM90A 0
#endif

#include <cuda.h>  // CUtensorMap

namespace moegrad::cuda::hopper {

/// Everything in shared memory is named by its 32-bit address: generic pointers cost instructions in every loop.
using Address = std::uint32_t;

__device__ __forceinline__ Address shared_address(const void* p) {
    return static_cast<Address>(__cvta_generic_to_shared(p));
}

#if MOEGRAD_SM90A

__device__ __forceinline__ void barrier_init(Address barrier, int arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals));
}

/// Makes initialised barriers visible to the copy engine and to the cluster.
__device__ __forceinline__ void barrier_init_fence() {
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

__device__ __forceinline__ void barrier_wait(Address barrier, int phase) {
    asm volatile(
        "{\n"
        ".reg .pred done;\n"
        "again:\n"
        "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
        "@done bra over;\n"
        "bra again;\n"
        "over:\n"
        "}\n" ::"r"(barrier),
        "r"(phase)
        : "memory");
}

__device__ __forceinline__ void barrier_arrive(Address barrier) {
    asm volatile("mbarrier.arrive.release.cta.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}

/// Arrives on the barrier at the same place in block `rank` of the cluster. Orders nothing that this thread wrote
/// (.release.cluster would cost a fence over the whole GPU): for slots that were only read, or written before async_fence and
/// __syncwarp.
__device__ __forceinline__ void barrier_arrive_at(Address barrier, int rank) {
    asm volatile(
        "{\n"
        ".reg .b32 there;\n"
        "mapa.shared::cluster.u32 there, %0, %1;\n"
        "mbarrier.arrive.relaxed.cluster.shared::cluster.b64 _, [there];\n"
        "}\n" ::"r"(barrier),
        "r"(rank)
        : "memory");
}

/// This warp has read the slot: one arrival.
__device__ __forceinline__ void release_warp(Address barrier) {
    __syncwarp();
    if (threadIdx.x % 32 == 0) barrier_arrive(barrier);
}

/// Announces bytes; the phase ends when they and all arrivals are there.
__device__ __forceinline__ void barrier_arrive_expect(Address barrier, int bytes) {
    asm volatile("mbarrier.arrive.expect_tx.release.cta.shared::cta.b64 _, [%0], %1;" ::"r"(barrier),
                 "r"(bytes)
                 : "memory");
}

__device__ __forceinline__ void barrier_expect(Address barrier, int bytes) {
    asm volatile("mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(bytes)
                 : "memory");
}

/// Contiguous bytes (16-byte aligned, a multiple of 16), completing on the barrier.
__device__ __forceinline__ void load_bytes(Address to, const void* from, int bytes, Address barrier) {
    asm volatile(
        "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(to),
        "l"(from), "r"(bytes), "r"(barrier)
        : "memory");
}
/// 16 bytes by the ordinary asynchronous copy; beyond `bytes` zeros.
__device__ __forceinline__ void copy_16(Address to, const void* from, int bytes) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(bytes) : "memory");
}
/// Arrives on the barrier when all ordinary copies of this thread are there.
__device__ __forceinline__ void barrier_arrive_copies(Address barrier) {
    asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(barrier) : "memory");
}
/// Ordinary writes to shared memory become visible to wgmma and the copy engine.
__device__ __forceinline__ void async_fence() {
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

__device__ __forceinline__ void prefetch(const CUtensorMap* map) {
    asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}

/// A box of a matrix: `column` is the coordinate on the contiguous axis.
__device__ __forceinline__ void load_box(Address to, const CUtensorMap* map, Address barrier, int column,
                                         int row) {
    asm volatile(
        "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, "
        "%4}], [%2];" ::"r"(to),
        "l"(map), "r"(barrier), "r"(column), "r"(row)
        : "memory");
}

__device__ __forceinline__ void load_box(Address to, const CUtensorMap* map, Address barrier, int column,
                                         int row, int slice) {
    asm volatile(
        "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, "
        "%4, %5}], "
        "[%2];" ::"r"(to),
        "l"(map), "r"(barrier), "r"(column), "r"(row), "r"(slice)
        : "memory");
}

/// The same box into both blocks of a pair, completing on the barrier of each.
__device__ __forceinline__ void load_box_pair(Address to, const CUtensorMap* map, Address barrier, int column,
                                              int row) {
    asm volatile(
        "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.multicast::cluster "
        "[%0], "
        "[%1, {%3, %4}], [%2], %5;" ::"r"(to),
        "l"(map), "r"(barrier), "r"(column), "r"(row), "h"(static_cast<std::uint16_t>(3))
        : "memory");
}

__device__ __forceinline__ void load_box_pair(Address to, const CUtensorMap* map, Address barrier, int column,
                                              int row, int slice) {
    asm volatile(
        "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.multicast::cluster "
        "[%0], "
        "[%1, {%3, %4, %5}], [%2], %6;" ::"r"(to),
        "l"(map), "r"(barrier), "r"(column), "r"(row), "r"(slice), "h"(static_cast<std::uint16_t>(3))
        : "memory");
}

__device__ __forceinline__ int cluster_rank() {
    std::uint32_t rank;
    asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return static_cast<int>(rank);
}

__device__ __forceinline__ void cluster_sync() {
    asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::
                     : "memory");
}

/// What lies in shared memory of block `rank` of the cluster where `mine` lies in this block's.
template <class T>
__device__ __forceinline__ T* in_block(T* mine, int rank) {
    std::uint64_t there;
    asm("mapa.u64 %0, %1, %2;" : "=l"(there) : "l"(mine), "r"(rank));
    return reinterpret_cast<T*>(there);
}

template <int Registers>
__device__ __forceinline__ void fewer_registers() {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(Registers));
}

template <int Registers>
__device__ __forceinline__ void more_registers() {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(Registers));
}

#endif  // MOEGRAD_SM90A

}  // namespace moegrad::cuda::hopper
