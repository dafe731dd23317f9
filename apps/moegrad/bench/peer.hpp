#pragma once
// Peer: another program that runs the same jobs, a line at a time on its input and output.
//     make JOB {"kind": ..., settings}     ok TEXT         the job is there; TEXT: which setting was the best
//     run JOB COUNT                        seconds S       of COUNT runs, with one before that does not count
//     drop                                 ok              every job and its memory is gone
// It greets with "ok TEXT", what it is. Anything may be answered by "error TEXT". JOB is a word.
// bench/peers/kernel_peer.py is one, on PyTorch.

#include <poll.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include <moegrad/core/error.hpp>
#include <moegrad/io/json_writer.hpp>

extern char** environ;

namespace moegrad::bench {

class Peer {
public:
    /// command: program and arguments. patience: seconds that an answer may take.
    Peer(const std::vector<std::string>& command, double patience)
        : name_(command.front()), patience_(patience) {
        start(command);
        try {
            greeting_ = answer("ok");
        } catch (...) {
            stop();
            throw;
        }
    }
    Peer(const Peer&) = delete;
    Peer& operator=(const Peer&) = delete;
    ~Peer() { stop(); }

    const std::string& greeting() const { return greeting_; }

    std::string make(const std::string& job, const Json& settings) {
        return ask("make " + job + " " + write_json(settings), "ok");
    }
    double run(const std::string& job, int count) {
        const std::string text = ask(format("run {} {}", job, count), "seconds");
        char* end = nullptr;
        const double seconds = std::strtod(text.c_str(), &end);
        if (end != text.c_str() && seconds > 0) return seconds;
        throw Error{ErrorCode::format, name_, "\"seconds S\", S above 0", "seconds " + text};
    }
    void drop() { ask("drop", "ok"); }

private:
    using Clock = std::chrono::steady_clock;

    /// One socket is both its input and its output.
    void start(const std::vector<std::string>& command) {
        int ends[2];
        if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) fail_to_start(errno);
        std::vector<char*> words;
        for (const std::string& word : command) words.push_back(const_cast<char*>(word.c_str()));
        words.push_back(nullptr);
        posix_spawn_file_actions_t actions;
        ::posix_spawn_file_actions_init(&actions);
        ::posix_spawn_file_actions_adddup2(&actions, ends[1], STDIN_FILENO);
        ::posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
        const int problem = ::posix_spawnp(&process_, words[0], &actions, nullptr, words.data(), environ);
        ::posix_spawn_file_actions_destroy(&actions);
        ::close(ends[1]);
        socket_ = ends[0];
        if (problem == 0) return;
        ::close(socket_);
        fail_to_start(problem);
    }
    [[noreturn]] void fail_to_start(int problem) const {
        throw Error{ErrorCode::file, name_, "a program that starts", std::strerror(problem)};
    }

    /// An end of its input is the end of a peer; one that stays is killed.
    void stop() {
        ::close(socket_);
        for (int tries = 0; tries < 50; ++tries) {
            if (::waitpid(process_, nullptr, WNOHANG) != 0) return;
            std::this_thread::sleep_for(std::chrono::milliseconds(100));
        }
        ::kill(process_, SIGKILL);
        ::waitpid(process_, nullptr, 0);
    }

    std::string ask(const std::string& line, const std::string& word) {
        if (lost_) throw Error{ErrorCode::state, name_, "a peer that runs", "one that was lost before"};
        const std::string text = line + "\n";
        for (std::size_t sent = 0; sent < text.size();) {
            const ssize_t some = ::send(socket_, text.data() + sent, text.size() - sent, MSG_NOSIGNAL);
            if (some < 0) lose("a peer that listens", std::strerror(errno));
            sent += static_cast<std::size_t>(some);
        }
        return answer(word);
    }

    /// The rest of a line that begins with `word`.
    std::string answer(const std::string& word) {
        const std::string line = next_line();
        if (line.rfind("error ", 0) == 0) throw Error{ErrorCode::state, name_, "", line.substr(6)};
        if (line == word) return {};
        if (line.rfind(word + " ", 0) == 0) return line.substr(word.size() + 1);
        throw Error{ErrorCode::format, name_, "\"" + word + " ...\" or \"error ...\"", printable(line, 200)};
    }
    std::string next_line() {
        const auto until = Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                              std::chrono::duration<double>(patience_));
        for (;;) {
            if (const std::size_t end = read_.find('\n'); end != read_.npos) {
                const std::string line = read_.substr(0, end);
                read_.erase(0, end + 1);
                return line;
            }
            read_more(until);
        }
    }
    void read_more(Clock::time_point until) {
        const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until - Clock::now()).count();
        pollfd ready{socket_, POLLIN, 0};
        if (::poll(&ready, 1, static_cast<int>(std::max<long long>(left, 0))) == 0)
            lose(format("an answer within {:.0f} s", patience_), "none");
        char some[4096];
        const ssize_t count = ::read(socket_, some, sizeof(some));
        if (count <= 0) lose("an answer", "the end of its output");
        read_.append(some, static_cast<std::size_t>(count));
    }
    /// Later answers would be those of earlier questions: there are none.
    [[noreturn]] void lose(const std::string& expected, const std::string& got) {
        lost_ = true;
        ::kill(process_, SIGKILL);
        throw Error{ErrorCode::state, name_, expected, got};
    }

    std::string name_, greeting_, read_;
    double patience_;
    pid_t process_ = -1;
    int socket_ = -1;
    bool lost_ = false;
};

}  // namespace moegrad::bench
