#pragma once
// CUDA kernel of ops/balanced_assignment.hpp: the auction of cpu/balanced_assignment.hpp by the eight blocks of a cluster of
// Hopper's, elsewhere by one block. Experts and tokens are dealt out to blocks; each keeps in shared memory (AuctionLayout)
// what every token is worth to its experts, 0 for what they cannot bid on. A round:
//
//     block of an expert     list     the keys from a guess on                        T / 4 reads of 16 bytes
//                            rank     which of them is the cut (select_team.cuh)
//                            tell     level and missing -> every block;  bids -> the block of each token
//     ------------------------------------------------------------------------------- barrier of the cluster
//     block of a token       sell     to the highest bid
//                            tell     what a sold token is worth now -> the block of each expert
//     ------------------------------------------------------------------------------- barrier of the cluster
//
// A round bids on what is missing, a few tokens of 4096 after the first ten rounds; only what changes is told. Expected at
// T = 4096, E = 8 on an H100, in cycles: list 600, rank 300, tell 250, sell 700, two barriers of 500: 2850, 1.6 us. Where the
// guess fails, as in the first rounds, the keys are counted before: 1800 more.
// Where shared memory is too small all of it lies in global memory, in the same places.
//
// A score that is not finite, which the CPU refuses, sets status()->not_finite; the rounds end all the same.

#include <moegrad/cuda/support/auction.cuh>
#include <moegrad/cuda/support/seats.cuh>
#include <moegrad/cuda/support/step_scalars.cuh>

namespace moegrad::cuda::balanced_assignment {
namespace {

template <int Blocks, bool Shared>
__global__ void __launch_bounds__(kAuctionThreads, 1)
    auction_kernel(Scores of, AuctionLayout layout, std::uint32_t* room, int* not_finite) {
    if constexpr (Blocks == 1 || kClusterCode) {
        const Auction<Blocks, Shared> auction(of, layout, room, not_finite);
        if (!auction.run() && blockIdx.x == 0 && threadIdx.x < kWarp)
            auction.give_rest(static_cast<int>(threadIdx.x));
    }
}

/// Bytes of shared memory that a block of the kernel may have beside its own.
template <class Kernel>
std::size_t most_shared(Kernel kernel) {
    cudaFuncAttributes attributes;
    int device = 0, most = 0;
    check(cudaGetDevice(&device), "balanced_assignment");
    check(cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device),
          "balanced_assignment");
    check(cudaFuncGetAttributes(&attributes, kernel), "balanced_assignment");
    return static_cast<std::size_t>(most) - attributes.sharedSizeBytes;
}

template <int Blocks>
void run(cudaStream_t stream, const Scores& of, const AuctionRoom<float>& room) {
    const AuctionLayout layout(of.score.extent(0), of.score.extent(1), Blocks);
    const auto bytes = 4 * static_cast<std::size_t>(layout.words);
    static const std::size_t most = most_shared(auction_kernel<Blocks, true>);
    const bool fits = bytes <= most;
    launch_cluster<Blocks>("balanced_assignment",
                           fits ? auction_kernel<Blocks, true> : auction_kernel<Blocks, false>,
                           kAuctionThreads, fits ? bytes : 0, stream, of, layout,
                           reinterpret_cast<std::uint32_t*>(room.words.data), &status()->not_finite);
}

/// More than a word of tokens and more than one expert: a cluster's blocks have something to do.
inline void assign(Stream stream, View<const float, 2> score, View<const std::uint8_t, 1> valid,
                   View<std::int32_t, 2> choice, AuctionRoom<float> room) {
    const Scores of{score, valid, choice};
    if constexpr (kClusters) {
        const bool shared = score.extent(0) > kWarp && score.extent(1) > 1;
        if (device_limits().hopper && shared) return run<kAuctionBlocks>(cuda_stream(stream), of, room);
    }
    run<1>(cuda_stream(stream), of, room);
}

template <class Real>
constexpr BalancedAssignmentKernels<Real> kernels{assign};

}  // namespace
}  // namespace moegrad::cuda::balanced_assignment

MOEGRAD_CUDA_FLOAT_SEAT(balanced_assignment)
