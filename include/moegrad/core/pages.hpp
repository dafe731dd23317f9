#pragma once
// Pages from the system: zeroed, and counted as used only from their first touch on. Lasting tensors and the chunks of
// step memory lie in them, so that what a process holds is what it asked for: nothing stays behind in a heap.
// Planning: while one lives, its thread builds models and runs steps that nobody computes (Device::dry). Weights are
// not filled then, and a model of any size costs address space only.

#include <sys/mman.h>

#include <cstddef>

namespace moegrad {

namespace pages {

inline constexpr std::size_t kBytes = 4096;

inline std::size_t round_up(std::size_t bytes) {
    return (bytes + kBytes - 1) / kBytes * kBytes;
}

/// Null when the system refuses. Not counted against the system's commit limit before it is touched.
inline void* map(std::size_t bytes) noexcept {
    void* place = ::mmap(nullptr, round_up(bytes), PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return place == MAP_FAILED ? nullptr : place;
}

inline void unmap(void* place, std::size_t bytes) noexcept {
    ::munmap(place, round_up(bytes));
}

/// Touches every page, so that none is missing later. Contents stay.
inline void populate(void* place, std::size_t bytes) noexcept {
    auto* at = static_cast<volatile std::byte*>(place);
    for (std::size_t i = 0; i < bytes; i += kBytes) at[i] = at[i];
}

}  // namespace pages

class Planning {
public:
    Planning() { ++depth(); }
    ~Planning() { --depth(); }
    Planning(const Planning&) = delete;
    Planning& operator=(const Planning&) = delete;

    static bool active() { return depth() > 0; }

private:
    static int& depth() {
        thread_local int count = 0;
        return count;
    }
};

}  // namespace moegrad
