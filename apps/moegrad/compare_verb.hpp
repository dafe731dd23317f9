#pragma once
// What `compare`, `reproduce` and `demo` share: the live line, the run, the printed table.

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <string>

#include <moegrad/report/report.hpp>
#include <moegrad/train/compare.hpp>
#include <moegrad/train/compare_suite.hpp>

namespace moegrad {

/// What one looks at while it runs: step, ce, load, tok/s, eta out of a line of RunLog.
inline std::string short_step(const std::string& line) {
    std::string kept;
    for (std::size_t at = 0; at < line.size();) {
        const std::size_t end = std::min(line.find("  ", at), line.size());
        const std::string part = line.substr(at, end - at);
        for (const char* word : {"step ", "ce ", "load ", "eta ", "question "}) {
            if (part.starts_with(word)) kept += part.substr(0, part.find(" (")) + "  ";
        }
        if (part.ends_with("tok/s")) kept += part + "  ";
        at = line.find_first_not_of(' ', end);
    }
    return kept;
}

/// On a terminal one line that is written over; elsewhere a plain line for every fifth of a run.
class LiveLine {
public:
    LiveLine() : terminal_(isatty(fileno(stdout)) != 0) {}

    void operator()(CompareNews news, const std::string& label, const std::string& text) {
        const bool passing = news == CompareNews::step || news == CompareNews::tick;
        const std::string line = label + (text.empty() ? "" : "  ") + (passing ? short_step(text) : text);
        if (passing && terminal_) return write_over(line);
        if (passing && !is_due(text)) return;
        clear();
        std::printf("%s\n", line.c_str());
        std::fflush(stdout);
    }

private:
    void write_over(const std::string& line) {
        winsize size{};
        const bool known = ioctl(fileno(stdout), TIOCGWINSZ, &size) == 0 && size.ws_col > 1;
        const std::size_t room = known ? size.ws_col - 1u : 79u;
        clear();
        std::printf("%s", line.substr(0, room).c_str());
        std::fflush(stdout);
        open_ = true;
    }
    void clear() {
        if (open_) std::printf("\r\x1b[2K");
        open_ = false;
    }
    bool is_due(const std::string& text) {
        long step = 0, steps = 0;
        if (std::sscanf(text.c_str(), "step %ld/%ld", &step, &steps) != 2 || steps < 1) return false;
        const long fifth = 5 * (step + 1) / steps;
        const bool due = step > 0 && fifth != fifth_;
        fifth_ = fifth;
        return due;
    }

    bool terminal_, open_ = false;
    long fifth_ = 0;
};

/// work<Real>() with the numbers that the comparison trains in.
template <class Work>
auto with_numbers(const CompareSpec& spec, Work work) {
    const bool narrow = spec.base.dtype == Number::bfloat16 && spec.base.device == Device::cuda;
    if (spec.base.dtype != Number::float32 && !narrow) {
        throw Error{ErrorCode::config, "base.model.dtype", "float32, or bfloat16 on a GPU",
                    name(spec.base.dtype)};
    }
    if (spec.base.device == Device::cuda) require_cuda("train.device");
#ifdef MOEGRAD_HAVE_CUDA
    if (narrow) return work.template operator()<bf16>();
#endif
    return work.template operator()<float>();
}

/// Runs the comparison and prints what came of it.
inline CompareResult compare_and_print(const CompareSpec& spec) {
    const CompareResult result =
        with_numbers(spec, [&]<class Real>() { return run_compare<Real>(spec, LiveLine()); });
    std::printf("\n%s\n%s\n%s", compare_table(result).c_str(), compare_text(result).c_str(),
                compare_speeds(result).c_str());
    std::printf("compare.json, compare.csv and a folder per run in %s\nreport: %s\n", spec.output.c_str(),
                write_report(spec.output).c_str());
    return result;
}

/// Gives every task its folder and checks all of them, before the first runs.
inline void place_tasks(CompareSuite& suite) {
    for (CompareSpec& task : suite.tasks) {
        task.output = suite.tasks.size() == 1 ? suite.output : suite.output + "/" + task.task;
        check_compare(task);
    }
}

/// A mistake in the last task must not wait until the others have trained.
inline void require_all_startable(const std::vector<CompareSpec>& tasks) {
    for (const CompareSpec& task : tasks) {
        with_numbers(task,
                     [&]<class Real>() { require_startable<Real>(task, load_tokenizer(task.base.model)); });
    }
}

/// Every task after the other, then what they say together.
inline std::vector<CompareResult> compare_and_print(const CompareSuite& suite) {
    std::vector<CompareResult> results;
    if (suite.tasks.size() > 1) require_all_startable(suite.tasks);
    for (const CompareSpec& task : suite.tasks) {
        if (suite.tasks.size() > 1) std::printf("\n== %s\n", task.task.c_str());
        results.push_back(compare_and_print(task));
    }
    if (results.size() < 2) return results;
    std::printf("\n== all tasks\n%s\n%s", suite_table(results).c_str(), suite_text(results).c_str());
    write_file_atomically(suite.output + "/suite.csv", suite_csv(results));
    std::printf("suite.csv in %s\n", suite.output.c_str());
    return results;
}

}  // namespace moegrad
