#pragma once
// What the emulator knows of the block that runs.

#include <cuda_runtime.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <moegrad/core/error.hpp>

#include "emulator.hpp"
#include "fiber.hpp"

namespace moegrad::emulated {

inline constexpr unsigned kLanes = 32;

struct Thread {
    Fiber* fiber = nullptr;
    uint3 index{};
    unsigned turn = 0;        // of the warp's two exchange tables
    unsigned count_turn = 0;  // of the block's two counters
};

/// Lanes as bits: what each of them is at.
struct Warp {
    unsigned all = 0;                              // lanes that the block has
    unsigned fresh = 0, ready = 0;                 // may run: not begun yet, or stopped and free to go on
    unsigned at_warp = 0, at_block = 0, done = 0;  // wait for the other lanes, for the block; have returned
    Site site{};
    std::uint64_t value[2][kLanes];
};

/// The block that runs, and the kernel it belongs to. One at a time.
struct Machine {
    const char* place = "";
    void (*thread)(const void*) = nullptr;
    const void* parameters = nullptr;

    std::vector<Thread> threads;
    std::vector<Warp> warps;
    unsigned live = 0, at_block = 0, current = 0;
    bool backwards = false;
    Site block_site{};
    int counted[2] = {};
    std::vector<unsigned char> shared;
    std::unique_ptr<Error> error;

    Fiber scheduler;
    std::vector<std::unique_ptr<Fiber>> fibers;
    std::vector<Fiber*> idle;
    std::uint64_t launches = 0;
};

inline Machine& machine() {
    static Machine one;
    return one;
}

inline Warp& warp_of(Machine& m, unsigned thread) {
    return m.warps[thread / kLanes];
}
inline unsigned bit(unsigned thread) {
    return 1u << thread % kLanes;
}

/// From `mine`, which waits or has nothing left to do, to a lane of the same warp, else to the scheduler.
void pass_on(Machine& m, Fiber& mine);

using Texts = std::pair<std::string, std::string>;

/// The launch fails with what text() says; this fiber is never seen again, so nothing may stand on its stack that
/// somebody would have to free.
template <class Text>
[[noreturn]] void fail(Machine& m, const Text& text) {
    {
        const auto [expected, got] = text();
        m.error = std::make_unique<Error>(ErrorCode::state, m.place, expected, got, "");
    }
    m.threads[m.current].fiber->switch_to(m.scheduler);
    std::abort();
}

inline std::string text(const Site& site) {
    return format("{} ({}:{})", site.what, site.file, site.line);
}
inline bool same(const Site& a, const Site& b) {
    return a.line == b.line && (a.file == b.file || std::strcmp(a.file, b.file) == 0);
}

inline void release_block(Machine& m) {
    for (Warp& warp : m.warps) {
        warp.ready |= warp.at_block;
        warp.at_block = 0;
    }
    m.at_block = 0;
}

}  // namespace moegrad::emulated
