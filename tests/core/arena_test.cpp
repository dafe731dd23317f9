#include <moegrad/core/arena.hpp>

#include <doctest/doctest.h>

#include <cstdint>

using namespace moegrad;

namespace {
constexpr std::size_t kLine = Arena::kAlignment;

std::ptrdiff_t distance(const void* from, const void* to) {
    return static_cast<const std::byte*>(to) - static_cast<const std::byte*>(from);
}
}  // namespace

TEST_CASE("arena: blocks are aligned and never overlap, whatever their size") {
    Arena arena;
    std::vector<std::pair<std::byte*, std::size_t>> blocks;
    for (std::size_t bytes :
         {std::size_t{0}, std::size_t{1}, kLine - 1, kLine, kLine + 1, std::size_t{1000}}) {
        auto* place = static_cast<std::byte*>(arena.allocate(bytes));
        CHECK(reinterpret_cast<std::uintptr_t>(place) % kLine == 0);
        for (const auto& [other, size] : blocks) CHECK((place >= other + size || place + bytes <= other));
        blocks.emplace_back(place, bytes == 0 ? 1 : bytes);
    }
}

TEST_CASE("arena: first fit takes the lowest hole that is large enough") {
    Arena arena;
    void* a = arena.allocate(2 * kLine);
    void* b = arena.allocate(kLine);
    void* c = arena.allocate(3 * kLine);
    void* d = arena.allocate(kLine);
    arena.release(a, 2 * kLine);
    arena.release(c, 3 * kLine);
    CHECK(arena.allocate(3 * kLine) == c);  // a's hole is too small
    CHECK(arena.allocate(kLine) == a);
    CHECK(distance(a, arena.allocate(kLine)) ==
          static_cast<std::ptrdiff_t>(kLine));  // what was left of a's hole
    CHECK(distance(d, arena.allocate(kLine)) == static_cast<std::ptrdiff_t>(kLine));  // no hole: at the end
    CHECK(b != nullptr);
}

TEST_CASE("arena: neighbouring holes become one, in any order of release") {
    for (const std::vector<std::size_t>& order : std::vector<std::vector<std::size_t>>{
             {0, 1, 2}, {2, 1, 0}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}}) {
        Arena arena;
        void* place[3];
        for (void*& one : place) one = arena.allocate(kLine);
        void* fence = arena.allocate(kLine);
        for (std::size_t i : order) arena.release(place[i], kLine);
        CHECK(arena.allocate(3 * kLine) == place[0]);
        arena.release(place[0], 3 * kLine);
        arena.release(fence, kLine);
        CHECK(arena.allocate(Arena::kChunk) == place[0]);  // the whole chunk again
        CHECK(arena.system_allocations() == 1);
    }
}

TEST_CASE("arena: the same requests get the same places, and no new memory") {
    Arena arena;
    const auto round = [&] {
        std::vector<void*> places;
        std::vector<std::size_t> sizes;
        for (std::size_t i = 0; i < 50; ++i) {
            sizes.push_back(1 + i * 37 % 5000);
            places.push_back(arena.allocate(sizes.back()));
            if (i % 3 == 2) {
                arena.release(places[i - 1], sizes[i - 1]);
                sizes[i - 1] = 0;
            }
        }
        for (std::size_t i = 0; i < 50; ++i) {
            if (sizes[i] != 0) arena.release(places[i], sizes[i]);
        }
        return places;
    };
    const auto first = round();
    const auto peak = arena.peak();
    for (int i = 0; i < 5; ++i) CHECK(round() == first);
    CHECK(arena.system_allocations() == 1);
    CHECK(arena.peak() == peak);
    CHECK(arena.in_use() == 0);
}

TEST_CASE("arena: what is in use and its peak, in whole lines") {
    Arena arena;
    void* a = arena.allocate(1);
    void* b = arena.allocate(kLine + 1);
    CHECK(arena.in_use() == 3 * kLine);
    arena.release(b, kLine + 1);
    CHECK(arena.in_use() == kLine);
    CHECK(arena.peak() == 3 * kLine);
    arena.reset_peak();
    CHECK(arena.peak() == kLine);
    arena.release(a, 1);
    CHECK(arena.in_use() == 0);
}

