#include <moegrad/core/thread_pool.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

using moegrad::Index;
using moegrad::ThreadPool;

TEST_CASE("thread pool: every index exactly once") {
    for (int threads = 1; threads <= 4; ++threads) {
        ThreadPool pool(threads);
        CHECK(pool.size() == threads);
        for (Index count : {0, 1, 2, 3, 7, 64, 20000}) {
            std::vector<std::atomic<int>> calls(static_cast<std::size_t>(count));
            constexpr int repeats = 20;
            for (int repeat = 0; repeat < repeats; ++repeat) {
                pool.parallel_for(count, [&](Index i) { ++calls[static_cast<std::size_t>(i)]; });
            }
            bool once = true;
            for (auto& n : calls) once = once && n == repeats;
            CHECK(once);
        }
    }
}

TEST_CASE("thread pool: thousands of short jobs, back to back and after sleeping") {
    ThreadPool pool(4);
    std::atomic<Index> sum{0};
    for (int job = 0; job < 20000; ++job) {
        pool.parallel_for(5, [&](Index i) { sum += i; });
    }
    CHECK(sum == 20000 * 10);
    for (int job = 0; job < 20; ++job) {
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
        pool.parallel_for(5, [&](Index i) { sum += i; });
    }
    CHECK(sum == 20020 * 10);
}

TEST_CASE("thread pool: other threads do take part") {
    ThreadPool pool(4);
    std::atomic<int> inside{0};
    std::atomic<bool> met{false};
    // Each body waits until a second one runs beside it; a pool that works alone would wait the full time.
    pool.parallel_for(2, [&](Index) {
        ++inside;
        for (int wait = 0; wait < 5000 && !met; ++wait) {
            if (inside == 2) met = true;
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
    });
    CHECK(met);
}

TEST_CASE("thread pool: a nested call is a plain loop on the same thread") {
    ThreadPool pool(3);
    std::atomic<int> calls{0}, strangers{0};
    pool.parallel_for(8, [&](Index) {
        std::thread::id self = std::this_thread::get_id();
        Index expected = 0;
        pool.parallel_for(10, [&](Index j) {
            if (std::this_thread::get_id() != self || j != expected++) ++strangers;
            ++calls;
        });
    });
    CHECK(calls == 80);
    CHECK(strangers == 0);
}

TEST_CASE("thread pool: two users at once") {
    ThreadPool pool(3);
    std::atomic<int> calls{0};
    auto use = [&] {
        for (int job = 0; job < 500; ++job) pool.parallel_for(4, [&](Index) { ++calls; });
    };
    std::thread other(use);
    use();
    other.join();
    CHECK(calls == 4000);
}

TEST_CASE("thread pool: the exception of the lowest index comes back, whatever the number of threads") {
    for (int threads = 1; threads <= 4; ++threads) {
        ThreadPool pool(threads);
        for (int repeat = 0; repeat < 50; ++repeat) {
            std::string message;
            std::atomic<int> below{0};
            try {
                pool.parallel_for(200, [&](Index i) {
                    if (i < 37) ++below;
                    // Let a higher index throw first.
                    if (i == 37) std::this_thread::sleep_for(std::chrono::milliseconds(1));
                    if (i == 37 || i == 38 || i > 150) throw std::runtime_error("index " + std::to_string(i));
                });
            } catch (const std::runtime_error& problem) {
                message = problem.what();
            }
            CHECK(message == "index 37");
            CHECK(below == 37);
        }
        Index sum = 0;
        pool.parallel_for(1, [&](Index) { sum = 5; });
        std::atomic<Index> after{0};
        pool.parallel_for(10, [&](Index i) { after += i; });
        CHECK(sum == 5);
        CHECK(after == 45);
    }
}

TEST_CASE("thread pool: number of threads") {
    CHECK_THROWS_AS(ThreadPool(0), moegrad::Error);
    CHECK_THROWS_AS(ThreadPool(-3), moegrad::Error);
    const char* before = std::getenv("MOEGRAD_THREADS");
    std::string saved = before != nullptr ? before : "";
    ::setenv("MOEGRAD_THREADS", "3", 1);
    CHECK(moegrad::default_threads() == 3);
    CHECK(ThreadPool().size() == 3);
    for (const char* bad : {"", "0", "-1", "four", "2x", "99999", "99999999999999999999"}) {
        ::setenv("MOEGRAD_THREADS", bad, 1);
        CHECK_THROWS_AS(moegrad::default_threads(), moegrad::Error);
    }
    ::unsetenv("MOEGRAD_THREADS");
    CHECK(moegrad::default_threads() >= 1);
    if (before != nullptr) ::setenv("MOEGRAD_THREADS", saved.c_str(), 1);
}
