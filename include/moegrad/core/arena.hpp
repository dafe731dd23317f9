#pragma once
// Arena: step memory. A deterministic first-fit list over large chunks: the same requests in the same order give the
// same places, and a steady state asks the system for nothing. Buffers return their block when the last Tensor that
// shares them goes. One host thread uses an Arena; kernels never allocate.
// A plan (train/step_plan.hpp) says how far a step reaches; `reserve` then takes that much in one piece, pages and all,
// so that a run which starts has the memory it ends with.

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include <moegrad/core/device_memory.hpp>
#include <moegrad/core/error.hpp>
#include <moegrad/core/pages.hpp>

namespace moegrad {

class Arena {
public:
    static constexpr std::size_t kAlignment = 64;
    static constexpr std::size_t kDeviceAlignment =
        256;  // of the blocks on a GPU: lines of its cache, tensor maps
    static constexpr std::size_t kChunk = std::size_t{32} << 20;

    /// Whether new blocks are filled with 0xFF bytes (a NaN in every float type): reads of unwritten memory show.
    enum class Fill { none, poison };

    explicit Arena(Fill fill = Fill::none, Device device = Device::cpu)
        : fill_(fill), device_(device), unit_(unit_of(device)) {}
    /// One that only plans, for `target`: chunks of address space so large that all blocks lie in the first.
    static std::shared_ptr<Arena> planned(Device target = Device::cpu) {
        auto arena = std::make_shared<Arena>();
        arena->chunk_ = std::size_t{1} << 40;
        arena->unit_ = unit_of(target);
        return arena;
    }
    Arena(const Arena&) = delete;
    Arena& operator=(const Arena&) = delete;
    ~Arena() {
        for (Chunk& chunk : chunks_) give_back_to_system(chunk);
    }

    Device device() const { return device_; }

    void* allocate(std::size_t bytes) {
        const std::size_t need = round_up(bytes);
        for (Chunk& chunk : chunks_) {
            if (void* place = take(chunk, need)) return hand_out(place, need);
        }
        add_chunk(need);
        return hand_out(take(chunks_.back(), need), need);
    }

    /// Before the first block: `bytes` in one piece, touched now. Steps that reach further still get more.
    void reserve(std::size_t bytes) {
        if (!chunks_.empty() || bytes == 0) return;
        const std::size_t usual = std::exchange(chunk_, pages::round_up(bytes));
        add_chunk(chunk_);
        chunk_ = usual;
        if (device_ != Device::cuda) pages::populate(chunks_.back().base, chunks_.back().bytes);
    }

    void release(void* place, std::size_t bytes) noexcept {
        const std::size_t size = round_up(bytes);
        in_use_ -= size;
        for (Chunk& chunk : chunks_) {
            auto* begin = static_cast<std::byte*>(chunk.base);
            auto* at = static_cast<std::byte*>(place);
            if (at >= begin && at < begin + chunk.bytes) {
                give_back(chunk, static_cast<std::size_t>(at - begin), size);
                return;
            }
        }
    }

    std::size_t in_use() const { return in_use_; }
    std::size_t peak() const { return peak_; }
    void reset_peak() { peak_ = in_use_; }
    /// Bytes from the start of each chunk to the end of the furthest block that was ever in it.
    std::size_t reach() const {
        std::size_t sum = 0;
        for (const Chunk& chunk : chunks_) sum += chunk.reach;
        return sum;
    }
    /// What the system gave.
    std::size_t held() const {
        std::size_t sum = 0;
        for (const Chunk& chunk : chunks_) sum += chunk.bytes;
        return sum;
    }
    /// How often the system was asked for memory; constant once a training loop is warm.
    int system_allocations() const { return static_cast<int>(chunks_.size()); }

private:
    struct Block {
        std::size_t offset, bytes;
    };
    struct Chunk {
        void* base;
        std::size_t bytes;
        std::vector<Block> free;  // by offset, never adjacent
        std::size_t reach = 0;
    };

    static constexpr std::size_t unit_of(Device device) {
        return device == Device::cuda ? kDeviceAlignment : kAlignment;
    }
    std::size_t round_up(std::size_t bytes) const {
        return bytes == 0 ? unit_ : (bytes + unit_ - 1) / unit_ * unit_;
    }

    void add_chunk(std::size_t need) {
        std::size_t bytes = std::max(pages::round_up(need), chunk_);
        if (device_ == Device::cuda) {
            chunks_.push_back({cuda_memory().allocate(bytes, "step memory"), bytes, {{0, bytes}}});
            return;
        }
        // A planner's address space may be limited: halves of it do as well.
        void* base = pages::map(bytes);
        while (base == nullptr && bytes / 2 >= need && bytes > kChunk) base = pages::map(bytes /= 2);
        if (base == nullptr) {
            throw Error{ErrorCode::memory, "step memory", format("{} bytes more", need),
                        format("{} bytes in use", in_use_),
                        "use a smaller micro-batch or turn on checkpointing"};
        }
        chunks_.push_back({base, bytes, {{0, bytes}}});
        chunks_.back().free.reserve(256);
    }

