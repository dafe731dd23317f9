// Runs a kernel block by block: which thread comes next, and what a GPU would refuse.

#include <algorithm>
#include <bit>
#include <mutex>

#include "machine.hpp"

namespace moegrad::emulated {
namespace {

constexpr unsigned kMostThreads = 1024;
constexpr std::size_t kMostShared = 166912;  // of a block on sm_80, where every plain kernel must run

void fiber_work();

/// What comes next on this operating-system thread; a fresh one gets a fiber.
Fiber& select(Machine& m, unsigned thread) {
    Warp& warp = warp_of(m, thread);
    Thread& t = m.threads[thread];
    if ((warp.fresh & bit(thread)) != 0) {
        if (m.idle.empty()) {
            m.fibers.push_back(std::make_unique<Fiber>(fiber_work));
            m.idle.push_back(m.fibers.back().get());
        }
        t.fiber = m.idle.back();
        m.idle.pop_back();
    }
    warp.fresh &= ~bit(thread);
    warp.ready &= ~bit(thread);
    m.current = thread;
    threadIdx = t.index;
    return *t.fiber;
}

/// A lane of the warp that may run; there is one.
unsigned runnable(const Machine& m, const Warp& warp) {
    const unsigned lanes = warp.fresh | warp.ready;
    const int lane = m.backwards ? 31 - std::countl_zero(lanes) : std::countr_zero(lanes);
    return static_cast<unsigned>(&warp - m.warps.data()) * kLanes + static_cast<unsigned>(lane);
}

void finish_thread(Machine& m) {
    Warp& warp = warp_of(m, m.current);
    warp.done |= bit(m.current);
    --m.live;
    if (warp.at_warp != 0)
        fail(m,
             [&] { return Texts("all lanes of a warp at " + text(warp.site), "a lane that has returned"); });
    if (m.at_block > 0 && m.at_block == m.live) release_block(m);
}

/// Carries one thread after another; a thread that never waits costs no switch.
void fiber_work() {
    Machine& m = machine();
    Fiber::begun();
    for (;;) {
        m.thread(m.parameters);
        finish_thread(m);
        Fiber* const mine = m.threads[m.current].fiber;
        const Warp& warp = warp_of(m, m.current);
        m.idle.push_back(mine);
        if ((warp.fresh & bit(runnable(m, warp))) != 0) {
            select(m, runnable(m, warp));  // takes this fiber again
            continue;
        }
        pass_on(m, *mine);
    }
}

void drop_fibers(Machine& m) {  // they hold threads that failed, with what stands on their stacks
    m.idle.clear();
    m.fibers.clear();
}

/// Until no lane of it may run.
void run_warp(Machine& m, Warp& warp) {
    while ((warp.fresh | warp.ready) != 0) {
        m.scheduler.switch_to(select(m, runnable(m, warp)));
        if (!m.error) continue;
        drop_fibers(m);
        const std::unique_ptr<Error> error = std::move(m.error);
        throw *error;
    }
}

[[noreturn]] void throw_stuck(Machine& m) {
    std::string waiting;
    if (m.at_block > 0) waiting = format("{} threads at {}", m.at_block, text(m.block_site));
    for (const Warp& warp : m.warps) {
        if (warp.at_warp == 0) continue;
        waiting += format("{}{} lanes of warp {} at {}", waiting.empty() ? "" : ", ",
                          std::popcount(warp.at_warp), &warp - m.warps.data(), text(warp.site));
    }
    drop_fibers(m);
    throw Error{ErrorCode::state, m.place, "threads that meet at one barrier",
                format("block ({}, {}, {}): {}", blockIdx.x, blockIdx.y, blockIdx.z, waiting)};
}

void set_up_block(Machine& m, unsigned threads) {
    const unsigned warps = (threads + kLanes - 1) / kLanes;
    m.warps.resize(warps);
    for (unsigned w = 0; w < warps; ++w) {
        Warp& warp = m.warps[w];
        const unsigned lanes = std::min(kLanes, threads - w * kLanes);
        warp.all = warp.fresh = lanes == kLanes ? ~0u : (1u << lanes) - 1;
        warp.ready = warp.at_warp = warp.at_block = warp.done = 0;
    }
    m.live = threads;
    m.at_block = 0;
    m.counted[0] = m.counted[1] = 0;
    std::fill(m.shared.begin(), m.shared.end(), 0xFF);
}

void set_up_threads(Machine& m, const dim3& block) {
    m.threads.assign(block.x * block.y * block.z, {});
    for (unsigned t = 0; t < m.threads.size(); ++t) {
        m.threads[t].index = {t % block.x, t / block.x % block.y, t / block.x / block.y};
    }
}

void run_block(Machine& m, std::uint64_t order) {
    set_up_block(m, static_cast<unsigned>(m.threads.size()));
    const auto warps = static_cast<unsigned>(m.warps.size());
    // Another first warp and another direction from barrier to barrier: who forgot a barrier reads what is not there.
    while (m.live > 0) {
        order = order * 6364136223846793005u + 1442695040888963407u;
        m.backwards = (order >> 40) % 2 == 1;
        const auto first = static_cast<unsigned>((order >> 41) % warps);
        const bool any = std::any_of(m.warps.begin(), m.warps.end(),
                                     [](const Warp& warp) { return (warp.fresh | warp.ready) != 0; });
        if (!any) throw_stuck(m);
        for (unsigned k = 0; k < warps; ++k)
            run_warp(m, m.warps[(first + (m.backwards ? warps - k : k)) % warps]);
    }
}

}  // namespace

bool accepts(const dim3& grid, const dim3& block, std::size_t shared_bytes) {
    const std::uint64_t threads = std::uint64_t{block.x} * block.y * block.z;
    return threads > 0 && threads <= kMostThreads && block.z <= 64 && grid.x <= 0x7fffffffu &&
           grid.y <= 65535 && grid.z <= 65535 && shared_bytes <= kMostShared;
}

void pass_on(Machine& m, Fiber& mine) {
    const Warp& warp = warp_of(m, m.current);
    if ((warp.fresh | warp.ready) == 0) return mine.switch_to(m.scheduler);
    mine.switch_to(select(m, runnable(m, warp)));
}

void run(const char* place, const dim3& grid, const dim3& block, std::size_t shared_bytes,
         void (*thread)(const void*), const void* parameters) {
    static std::mutex one_at_a_time;
    const std::lock_guard lock(one_at_a_time);
    Machine& m = machine();
    m.place = place;
    m.thread = thread;
    m.parameters = parameters;
    m.shared.resize(shared_bytes + 128);
    gridDim = grid;
    blockDim = block;
    set_up_threads(m, block);
    const Unlocked unlocked;
    const std::uint64_t blocks = std::uint64_t{grid.x} * grid.y * grid.z;
    // Blocks too: what depends on their order does not repeat itself.
    const std::uint64_t order = ++m.launches * 0x9E3779B97F4A7C15u;
    for (std::uint64_t k = 0; k < blocks; ++k) {
        const std::uint64_t b = ((order >> 63 != 0 ? blocks - 1 - k : k) + (order >> 8) % blocks) % blocks;
        blockIdx = {static_cast<unsigned>(b % grid.x), static_cast<unsigned>(b / grid.x % grid.y),
                    static_cast<unsigned>(b / grid.x / grid.y)};
        run_block(m, order + b);
    }
}

}  // namespace moegrad::emulated
