#pragma once
// --jobs N of `compare` and `reproduce`: N processes of this program share the runs, each with its own folders; then this
// one goes on and finds them done. A process is started by exec alone, as CUDA does not live through a fork.

#include <CLI/CLI.hpp>

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include <moegrad/core/thread_pool.hpp>
#include <moegrad/train/compare_share.hpp>

#include "compare_verb.hpp"

namespace moegrad {

struct JobFlags {
    int jobs = 1;
    std::string share;  // "2/4/PID": this process is the second of four that PID started

    bool is_share() const { return !share.empty(); }
};

inline void add_job_flags(CLI::App& verb, JobFlags& flags) {
    verb.add_option("--jobs", flags.jobs, "processes that share the runs; the results are those of one [1]")
        ->check(CLI::Range(1, 256));
    verb.add_option("--share", flags.share)->group("");  // for the processes of --jobs: not in the help
}

/// Of the processes that share the runs.
struct Share {
    std::size_t place = 0, count = 1;  // place: 0 to count - 1
    pid_t parent = 0;

    static Share of(const std::string& text) {
        Share share;
        int parent = 0, end = 0;
        const int read = std::sscanf(text.c_str(), "%zu/%zu/%d%n", &share.place, &share.count, &parent, &end);
        if (read == 3 && text.size() == static_cast<std::size_t>(end) && share.place >= 1 &&
            share.place <= share.count) {
            --share.place;
            share.parent = parent;
            return share;
        }
        throw Error{ErrorCode::config, "--share", "I/N/PID", "\"" + text + "\"", "--jobs N sets it"};
    }

    /// From here on this process ends with the one that started it, however that one ends.
    void end_with_parent() const {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (::getppid() != parent) ::_exit(1);  // it ended before
    }
};

/// --threads; where it is not given, a process of --jobs has its part of the cores.
inline int threads_of(const JobFlags& flags, int threads) {
    if (threads != 0 || !flags.is_share()) return threads;
    return std::max(1, default_threads() / static_cast<int>(Share::of(flags.share).count));
}

/// The processes. They end with this object.
class ShareJobs {
public:
    /// verb: the word of the command line after which --share stands. Logs: folder/jobs/1.log and so on.
    ShareJobs(const char* verb, const std::string& folder, std::size_t count) : jobs_(count) {
        std::filesystem::create_directories(folder + "/jobs");
        const std::vector<std::string> words = command_line();
        const auto after = std::find(words.begin(), words.end(), verb);
        for (std::size_t i = 0; i < count; ++i) {
            std::vector<std::string> command(words.begin(), after);
            command.insert(command.end(), {verb, format("--share={}/{}/{}", i + 1, count, ::getpid())});
            if (after != words.end()) command.insert(command.end(), after + 1, words.end());
            jobs_[i].log = format("{}/jobs/{}.log", folder, i + 1);
            start(jobs_[i], command);
        }
    }
    ~ShareJobs() {
        for (const Job& job : jobs_) {
            if (!job.runs()) continue;
            ::kill(job.process, SIGKILL);
            ::waitpid(job.process, nullptr, 0);
        }
    }
    ShareJobs(const ShareJobs&) = delete;
    ShareJobs& operator=(const ShareJobs&) = delete;

    std::size_t size() const { return jobs_.size(); }

    /// Whether one of them runs still.
    bool run() {
        bool any = false;
        for (Job& job : jobs_) {
            int status = 0;
            if (job.runs() && ::waitpid(job.process, &status, WNOHANG) != 0) {
                job.process = 0;
                job.status = status;
            }
            any = any || job.runs();
        }
        return any;
    }

    /// Runs that the logs say are done.
    std::size_t runs_done() const {
        std::size_t done = 0;
        for (const Job& job : jobs_) {
            std::ifstream log(job.log);
            for (std::string line; std::getline(log, line);) done += line.ends_with(kRunDone) ? 1 : 0;
        }
        return done;
    }

    /// A paragraph for every one that failed, with the end of its log.
    std::string failures() const {
        std::string text;
        for (std::size_t i = 0; i < jobs_.size(); ++i) {
            const Job& job = jobs_[i];
            if (job.status == 0) continue;
            const bool killed = WIFSIGNALED(job.status);
            text += format("job {} of {} failed ({} {}); the end of {}:\n{}", i + 1, jobs_.size(),
                           killed ? "signal" : "exit status",
                           killed ? WTERMSIG(job.status) : WEXITSTATUS(job.status), job.log,
                           last_lines(job.log, 6));
        }
        return text;
    }

private:
    struct Job {
        pid_t process = 0;  // 0: has ended
        int status = 0;     // of waitpid
        std::string log;

