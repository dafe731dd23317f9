#pragma once
// What loaders and multipliers of grouped_sm90.cuh share: tile sizes, the arguments of a launch, the list of tiles, the
// ring of stages in shared memory.

#include <type_traits>

#include <moegrad/cuda/support/grouped_operands.cuh>
#include <moegrad/cuda/support/tensor_map.cuh>
#include <moegrad/cuda/support/wgmma.cuh>

namespace moegrad::cuda::grouped {

using hopper::Major;

inline constexpr int kTileRows = 128;
inline constexpr int kTileColumns = 256;
inline constexpr int kDepth = 64;
inline constexpr int kStages = 4;
inline constexpr int kBoxRows = 64;
// Pairs above each other that go together through all columns: 16 tiles of rows stay in the L2 cache.
inline constexpr int kRowGroup = 8;

inline constexpr int kBytesA = kTileRows * kDepth * 2;
inline constexpr int kBytesB = kTileColumns * kDepth * 2;
inline constexpr int kBytesStage = kBytesA + kBytesB;
inline constexpr int kSharedBytes = 1024 + kStages * kBytesStage + 2 * kStages * 8;
inline constexpr int kHopperThreads = 3 * 128;

/// The gradient of SwiGLU needs z: after the operands of a tile its 256 gates and ups come through the same ring, 64 and
/// 64 columns a stage. Fetched only when the sum is there, z would cost a trip to memory for every 32 columns.
template <class To>
inline constexpr int kStepsZ = std::is_same_v<To, SwigluGradient> ? kTileColumns / 64 : 0;
inline constexpr int kBytesZ = 2 * kTileRows * 64 * 2;

/// What a launch gives to every block.
template <class To>
struct HopperProduct {
    CUtensorMap a, b, a2, b2, z;
    const std::int32_t* expert_begin;  // [E + 1]
    const std::int32_t* row_token;     // [N], read when rows are gathered
    int experts;
    const bf16* gathered;  // a, when its rows are gathered
    Index gathered_pitch;
    int depth;
    int steps, steps2;
    int chunks2;  // of 16, in the last step of the second contraction
    int column_tiles, column_step, distance;
    To to;
};

struct Tile {
    int expert, row, row_end, column_tile;
    bool above;  // the pair shares b; else a
};

/// Walks the list of pairs: those of expert 0, of expert 1, ... An expert's tiles of rows go in groups that stay in the L2
/// cache through all columns. Where their count is odd the last one goes with the last group, columns two by two: alone it
/// would read all of b again for 128 rows.
class Tiles {
public:
    __device__ Tiles(const std::int32_t* begin, int experts, int columns)
        : begin_(begin), experts_(experts), columns_(columns) {}

    __device__ bool find(int pair, int rank, Tile& tile) {
        for (; expert_ < experts_; ++expert_) {
            const int row = begin_[expert_], end = begin_[expert_ + 1];
            const int rows = (end - row + kTileRows - 1) / kTileRows;
            const int pairs = rows / 2 * columns_ + rows % 2 * ((columns_ + 1) / 2);
            if (pair < first_ + pairs) {
                place(pair - first_, rows, rank, tile);
                tile.expert = expert_, tile.row = row + tile.row * kTileRows, tile.row_end = end;
                return true;
            }
            first_ += pairs;
        }
        return false;
    }

private:
    __device__ void place(int pair, int rows, int rank, Tile& tile) const {
        const int all = rows / 2, groups = max(1, (all + kRowGroup - 1) / kRowGroup);
        const int size = (all + groups - 1) / groups;  // of every group but the last
        const int group = size == 0 ? 0 : min(pair / (size * columns_), groups - 1);
        const int within = pair - group * size * columns_, high = min(size, all - group * size);
        tile.above = true;
        if (rows % 2 == 0 || group + 1 < groups) {
            tile.row = 2 * (group * size + within % high) + rank, tile.column_tile = within / high;
            return;
        }
        const int two = within / (2 * high + 1), at = within - two * (2 * high + 1);
        const int wide = min(2, columns_ - 2 * two) * high;  // pairs of these two columns, or of the last one
        tile.above = at < wide;
        tile.row = tile.above ? 2 * (group * size + at % high) + rank : rows - 1;
        tile.column_tile = 2 * two + (tile.above ? at / high : rank);
    }

    const std::int32_t* begin_;
    int experts_, columns_;
    int expert_ = 0, first_ = 0;
};

#if MOEGRAD_SM90A

using namespace hopper;

struct Shared {
    Address stages;

    __device__ Address a(int stage) const { return stages + stage * kBytesStage; }
    __device__ Address b(int stage) const { return stages + stage * kBytesStage + kBytesA; }
    __device__ Address full(int stage) const { return stages + kStages * kBytesStage + 8 * stage; }
    __device__ Address empty(int stage) const { return full(kStages + stage); }
};

/// Position in the ring of stages.
struct Ring {
    int stage = 0, phase = 0;
    __device__ void next() {
        if (++stage == kStages) stage = 0, phase ^= 1;
    }
};

#endif  // MOEGRAD_SM90A

}  // namespace moegrad::cuda::grouped
