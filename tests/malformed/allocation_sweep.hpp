#pragma once
// operator new that fails at the k-th call, k = 1, 2, .. until a load needs fewer. Every time the load must end in a typed
// Error (memory), give back what it took, and load the next time. Included by one translation unit of the program.

#include <doctest/doctest.h>

#include <moegrad/core/error.hpp>

#include <cstdlib>
#include <new>
#include <string>

namespace malformed {

struct AllocationFailure {
    inline static long fail_at = 0;  // 0: never
    inline static long calls = 0;
    inline static long live = 0;
    static bool fails() { return fail_at > 0 && ++calls == fail_at; }
};

struct SweepResult {
    long allocations = 0, typed = 0;  // typed: those whose failure came as an Error
};

/// A failure ends as Error{memory}, or as std::bad_alloc where it is the caller's own (the path it passes); or not at
/// all where std::stable_sort can do without.
template <class Load>
SweepResult allocation_sweep(const std::string& what, const Load& load) {
    CAPTURE(what);
    load();
    SweepResult result;
    for (long k = 1;; ++k) {
        const long before = AllocationFailure::live;
        bool answered = false, loaded = false;
        AllocationFailure::calls = 0;
        AllocationFailure::fail_at = k;
        try {
            load();
            answered = loaded = true;
        } catch (const moegrad::Error& error) {
            answered = error.code == moegrad::ErrorCode::memory;
            result.typed += answered ? 1 : 0;
        } catch (const std::bad_alloc&) {
            answered = true;
        }
        const bool reached = AllocationFailure::calls >= k;
        AllocationFailure::fail_at = 0;
        if (!reached) {
            CHECK(loaded);
            return result;
        }
        ++result.allocations;
        if (!answered || AllocationFailure::live != before) {
            CAPTURE(k);
            CHECK(answered);
            CHECK(AllocationFailure::live == before);
        }
    }
}

}  // namespace malformed

void* operator new(std::size_t bytes) {
    void* place = malformed::AllocationFailure::fails() ? nullptr : std::malloc(bytes == 0 ? 1 : bytes);
    if (place == nullptr) throw std::bad_alloc();
    ++malformed::AllocationFailure::live;
    return place;
}
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
    void* place = malformed::AllocationFailure::fails() ? nullptr : std::malloc(bytes == 0 ? 1 : bytes);
    malformed::AllocationFailure::live += place != nullptr ? 1 : 0;
    return place;
}
void* operator new[](std::size_t bytes) {
    return operator new(bytes);
}
void operator delete(void* place) noexcept {
    malformed::AllocationFailure::live -= place != nullptr ? 1 : 0;
    std::free(place);
}
void operator delete(void* place, std::size_t) noexcept {
    operator delete(place);
}
void operator delete[](void* place) noexcept {
    operator delete(place);
}
void operator delete[](void* place, std::size_t) noexcept {
    operator delete(place);
}
void operator delete(void* place, const std::nothrow_t&) noexcept {
    operator delete(place);
}
