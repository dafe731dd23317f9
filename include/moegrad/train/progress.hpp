#pragma once
// RunLog: the progress line and metrics.jsonl of a run.
//   step 120/600  ce 1.842 (ema 1.871)  balance 2.03  lr 9.6e-05  gn 0.71  load 1.53  all-null 0.02  12.4k tok/s  eta 00:41

#include <filesystem>
#include <fstream>
#include <string>

#include <moegrad/io/atomic_file.hpp>
#include <moegrad/io/json_writer.hpp>
#include <moegrad/train/run_state.hpp>
#include <moegrad/train/trainer.hpp>

namespace moegrad {

/// Mean load over routers; -1 without any.
inline double mean_load(const std::map<std::string, RoutingTotals>& routers) {
    double sum = 0;
    for (const auto& [name, totals] : routers) sum += totals.load();
    return routers.empty() ? -1 : sum / static_cast<double>(routers.size());
}

class RunLog {
public:
    /// Writes config.toml with `settings` (every key with its value) and starts metrics.jsonl, or goes on with it after
    /// the lines that `state` knows of. `state` is kept up to date.
    RunLog(std::string folder, const std::string& settings, Index steps, RunState& state)
        : folder_(std::move(folder)), steps_(steps), state_(state) {
        std::filesystem::create_directories(folder_);
        write_file_atomically(folder_ + "/config.toml", settings);
        const std::string path = folder_ + "/metrics.jsonl";
        if (state.metrics_bytes > 0) cut_back(path);
        lines_.open(path, state.metrics_bytes > 0 ? std::ios::app : std::ios::trunc);
        if (!lines_) throw Error{ErrorCode::file, path, "a file that can be written", "one that cannot"};
    }

    /// The line of a step that took `seconds`; also keeps it for metrics.jsonl.
    std::string step(const StepReport& report, double seconds) {
        state_.seconds += seconds;
        state_.tokens += report.tokens;
        state_.supervised += report.supervised;
        state_.average =
            report.step == 0 ? report.cross_entropy : 0.9 * state_.average + 0.1 * report.cross_entropy;
        keep(metrics(report));
        const Index done = report.step + 1;
        const double seconds_left =
            state_.seconds / static_cast<double>(done) * static_cast<double>(steps_ - done);
        const Index left = static_cast<Index>(std::min(seconds_left, 359999.0));  // 99 h 59 min
        std::string line = format("step {}/{}  ce {:.4f} (ema {:.4f})", report.step, steps_,
                                  report.cross_entropy, state_.average);
        for (const auto& [name, value] : report.penalties) line += format("  {} {:.4f}", name, value);
        line += format("  lr {:.2g}  gn {:.3f}", report.learning_rate, report.gradient_norm);
        if (report.load() >= 0) line += format("  load {:.3f}", report.load());
        if (const double share = all_null_share(report); share > 0)
            line += format("  all-null {:.3f}", share);
        for (const auto& [name, value] : report.traces) line += format("  {} {:.3f}", name, value);
        return line +
               format("  {:.1f}k tok/s  eta {:02}:{:02}", tokens_per_second() / 1000, left / 60, left % 60);
    }

    std::string evaluation(Index step, double nll, double load) {
        Json json = Json::object();
        json.add("step", step);
        json.add("eval_nll", nll);
        if (load >= 0) json.add("eval_load", load);
        keep(json);
        return format("eval at step {}: held-out nll {:.4f}{}", step, nll,
                      load >= 0 ? format("  load {:.3f}", load) : std::string());
    }

    /// What was logged so far is on the disk when this returns.
    void save() {
        lines_.flush();
        sync_file(folder_ + "/metrics.jsonl");
    }

    /// Over all steps so far, evaluations left out.
    double tokens_per_second() const {
        return state_.seconds > 0 ? static_cast<double>(state_.tokens) / state_.seconds : 0;
    }

private:
    /// Lines of steps that the checkpoint has not seen are written again as the steps are taken again.
    void cut_back(const std::string& path) const {
        std::error_code problem;
        const auto bytes = std::filesystem::file_size(path, problem);
        if (problem || bytes < state_.metrics_bytes) {
            throw Error{ErrorCode::state, path, format("at least {} bytes", state_.metrics_bytes),
                        problem ? problem.message() : format("{}", bytes),
                        "the checkpoint and metrics.jsonl do not belong together"};
        }
        std::filesystem::resize_file(path, state_.metrics_bytes, problem);
        if (problem) throw Error{ErrorCode::file, path, "to be cut back", problem.message()};
    }
    void keep(const Json& json) {
        const std::string line = write_json(json) + "\n";
        lines_ << line << std::flush;
        if (!lines_) {
            throw Error{ErrorCode::file, folder_ + "/metrics.jsonl", "room for another line",
                        "the write failed", "is the disk full?"};
        }
        state_.metrics_bytes += line.size();
    }
    static double all_null_share(const StepReport& report) {
        double sum = 0;
        for (const auto& [name, totals] : report.routers) sum += totals.all_null_share();
        return report.routers.empty() ? 0 : sum / static_cast<double>(report.routers.size());
    }

    static Json metrics(const StepReport& report) {
        Json json = Json::object();
        json.add("step", report.step);
        json.add("ce", report.cross_entropy);
        for (const auto& [name, value] : report.penalties) json.add(name, value);
        json.add("lr", report.learning_rate);
        json.add("grad_norm", report.gradient_norm);
        json.add("tokens", report.tokens);
        json.add("supervised", report.supervised);
        for (const auto& [name, value] : report.traces) json.add(name, value);
        if (!report.penalties.empty()) json.add("weighted", weighted(report));
        if (!report.routers.empty()) json.add("routers", routers(report));
        return json;
    }

    /// What the objective has beside ce: each penalty times its coefficient in this step.
    static Json weighted(const StepReport& report) {
        Json all = Json::object();
        for (const auto& [name, value] : report.weighted()) all.add(name, value);
        return all;
    }
    /// Per router: load, its histogram (tokens with 0, 1, .. true experts), all-null share, entropy, slots per column.
    static Json routers(const StepReport& report) {
        Json all = Json::object();
        for (const auto& [name, totals] : report.routers) {
            Json one = Json::object();
            one.add("load", totals.load());
            one.add("experts_per_token", counts(totals.experts_per_token()));
            one.add("all_null", totals.all_null_share());
            one.add("entropy", totals.entropy());
            one.add("slots", counts(totals.slots()));
            all.add(name, std::move(one));
        }
        return all;
    }
    static Json counts(const std::vector<std::int64_t>& values) {
        Json::Array all;
        for (std::int64_t value : values) all.emplace_back(value);
        return Json(std::move(all));
    }

    std::string folder_;
    Index steps_;
    RunState& state_;
    std::ofstream lines_;
};

}  // namespace moegrad
