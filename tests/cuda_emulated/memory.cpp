// Device memory of the emulator: one region of address space that nobody may touch except while a kernel or a copy
// runs, so that host code which looks into it ends as it would on a GPU. Built with AddressSanitizer each block is one
// of the heap instead: reads past its end are found, the host's are not.

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <map>
#include <mutex>

#include "emulator.hpp"

namespace moegrad::emulated {
namespace {

constexpr std::size_t kUnit = 256, kHuge = std::size_t{2} << 20;
constexpr std::size_t kPoison = std::size_t{4}
                                << 20;  // larger blocks belong to arenas, which poison on their own

struct Memory {
    std::mutex mutex;
    unsigned char* base = nullptr;
    std::size_t bytes = 0, used = 0, reach = 0;
    std::map<std::size_t, std::size_t> blocks;  // offset -> bytes
    int open = 0;
    struct sigaction before {};
};

Memory& memory() {
    static Memory* one = new Memory;  // never destroyed: tensors of static storage go later
    return *one;
}

#if !defined(MOEGRAD_EMULATED_ASAN)
void explain(int signal, siginfo_t* info, void*) {
    const Memory& m = memory();
    if (info->si_addr >= m.base && info->si_addr < m.base + m.bytes) {
        const char text[] = "\nmoegrad: host code read or wrote device memory: host(tensor) brings a copy\n";
        [[maybe_unused]] const auto written = write(2, text, sizeof text - 1);
    }
    sigaction(signal, &m.before, nullptr);  // comes again, to whoever was there before
}

void watch() {
    struct sigaction now {};
    sigaction(SIGSEGV, nullptr, &now);
    if (now.sa_flags & SA_SIGINFO && now.sa_sigaction == explain) return;
    memory().before = now;
    struct sigaction mine {};
    mine.sa_sigaction = explain;
    mine.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigaction(SIGSEGV, &mine, nullptr);
}

void reserve(Memory& m) {
    for (std::size_t bytes = std::size_t{64} << 30; m.base == nullptr && bytes >= kHuge * 32; bytes /= 2) {
        void* place =
            mmap(nullptr, bytes + kHuge, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (place == MAP_FAILED) continue;
        const auto at = (reinterpret_cast<std::uintptr_t>(place) + kHuge - 1) / kHuge * kHuge;
        m.base = reinterpret_cast<unsigned char*>(at);
        m.bytes = bytes;
        madvise(m.base, m.bytes, MADV_HUGEPAGE);  // few pages to lock and unlock
    }
}

void protect(int access) {
    Memory& m = memory();
    if (m.reach > 0) mprotect(m.base, (m.reach + kHuge - 1) / kHuge * kHuge, access);
}
#endif

}  // namespace

Unlocked::Unlocked() {
#if !defined(MOEGRAD_EMULATED_ASAN)
    const std::lock_guard lock(memory().mutex);
    if (memory().open++ == 0) protect(PROT_READ | PROT_WRITE);
#endif
}

Unlocked::~Unlocked() {
#if !defined(MOEGRAD_EMULATED_ASAN)
    const std::lock_guard lock(memory().mutex);
    if (--memory().open > 0) return;
    protect(PROT_NONE);
    watch();
#endif
}

void* allocate(std::size_t bytes) {
    Memory& m = memory();
    unsigned char* place = nullptr;
    {
        const std::lock_guard lock(m.mutex);
#if defined(MOEGRAD_EMULATED_ASAN)
        if (bytes > bytes_in_all()) return nullptr;
        place = static_cast<unsigned char*>(std::malloc(bytes));
        m.blocks[reinterpret_cast<std::size_t>(place)] = bytes;
#else
        if (m.base == nullptr) reserve(m);
        const std::size_t need = (bytes + 2 * kUnit - 1) / kUnit * kUnit;  // a gap behind each
        std::size_t at = 0;
        for (const auto& [begin, size] : m.blocks) {
            if (begin - at >= need) break;
            at = begin + size;
        }
        if (need > m.bytes || at > m.bytes - need) return nullptr;
        m.blocks[at] = need;
        m.used += need;
        m.reach = std::max(m.reach, at + need);
        place = m.base + at;
#endif
    }
    const Unlocked unlocked;
    if (bytes <= kPoison) std::memset(place, 0xFF, bytes);
    return place;
}

bool release(void* place) {
    Memory& m = memory();
    const std::lock_guard lock(m.mutex);
    if (place == nullptr) return true;
#if defined(MOEGRAD_EMULATED_ASAN)
    if (m.blocks.erase(reinterpret_cast<std::size_t>(place)) == 0) return false;
    std::free(place);
#else
    const auto block = m.blocks.find(static_cast<std::size_t>(static_cast<unsigned char*>(place) - m.base));
    if (block == m.blocks.end()) return false;
    if (block->second > kHuge * 2) {  // whole pages back to the system
        const std::size_t begin = (block->first + kHuge - 1) / kHuge * kHuge;
        const std::size_t end = (block->first + block->second) / kHuge * kHuge;
        madvise(m.base + begin, end - begin, MADV_DONTNEED);
    }
    m.used -= block->second;
    m.blocks.erase(block);
#endif
    return true;
}

bool is_device(const void* place) {
    Memory& m = memory();
    const std::lock_guard lock(m.mutex);
#if defined(MOEGRAD_EMULATED_ASAN)
    const auto at = reinterpret_cast<std::size_t>(place);
    const auto after = m.blocks.upper_bound(at);
    if (after == m.blocks.begin()) return false;
    const auto& block = *std::prev(after);
    return at < block.first + block.second;
#else
    return place >= m.base && place < m.base + m.bytes;
#endif
}

std::size_t bytes_free() {
    return bytes_in_all() - memory().used;
}
std::size_t bytes_in_all() {
    return memory().bytes == 0 ? std::size_t{64} << 30 : memory().bytes;
}

}  // namespace moegrad::emulated
