#pragma once
// What this process holds, as the system counts it: resident bytes now and at their highest (VmRSS and VmHWM of
// /proc/self/status; 0 where there is no such file).

#include <cstddef>
#include <cstdlib>
#include <fstream>
#include <string>

#if defined(__GLIBC__)
#include <malloc.h>
#endif

namespace moegrad {

struct ProcessMemory {
    std::size_t now = 0, highest = 0;  // bytes
};

inline ProcessMemory process_memory() {
    ProcessMemory memory;
    std::ifstream status("/proc/self/status");
    for (std::string line; std::getline(status, line);) {
        const auto bytes = [&](const char* key, std::size_t length) -> std::size_t {
            if (line.compare(0, length, key) != 0) return 0;
            return std::strtoull(line.c_str() + length, nullptr, 10) * 1024;
        };
        if (const std::size_t value = bytes("VmRSS:", 6)) memory.now = value;
        if (const std::size_t value = bytes("VmHWM:", 6)) memory.highest = value;
    }
    return memory;
}

/// Gives what the heap keeps for later back to the system, where the C library can.
inline void give_back_heap() {
#if defined(__GLIBC__)
    ::malloc_trim(0);
#endif
}

}  // namespace moegrad
