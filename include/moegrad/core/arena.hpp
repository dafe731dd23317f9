#pragma once
// Arena: step memory. A deterministic first-fit list over large chunks: the same requests in the same order give the
// same places, and a steady state asks the system for nothing. Buffers return their block when the last Tensor that
// shares them goes. One host thread uses an Arena; kernels never allocate.

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include <moegrad/core/error.hpp>

namespace moegrad {

class Arena {
public:
    static constexpr std::size_t kAlignment = 64;
    static constexpr std::size_t kChunk = std::size_t{32} << 20;

    /// Whether new blocks are filled with 0xFF bytes (a NaN in every float type): reads of unwritten memory show.
    enum class Fill { none, poison };

    explicit Arena(Fill fill = Fill::none) : fill_(fill) {}
    Arena(const Arena&) = delete;
    Arena& operator=(const Arena&) = delete;
    ~Arena() {
        for (Chunk& chunk : chunks_) std::free(chunk.base);
    }

    void* allocate(std::size_t bytes) {
        const std::size_t need = round_up(bytes);
        for (Chunk& chunk : chunks_) {
            if (void* place = take(chunk, need)) return hand_out(place, need);
        }
        add_chunk(need > kChunk ? need : kChunk);
        return hand_out(take(chunks_.back(), need), need);
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
    };

    static std::size_t round_up(std::size_t bytes) {
        return bytes == 0 ? kAlignment : (bytes + kAlignment - 1) / kAlignment * kAlignment;
    }

    void add_chunk(std::size_t bytes) {
        void* base = std::aligned_alloc(kAlignment, bytes);
        if (base == nullptr) {
            throw Error{ErrorCode::memory, "step memory", format("{} bytes more", bytes),
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
            if (block.bytes == 0) chunk.free.erase(chunk.free.begin() + static_cast<std::ptrdiff_t>(i));
            return place;
        }
        return nullptr;
    }

    void* hand_out(void* place, std::size_t bytes) {
        in_use_ += bytes;
        if (in_use_ > peak_) peak_ = in_use_;
        if (fill_ == Fill::poison) std::memset(place, 0xFF, bytes);
        return place;
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
    std::vector<Chunk> chunks_;
    std::size_t in_use_ = 0, peak_ = 0;
};

/// A block of memory with its home. Shared by the tensors that look into it.
class Buffer {
public:
    /// From an arena (step memory), or from the system when `arena` is null (weights, moments, caches).
    Buffer(std::shared_ptr<Arena> arena, std::size_t bytes) : arena_(std::move(arena)), bytes_(bytes) {
        if (arena_) {
            data_ = arena_->allocate(bytes);
            return;
        }
        const std::size_t rounded = (bytes + Arena::kAlignment) / Arena::kAlignment * Arena::kAlignment;
        data_ = std::aligned_alloc(Arena::kAlignment, rounded);
        if (data_ == nullptr) {
            throw Error{ErrorCode::memory, "tensor", format("{} bytes", bytes),
                        "the system has no such block"};
        }
        std::memset(data_, 0, rounded);
    }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    ~Buffer() {
        if (arena_) {
            arena_->release(data_, bytes_);
        } else {
            std::free(data_);
        }
    }

    void* data() const { return data_; }
    std::size_t bytes() const { return bytes_; }

private:
    std::shared_ptr<Arena> arena_;
    void* data_ = nullptr;
    std::size_t bytes_;
};

}  // namespace moegrad