TEST_CASE("arena: more than a chunk gets a chunk of its own, and goes back there") {
    Arena arena;
    void* small = arena.allocate(kLine);
    void* large = arena.allocate(Arena::kChunk + 1);
    CHECK(arena.system_allocations() == 2);
    arena.release(large, Arena::kChunk + 1);
    CHECK(arena.allocate(Arena::kChunk + 1) == large);
    CHECK(arena.system_allocations() == 2);
    CHECK(distance(small, arena.allocate(kLine)) ==
          static_cast<std::ptrdiff_t>(kLine));  // the first chunk goes on
}

TEST_CASE("arena: poison shows reads of unwritten memory, in reused blocks too") {
    Arena arena(Arena::Fill::poison);
    const auto poisoned = [](const void* place) {
        for (std::size_t i = 0; i < kLine; ++i) {
            if (static_cast<const unsigned char*>(place)[i] != 0xFF) return false;
        }
        return true;
    };
    void* a = arena.allocate(kLine);
    CHECK(poisoned(a));
    std::memset(a, 0, kLine);
    arena.release(a, kLine);
    CHECK(arena.allocate(kLine) == a);
    CHECK(poisoned(a));
}

TEST_CASE("arena: a buffer brings its block back; without an arena it is zeroed memory of the system") {
    const auto arena = std::make_shared<Arena>(Arena::Fill::poison);
    {
        const Buffer step(arena, 100);
        CHECK(arena->in_use() == 2 * kLine);
        CHECK(step.bytes() == 100);
    }
    CHECK(arena->in_use() == 0);
    const Buffer lasting(nullptr, 100);
    CHECK(reinterpret_cast<std::uintptr_t>(lasting.data()) % kLine == 0);
    for (std::size_t i = 0; i < 100; ++i) CHECK(static_cast<const unsigned char*>(lasting.data())[i] == 0);
    CHECK(arena->in_use() == 0);
}

TEST_CASE("arena: reach is where the furthest block ended, whatever is free again") {
    Arena arena;
    CHECK(arena.reach() == 0);
    void* a = arena.allocate(3 * kLine);
    void* b = arena.allocate(kLine);
    arena.release(a, 3 * kLine);
    CHECK(arena.allocate(2 * kLine) == a);
    CHECK(arena.reach() == 4 * kLine);
    arena.release(b, kLine);
    arena.release(a, 2 * kLine);
    CHECK(arena.reach() == 4 * kLine);
    CHECK(arena.in_use() == 0);
}

TEST_CASE("arena: what is reserved is one piece; a step that goes further still gets its memory") {
    Arena arena;
    arena.reserve(3 * pages::kBytes - 1);
    CHECK(arena.held() == 3 * pages::kBytes);
    void* a = arena.allocate(2 * pages::kBytes);
    CHECK(distance(a, arena.allocate(pages::kBytes)) == static_cast<std::ptrdiff_t>(2 * pages::kBytes));
    CHECK(arena.system_allocations() == 1);
    arena.reserve(100 * pages::kBytes);  // too late to be one piece
    CHECK(arena.system_allocations() == 1);
    CHECK(arena.allocate(kLine) != nullptr);
    CHECK(arena.system_allocations() == 2);
    CHECK(arena.held() == 3 * pages::kBytes + Arena::kChunk);
}

TEST_CASE("arena: a planner hands out more than a machine has, all from one chunk") {
    const auto arena = Arena::planned();
    std::vector<void*> blocks;
    for (int i = 0; i < 8; ++i) blocks.push_back(arena->allocate(std::size_t{8} << 30));
    CHECK(arena->reach() == std::size_t{64} << 30);
    CHECK(arena->system_allocations() == 1);
    for (void* block : blocks) arena->release(block, std::size_t{8} << 30);
    CHECK(arena->in_use() == 0);
}

TEST_CASE("buffer: lasting blocks are zero and counted until they go, large and small") {
    const std::size_t before = Buffer::lasting_bytes();
    for (const std::size_t bytes : {std::size_t{0}, std::size_t{100}, std::size_t{300000}}) {
        const Buffer block(nullptr, bytes);
        CHECK(Buffer::lasting_bytes() == before + bytes);
        CHECK(reinterpret_cast<std::uintptr_t>(block.data()) % kLine == 0);
        const auto* at = static_cast<const unsigned char*>(block.data());
        bool zero = true;
        for (std::size_t i = 0; i < bytes; ++i) zero = zero && at[i] == 0;
        CHECK(zero);
    }
    CHECK(Buffer::lasting_bytes() == before);
}