    static void* take(Chunk& chunk, std::size_t need) {
        for (std::size_t i = 0; i < chunk.free.size(); ++i) {
            Block& block = chunk.free[i];
            if (block.bytes < need) continue;
            void* place = static_cast<std::byte*>(chunk.base) + block.offset;
            block.offset += need;
            block.bytes -= need;
            chunk.reach = std::max(chunk.reach, block.offset);
            if (block.bytes == 0) chunk.free.erase(chunk.free.begin() + static_cast<std::ptrdiff_t>(i));
            return place;
        }
        return nullptr;
    }

    void* hand_out(void* place, std::size_t bytes) {
        in_use_ += bytes;
        if (in_use_ > peak_) peak_ = in_use_;
        if (fill_ == Fill::poison && device_ == Device::cuda) cuda_memory().fill(place, 0xFF, bytes);
        if (fill_ == Fill::poison && device_ != Device::cuda) std::memset(place, 0xFF, bytes);
        return place;
    }

    void give_back_to_system(Chunk& chunk) const {
        if (device_ == Device::cuda) {
            cuda_memory().release(chunk.base);
        } else {
            pages::unmap(chunk.base, chunk.bytes);
        }
    }

    static void give_back(Chunk& chunk, std::size_t offset, std::size_t bytes) {
        auto& free = chunk.free;
        std::size_t i = 0;
        while (i < free.size() && free[i].offset < offset) ++i;
        const bool joins_left = i > 0 && free[i - 1].offset + free[i - 1].bytes == offset;
        const bool joins_right = i < free.size() && offset + bytes == free[i].offset;
        if (joins_left && joins_right) {
            free[i - 1].bytes += bytes + free[i].bytes;
            free.erase(free.begin() + static_cast<std::ptrdiff_t>(i));
        } else if (joins_left) {
            free[i - 1].bytes += bytes;
        } else if (joins_right) {
            free[i] = {offset, bytes + free[i].bytes};
        } else {
            free.insert(free.begin() + static_cast<std::ptrdiff_t>(i), {offset, bytes});
        }
    }

    Fill fill_;
    Device device_ = Device::cpu;
    std::size_t unit_ = kAlignment;
    std::size_t chunk_ = kChunk;
    std::vector<Chunk> chunks_;
    std::size_t in_use_ = 0, peak_ = 0;
};

/// A block of memory with its home. Shared by the tensors that look into it.
class Buffer {
public:
    /// From an arena (step memory), or from the system when `arena` is null (weights, moments, caches): then zeroed.
    Buffer(std::shared_ptr<Arena> arena, std::size_t bytes, Device device = Device::cpu)
        : arena_(std::move(arena)),
          bytes_(bytes),
          device_(arena_                   ? arena_->device()
                  : device == Device::cuda ? Device::cuda
                                           : Device::cpu),
          paged_(bytes >= (Planning::active() ? pages::kBytes : kPaged)) {
        if (arena_) {
            data_ = arena_->allocate(bytes);
            return;
        }
        if (device_ == Device::cuda) {
            require_cuda("tensor");
            data_ = cuda_memory().allocate(bytes == 0 ? 1 : bytes, "tensor");
            cuda_memory().fill(data_, 0, bytes);
            lasting(Device::cuda) += bytes;
            return;
        }
        lasting() += bytes;
        // Small blocks from the heap; pages, zero from the start, where they are worth it.
        const std::size_t rounded = (bytes + Arena::kAlignment) / Arena::kAlignment * Arena::kAlignment;
        data_ = paged_ ? pages::map(bytes) : std::aligned_alloc(Arena::kAlignment, rounded);
        if (data_ == nullptr) {
            lasting() -= bytes;
            throw Error{ErrorCode::memory, "tensor", format("{} bytes", bytes),
                        "the system has no such block"};
        }
        if (!paged_) std::memset(data_, 0, rounded);
    }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    ~Buffer() {
        if (arena_) {
            arena_->release(data_, bytes_);
            return;
        }
        lasting(device_) -= bytes_;
        if (device_ == Device::cuda) {
            cuda_memory().release(data_);
            return;
        }
        if (paged_) {
            pages::unmap(data_, bytes_);
        } else {
            std::free(data_);
        }
    }

    /// Of all blocks that are alive and no step memory: weights, gradients, moments, tables.
    static std::size_t lasting_bytes(Device device = Device::cpu) { return lasting(device); }

    void* data() const { return data_; }
    std::size_t bytes() const { return bytes_; }
    /// Where it lies; what a plan (Device::dry) works on is address space of the host.
    Device device() const { return device_; }

private:
    static constexpr std::size_t kPaged = std::size_t{128} << 10;

    static std::atomic<std::size_t>& lasting(Device device = Device::cpu) {
        static std::atomic<std::size_t> bytes[kDevices] = {};
        return bytes[static_cast<int>(device)];
    }

    std::shared_ptr<Arena> arena_;
    void* data_ = nullptr;
    std::size_t bytes_;
    Device device_;
    bool paged_;
};

}  // namespace moegrad
