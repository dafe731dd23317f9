#pragma once
// ThreadPool: parallel_for(count, body) calls body(i) once for every i in [0, count), on all threads of the
// pool.
//
// The calling thread takes part. Indices are handed out by a counter, in any order and to any thread: a body
// must not let its result depend on that, so callers cut work into tiles by shape only (same bits for any
// thread count). A body that throws does not stop lower indices; the caller gets the exception of the lowest
// index that threw, as a plain loop would. A call from inside a body, or while another thread uses the pool,
// runs as a plain loop.

#include <moegrad/core/error.hpp>
#include <moegrad/core/view.hpp>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

namespace moegrad {

inline constexpr int kMaxThreads = 1024;

/// MOEGRAD_THREADS when set, else the number of hardware threads.
inline int default_threads() {
    if (const char* text = std::getenv("MOEGRAD_THREADS")) {
        std::string_view value = text;
        int threads = 0;
        auto [end, problem] = std::from_chars(value.data(), value.data() + value.size(), threads);
        if (problem != std::errc{} || end != value.data() + value.size() || threads < 1 ||
            threads > kMaxThreads) {
            throw Error{ErrorCode::config, "environment variable MOEGRAD_THREADS",
                        "a whole number from 1 to " + std::to_string(kMaxThreads),
                        "\"" + std::string(value) + "\"", "unset it to use all hardware threads"};
        }
        return threads;
    }
    int hardware = static_cast<int>(std::thread::hardware_concurrency());
    return hardware < 1 ? 1 : std::min(hardware, kMaxThreads);
}

class ThreadPool {
public:
    explicit ThreadPool(int threads = default_threads()) : size_(threads) {
        if (threads < 1 || threads > kMaxThreads) {
            throw Error{ErrorCode::value, "ThreadPool", "1 to " + std::to_string(kMaxThreads) + " threads",
                        std::to_string(threads)};
        }
        // Spinning helps only while every thread has a core of its own.
        if (size_ > 1 && size_ > static_cast<int>(std::thread::hardware_concurrency())) spins_ = 0;
        workers_.reserve(static_cast<std::size_t>(size_ - 1));
        try {
            for (int worker = 1; worker < size_; ++worker) workers_.emplace_back([this] { work(); });
        } catch (const std::system_error& problem) {
            shut_down();
            throw Error{ErrorCode::memory, "ThreadPool", std::to_string(size_) + " threads", problem.what(),
                        "set MOEGRAD_THREADS to a smaller number"};
        }
    }
    ~ThreadPool() { shut_down(); }
    ThreadPool(const ThreadPool&) = delete;
    ThreadPool& operator=(const ThreadPool&) = delete;

    int size() const { return size_; }

    template <class Body>
    void parallel_for(Index count, Body&& body) {
        if (count <= 1 || size_ == 1 || busy_.exchange(true, std::memory_order_acquire)) {
            for (Index i = 0; i < count; ++i) body(i);
            return;
        }
        using Plain = std::remove_reference_t<Body>;
        body_ = const_cast<void*>(static_cast<const void*>(std::addressof(body)));
        call_ = [](void* pointer, Index i) { (*static_cast<Plain*>(pointer))(i); };
        run(count);
    }

private:
    // state_ = [generation : 32][open : 1][workers inside : 31]. A worker enters each generation at most once
    // and only while it is open; the caller closes it and waits until nobody is inside before it touches the
    // job again.
    static constexpr std::uint64_t kOpen = std::uint64_t{1} << 31;
    static constexpr std::uint64_t kInside = kOpen - 1;
    static constexpr int kSpins = 1000;  // some tens of microseconds

    static std::uint64_t generation(std::uint64_t state) { return state >> 32; }

    static void pause() {
#if defined(__x86_64__) || defined(__i386__)
        __builtin_ia32_pause();
#endif
    }

    void run(Index count) {
        count_ = count;
        next_.store(0, std::memory_order_relaxed);
        failed_.store(count, std::memory_order_relaxed);
        std::uint64_t previous = state_.load(std::memory_order_relaxed);
        state_.store(((generation(previous) + 1) << 32) | kOpen);
        // Sequentially consistent on both sides: either a worker that falls asleep sees the open state, or we
        // see it.
        if (sleepers_.load() > 0) {
            { std::lock_guard lock(mutex_); }
            wake_.notify_all();
        }
        take_indices();
        state_.fetch_and(~kOpen);
        wait_until_empty();
        std::exception_ptr problem = std::exchange(problem_, nullptr);
        busy_.store(false, std::memory_order_release);
        if (problem) std::rethrow_exception(problem);
    }

    void take_indices() {
        for (;;) {
            Index i = next_.fetch_add(1, std::memory_order_relaxed);
            if (i >= count_) return;
            if (i > failed_.load(std::memory_order_relaxed)) continue;
            try {
                call_(body_, i);
            } catch (...) {
                std::lock_guard lock(mutex_);
                if (i < failed_.load(std::memory_order_relaxed)) {
                    failed_.store(i, std::memory_order_relaxed);
                    problem_ = std::current_exception();
                }
            }
        }
    }

    void wait_until_empty() {
        for (int spin = 0; spin < spins_; ++spin) {
            if ((state_.load() & kInside) == 0) return;
            pause();
        }
        std::unique_lock lock(mutex_);
        done_.wait(lock, [this] { return (state_.load() & kInside) == 0; });
    }

    bool has_work(std::uint64_t last) const {
        std::uint64_t state = state_.load();
        return (state & kOpen) != 0 && generation(state) != last;
    }

    void wait_for_work(std::uint64_t last) {
        for (int spin = 0; spin < spins_; ++spin) {
            if (has_work(last) || stop_.load(std::memory_order_relaxed)) return;
            pause();
        }
        std::unique_lock lock(mutex_);
        sleepers_.fetch_add(1);
        wake_.wait(lock, [&] { return has_work(last) || stop_.load(std::memory_order_relaxed); });
        sleepers_.fetch_sub(1);
    }

    void work() {
        std::uint64_t last = 0;
        for (;;) {
            wait_for_work(last);
            if (stop_.load(std::memory_order_relaxed)) return;
            std::uint64_t state = state_.load();
            if ((state & kOpen) == 0 || generation(state) == last) continue;
            if (!state_.compare_exchange_strong(state, state + 1)) continue;
            last = generation(state);
            take_indices();
            std::uint64_t before = state_.fetch_sub(1);
            if ((before & (kOpen | kInside)) == 1) {
                { std::lock_guard lock(mutex_); }
                done_.notify_one();
            }
        }
    }

    void shut_down() {
        {
            std::lock_guard lock(mutex_);
            stop_.store(true, std::memory_order_relaxed);
        }
        wake_.notify_all();
        for (std::thread& worker : workers_) worker.join();
    }

    int size_;
    int spins_ = kSpins;
    std::vector<std::thread> workers_;

    std::atomic<bool> busy_{false};
    std::atomic<bool> stop_{false};
    std::atomic<int> sleepers_{0};
    alignas(64) std::atomic<std::uint64_t> state_{0};
    alignas(64) std::atomic<Index> next_{0};
    alignas(64) std::atomic<Index> failed_{0};

    // The job: written while the generation is closed and empty.
    Index count_ = 0;
    void* body_ = nullptr;
    void (*call_)(void*, Index) = nullptr;
    std::exception_ptr problem_;

    std::mutex mutex_;
    std::condition_variable wake_, done_;
};

}  // namespace moegrad
