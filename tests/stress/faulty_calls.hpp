#pragma once
// System calls that fail on request, and a log of those that succeeded. faulty_functions.hpp, in one .cpp of the program,
// puts itself before the C library's functions.

#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <map>
#include <string>
#include <vector>

namespace stress {

enum class Fault {
    kill_before,  // the process dies in front of the call
    kill_after,   // or right behind it
    error,        // the call fails once
    error_on,     // and so does every later one, as on a disk that is full or gone
    short_write,  // half of the bytes are written, the call succeeds; other calls than write are left alone
};

struct FaultPlan {
    int call = 0;  // the k-th call, from 1; 0: none
    Fault fault = Fault::error;
    int code = EIO;
};

/// One call that changed something, for the model of a power cut. Folders are named, files known by number.
struct LoggedCall {
    enum class Kind { make_folder, make_file, write, sync_file, sync_folder, rename, remove } kind;
    std::string path, to;  // to: of rename
    int file = -1;
    std::string bytes;
};

struct FaultyCalls {
    bool active = false, logging = false;
    FaultPlan plan;
    int calls = 0;
    std::string struck;  // name of the call that was hit first
    std::vector<LoggedCall> log;
    std::map<int, std::string> path_of;  // of descriptors
    std::map<int, int> file_of;          // of descriptors of new files
    int files = 0;

    void begin(const FaultPlan& next) {
        *this = FaultyCalls{};
        plan = next;
        active = true;
    }

    /// Counts a call; true: it is to fail with plan.code. `is_write`: a short write may be asked of it.
    bool strikes(const char* name) {
        if (!active || logging) return false;
        ++calls;
        const bool now = calls == plan.call, later = plan.fault == Fault::error_on && calls > plan.call;
        if (plan.call == 0 || !(now || later)) return false;
        if (struck.empty()) struck = name;
        if (plan.fault == Fault::kill_before) ::kill(::getpid(), SIGKILL);
        return plan.fault == Fault::error || plan.fault == Fault::error_on;
    }
    void after() const {
        if (active && !logging && calls == plan.call && plan.fault == Fault::kill_after)
            ::kill(::getpid(), SIGKILL);
    }
    bool is_short() const {
        return active && !logging && calls == plan.call && plan.fault == Fault::short_write;
    }
    void note(LoggedCall call) {
        if (active && logging) log.push_back(std::move(call));
    }
};

inline FaultyCalls faulty;

}  // namespace stress
