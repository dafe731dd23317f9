#pragma once
// --jobs N of `compare` and `reproduce`: stage after stage (train/compare_share.hpp), N processes of this program share its units; then
// this one goes on and finds all done. A process is started by exec alone, as CUDA does not live through a fork.

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
    std::string
        share;  // "2/4/1/PID": this process is the second of four that PID started for the first stage

    bool is_share() const { return !share.empty(); }
};

inline void add_job_flags(CLI::App& verb, JobFlags& flags) {
    verb.add_option("--jobs", flags.jobs, "processes that share the runs; the results are those of one [1]")
        ->check(CLI::Range(1, 256));
    verb.add_option("--share", flags.share)->group("");  // for the processes of --jobs: not in the help
}

/// Of the processes that share the runs.
struct Share {
    std::size_t place = 0, count = 1, stage = 0;  // place: 0 to count - 1
    pid_t parent = 0;

    static Share of(const std::string& text) {
        Share share;
        int parent = 0, end = 0;
        const int read = std::sscanf(text.c_str(), "%zu/%zu/%zu/%d%n", &share.place, &share.count,
                                     &share.stage, &parent, &end);
        if (read == 4 && text.size() == static_cast<std::size_t>(end) && share.place >= 1 &&
            share.place <= share.count && share.stage >= 1) {
            --share.place, --share.stage;
            share.parent = parent;
            return share;
        }
        throw Error{ErrorCode::config, "--share", "I/N/STAGE/PID", "\"" + text + "\"", "--jobs N sets it"};
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
    /// verb: the word of the command line after which --share stands. Logs: folder/jobs/1.log and so on, to which a later stage adds.
    ShareJobs(const char* verb, const std::string& folder, std::size_t count, std::size_t stage)
        : jobs_(count) {
        const std::vector<std::string> words = command_line();
        const auto after = std::find(words.begin(), words.end(), verb);
        for (std::size_t i = 0; i < count; ++i) {
            std::vector<std::string> command(words.begin(), after);
            command.insert(command.end(),
                           {verb, format("--share={}/{}/{}/{}", i + 1, count, stage + 1, ::getpid())});
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
                                           O_WRONLY | O_CREAT | O_APPEND, 0644);
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

/// 1.log, 2.log and so on in `folder`, and nothing else that may lie there: a task can be called jobs too.
inline std::vector<std::string> job_logs(const std::string& folder) {
    std::vector<std::string> logs;
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
        const std::string stem = entry.path().stem().string();
        const bool number = stem.find_first_not_of("0123456789") == std::string::npos;
        if (number && entry.path().extension() == ".log" && entry.is_regular_file())
            logs.push_back(entry.path().string());
    }
    return logs;
}

/// Runs that the logs in `folder` say are done.
inline std::size_t runs_done(const std::string& folder) {
    std::size_t done = 0;
    for (const std::string& path : job_logs(folder)) {
        std::ifstream log(path);
        for (std::string line; std::getline(log, line);) done += line.ends_with(kRunDone) ? 1 : 0;
    }
    return done;
}

/// "4 jobs: 10 of 45 runs done": on a terminal one line that is written over; elsewhere one for every tenth of the runs.
class JobsLine {
public:
    JobsLine(std::string logs, std::size_t jobs, std::size_t runs)
        : logs_(std::move(logs)), jobs_(jobs), runs_(runs) {}

    /// Before a stage: which one, as no run is done while settings and learning rates are tried.
    void begin(std::size_t stage, std::size_t stages, UnitKind kind) {
        const char* what = kind == UnitKind::setting ? "settings for a load"
                           : kind == UnitKind::rate  ? "learning rates"
                                                     : "runs";
        live_(CompareNews::done, format("{} jobs, stage {} of {}: {}", jobs_, stage + 1, stages, what), "");
    }
    /// Until the jobs have ended.
    void watch(ShareJobs& jobs) {
        constexpr auto pause = std::chrono::milliseconds(100);
        constexpr int looks = 20;  // pauses between two looks into the logs
        for (int n = 1; jobs.run(); ++n) {
            std::this_thread::sleep_for(pause);
            if (n % looks == 0) say(false);
        }
    }
    void say(bool last) {
        const std::size_t done = runs_done(logs_), now = 10 * done / runs_;
        const std::string line = format("{} jobs: {} of {} runs done", jobs_, done, runs_);
        live_(last || now > tenth_ ? CompareNews::done : CompareNews::tick, line, "");
        tenth_ = now;
    }

private:
    std::string logs_;
    std::size_t jobs_, runs_, tenth_ = 0;
    LiveLine live_;
};

/// This process's part of a stage.
inline void run_share(const std::vector<CompareSpec>& tasks, const Share& share) {
    const auto stages = compare_stages(tasks);
    if (share.stage >= stages.size()) return;
    const CompareStage mine = share_of(stages[share.stage], share.place, share.count);
    for (std::size_t t = 0; t < tasks.size(); ++t) {
        CompareStage units;
        for (const CompareUnit& unit : mine)
            if (unit.task == t) units.push_back(unit);
        if (units.empty()) continue;
        fmt::print("== {}, {}\n", tasks[t].name, tasks[t].task);
        with_numbers(tasks[t], [&]<class Real>() { run_compare_share<Real>(tasks[t], units, LiveLine()); });
    }
}

/// The stages of all tasks in processes. A stage that one of them fails in is the last; what is left is left to this process.
inline void run_jobs(const char* verb, std::size_t most, const std::string& folder,
                     const std::vector<CompareSpec>& tasks) {
    require_all_startable(tasks);
    const auto stages = compare_stages(tasks);
    std::size_t runs = 0, widest = 0;
    for (const CompareSpec& task : tasks) runs += task.arms.size() * task.seeds.size();
    for (const CompareStage& stage : stages) widest = std::max(widest, std::min(most, stage.size()));
    const std::string logs = folder + "/jobs";
    std::filesystem::create_directories(logs);
    for (const std::string& log : job_logs(logs)) std::filesystem::remove(log);
    JobsLine line(logs, widest, runs);
    std::string failures;
    for (std::size_t i = 0; i < stages.size() && failures.empty(); ++i) {
        line.begin(i, stages.size(), stages[i].front().kind);
        ShareJobs jobs(verb, folder, std::min(most, stages[i].size()), i);
        line.watch(jobs);
        failures = jobs.failures();
    }
    line.say(true);
    if (!failures.empty())
        fmt::print("{}what is left runs here, in one process; end it and start again for {} jobs\n", failures,
                   widest);
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