        bool runs() const { return process > 0; }
    };

    static std::vector<std::string> command_line() {
        std::ifstream file("/proc/self/cmdline", std::ios::binary);
        std::vector<std::string> words;
        for (std::string word; std::getline(file, word, '\0');) words.push_back(word);
        return words;
    }

    static void start(Job& job, const std::vector<std::string>& command) {
        std::vector<char*> words;
        for (const std::string& word : command) words.push_back(const_cast<char*>(word.c_str()));
        words.push_back(nullptr);
        posix_spawn_file_actions_t actions;
        ::posix_spawn_file_actions_init(&actions);
        ::posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
        ::posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, job.log.c_str(),
                                           O_WRONLY | O_CREAT | O_TRUNC, 0644);
        ::posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO);
        const int problem =
            ::posix_spawn(&job.process, "/proc/self/exe", &actions, nullptr, words.data(), environ);
        ::posix_spawn_file_actions_destroy(&actions);
        if (problem == 0) return;
        job.process = 0;
        throw Error{ErrorCode::file, "--jobs", "a process that starts, with its log in " + job.log,
                    std::strerror(problem)};
    }

    static std::string last_lines(const std::string& path, std::size_t count) {
        std::ifstream file(path);
        std::vector<std::string> lines;
        for (std::string line; std::getline(file, line);) lines.push_back("    " + line + "\n");
        std::string text;
        for (std::size_t i = lines.size() - std::min(count, lines.size()); i < lines.size(); ++i)
            text += lines[i];
        return text;
    }

    std::vector<Job> jobs_;
};

/// On a terminal one line that is written over; elsewhere one for every tenth of the runs.
inline void watch_jobs(ShareJobs& jobs, std::size_t runs) {
    constexpr auto pause = std::chrono::milliseconds(100);
    constexpr int looks = 20;  // pauses between two looks into the logs
    LiveLine live;
    std::size_t tenth = 0;
    for (int n = 1; jobs.run(); ++n) {
        std::this_thread::sleep_for(pause);
        if (n % looks != 0) continue;
        const std::size_t done = jobs.runs_done(), now = 10 * done / runs;
        const std::string line = format("{} jobs: {} of {} runs done", jobs.size(), done, runs);
        live(now > tenth ? CompareNews::done : CompareNews::tick, line, "");
        tenth = now;
    }
    live(CompareNews::done, format("{} jobs: {} of {} runs done", jobs.size(), jobs.runs_done(), runs), "");
}

/// This process's part of the runs.
inline void run_share(const std::vector<CompareSpec>& tasks, const Share& share) {
    for (const CompareUnit& unit : share_of(compare_units(tasks), share.place, share.count)) {
        const CompareSpec& task = tasks[unit.task];
        fmt::print("== {}, {}\n", task.name, task.task);
        with_numbers(task, [&]<class Real>() { run_compare_share<Real>(task, unit.arms, LiveLine()); });
    }
}

/// The runs of all tasks in processes; what one that fails leaves is left to this process.
inline void run_jobs(const char* verb, std::size_t most, const std::string& folder,
                     const std::vector<CompareSpec>& tasks) {
    for (const CompareSpec& task : tasks) {
        with_numbers(task,
                     [&]<class Real>() { require_startable<Real>(task, load_tokenizer(task.base.model)); });
    }
    const std::vector<CompareUnit> units = compare_units(tasks);
    std::size_t runs = 0;
    for (const CompareUnit& unit : units) runs += unit.arms.size() * tasks[unit.task].seeds.size();
    ShareJobs jobs(verb, folder, std::min(most, units.size()));
    watch_jobs(jobs, runs);
    const std::string failures = jobs.failures();
    if (!failures.empty()) fmt::print("{}what is left of their runs is run here\n", failures);
}

/// With --jobs the runs of all tasks, in processes with logs below `folder`. True in such a process: it has no more to do.
inline bool share_runs(const char* verb, const JobFlags& flags, const std::string& folder,
                       const std::vector<CompareSpec>& tasks) {
    if (flags.is_share()) {
        const Share share = Share::of(flags.share);
        share.end_with_parent();
        run_share(tasks, share);
        return true;
    }
    if (flags.jobs > 1) run_jobs(verb, static_cast<std::size_t>(flags.jobs), folder, tasks);
    return false;
}

}  // namespace moegrad
