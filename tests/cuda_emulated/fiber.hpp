#pragma once
// Fiber: a stack and the place where its work stopped. One operating-system thread switches between them by hand.

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <new>

#include "emulator.hpp"

#if defined(MOEGRAD_EMULATED_ASAN)
#include <pthread.h>
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if !defined(__x86_64__)
#include <ucontext.h>
#endif

#if defined(__x86_64__)
extern "C" void moegrad_fiber_switch(void** from, void* to);
#endif

namespace moegrad::emulated {

class Fiber {
public:
    /// The stack of whoever calls.
    Fiber() {
#if defined(MOEGRAD_EMULATED_ASAN)
        pthread_attr_t attributes;
        void* stack = nullptr;
        pthread_getattr_np(pthread_self(), &attributes);
        pthread_attr_getstack(&attributes, &stack, &bytes_);
        pthread_attr_destroy(&attributes);
        stack_ = stack;
#endif
    }
    /// One that runs `work`, which never returns.
    explicit Fiber(void (*work)()) {
        void* memory =
            mmap(nullptr, kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED) throw std::bad_alloc();
        mprotect(memory, 4096, PROT_NONE);  // an overflow ends the program
        stack_ = memory;
        bytes_ = kStack;
        made_ = true;
#if defined(__x86_64__)
        // Shifted against each other: equal places in pages would share few lines of the cache.
        static std::size_t shift = 0;
        shift = (shift + 704) % 16384;
        auto** top = reinterpret_cast<void**>(static_cast<char*>(memory) + kStack - shift / 16 * 16);
        top[-1] = nullptr;  // where `work` would return to
        top[-2] = reinterpret_cast<void*>(work);
        for (int i = 3; i <= 8; ++i) top[-i] = nullptr;  // six registers
        place_ = top - 8;
#else
        getcontext(&place_);
        place_.uc_stack.ss_sp = memory;
        place_.uc_stack.ss_size = kStack;
        makecontext(&place_, work, 0);
#endif
    }
    Fiber(const Fiber&) = delete;
    Fiber& operator=(const Fiber&) = delete;
    ~Fiber() {
        if (!made_) return;
#if defined(MOEGRAD_EMULATED_ASAN)
        __asan_unpoison_memory_region(stack_, kStack);  // of frames that never returned
#endif
        munmap(const_cast<void*>(stack_), kStack);
    }

    /// From this fiber, which is running, to `other`; comes back when somebody switches here.
    void switch_to(Fiber& other) {
#if defined(MOEGRAD_EMULATED_ASAN)
        void* kept = nullptr;
        __sanitizer_start_switch_fiber(&kept, other.stack_, other.bytes_);
#endif
#if defined(__x86_64__)
        moegrad_fiber_switch(&place_, other.place_);
#else
        swapcontext(&place_, &other.place_);
#endif
#if defined(MOEGRAD_EMULATED_ASAN)
        __sanitizer_finish_switch_fiber(kept, nullptr, nullptr);
#endif
    }

    /// First thing in `work`.
    static void begun() {
#if defined(MOEGRAD_EMULATED_ASAN)
        __sanitizer_finish_switch_fiber(nullptr, nullptr, nullptr);
#endif
    }

private:
    static constexpr std::size_t kStack = std::size_t{256} << 10;

    const void* stack_ = nullptr;
    std::size_t bytes_ = 0;
    bool made_ = false;
#if defined(__x86_64__)
    void* place_ = nullptr;
#else
    ucontext_t place_{};
#endif
};

}  // namespace moegrad::emulated
