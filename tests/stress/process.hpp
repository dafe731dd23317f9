#pragma once
// A program run beside the test: started with its output in a file, waited for, or killed after a while.

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

namespace stress {

class Process {
public:
    Process(std::vector<std::string> words, const std::string& output) {
        std::vector<char*> arguments;
        for (auto& word : words) arguments.push_back(word.data());
        arguments.push_back(nullptr);
        id_ = ::fork();
        if (id_ != 0) return;
        const int file = ::open(output.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0666);
        ::dup2(file, STDOUT_FILENO);
        ::dup2(file, STDERR_FILENO);
        ::execv(arguments.front(), arguments.data());
        ::_exit(127);
    }
    Process(const Process&) = delete;
    Process& operator=(const Process&) = delete;

    void send(int signal) const { ::kill(id_, signal); }
    /// Exit code, or minus the signal that ended it.
    int wait() const {
        int status = 0;
        ::waitpid(id_, &status, 0);
        return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
    }

private:
    pid_t id_ = 0;
};

inline void rest(double seconds) {
    std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
}

/// A number from the environment, for the long version of a campaign.
inline int setting(const char* name, int usual) {
    const char* text = std::getenv(name);
    return text == nullptr ? usual : std::atoi(text);
}

}  // namespace stress
