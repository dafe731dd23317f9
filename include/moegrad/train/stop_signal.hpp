#pragma once
// StopSignal: while it lives, the first SIGINT or SIGTERM sets a flag and says so; the second one ends the process as it
// would without us. System calls go on where the signal found them (SA_RESTART).

#include <signal.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstddef>

namespace moegrad {

class StopSignal {
public:
    StopSignal() {
        requested_.store(false);
        struct sigaction action {};
        action.sa_handler = &StopSignal::receive;
        action.sa_flags = SA_RESTART;
        sigemptyset(&action.sa_mask);
        for (const int signal : kSignals) sigaddset(&action.sa_mask, signal);
        for (std::size_t i = 0; i < kSignals.size(); ++i) sigaction(kSignals[i], &action, &before_[i]);
    }
    ~StopSignal() {
        for (std::size_t i = 0; i < kSignals.size(); ++i) sigaction(kSignals[i], &before_[i], nullptr);
    }
    StopSignal(const StopSignal&) = delete;
    StopSignal& operator=(const StopSignal&) = delete;

    /// Turns true with the first signal.
    const std::atomic<bool>& requested() const { return requested_; }

private:
    static constexpr std::array kSignals{SIGINT, SIGTERM};

    // Only what a handler may do: an atomic flag, sigaction, write.
    static void receive(int) {
        requested_.store(true);
        struct sigaction usual {};
        usual.sa_handler = SIG_DFL;
        for (const int signal : kSignals) sigaction(signal, &usual, nullptr);
        constexpr char text[] = "\nstopping after this step; once more stops at once\n";
        [[maybe_unused]] const auto written = ::write(STDERR_FILENO, text, sizeof(text) - 1);
    }

    inline static std::atomic<bool> requested_{false};
    static_assert(std::atomic<bool>::is_always_lock_free);
    std::array<struct sigaction, kSignals.size()> before_{};
};

}  // namespace moegrad
