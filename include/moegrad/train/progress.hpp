#pragma once
// RunLog: the progress line and metrics.jsonl of a run.
//   step 120/600  ce 1.842 (ema 1.871)  balance 2.03  lr 9.6e-05  gn 0.71  load 1.53  all-null 0.02  12.4k tok/s  eta 00:41

#include <filesystem>
#include <fstream>
#include <string>

#include <moegrad/io/atomic_file.hpp>
#include <moegrad/io/json_writer.hpp>
#include <moegrad/train/run_config.hpp>
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
    RunLog(const RunConfig& config, Index steps) : RunLog(config.output, resolved(config), steps) {}
    /// `settings`: every key with its value, for config.toml.
    RunLog(std::string folder, const std::string& settings, Index steps)
        : folder_(std::move(folder)), steps_(steps) {
        std::filesystem::create_directories(folder_);
        write_file_atomically(folder_ + "/config.toml", settings);
        growing_.open(folder_ + "/metrics.jsonl", std::ios::trunc);
    }

    /// The line of a step that took `seconds`; also keeps it for metrics.jsonl.
    std::string step(const StepReport& report, double seconds) {
        seconds_ += seconds;
        tokens_ += report.tokens;
        average_ = report.step == 0 ? report.cross_entropy : 0.9 * average_ + 0.1 * report.cross_entropy;
        keep(metrics(report));
        const Index done = report.step + 1;
        const int left =
            static_cast<int>(seconds_ / static_cast<double>(done) * static_cast<double>(steps_ - done));
        std::string line =
            format("step {}/{}  ce {:.4f} (ema {:.4f})", report.step, steps_, report.cross_entropy, average_);
        for (const auto& [name, value] : report.penalties) line += format("  {} {:.4f}", name, value);
        line += format("  lr {:.2g}  gn {:.3f}", report.learning_rate, report.gradient_norm);
        if (report.load() >= 0) line += format("  load {:.3f}", report.load());
        if (const double share = all_null_share(report); share > 0)
            line += format("  all-null {:.3f}", share);
        for (const auto& [name, value] : report.traces) line += format("  {} {:.3f}", name, value);
        return line + format("  {:.1f}k tok/s  eta {:02}:{:02}",
                             static_cast<double>(tokens_) / seconds_ / 1000, left / 60, left % 60);
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

    /// metrics.jsonl grew line by line for whoever watches; now it is whole on the disk.
    void save() const { write_file_atomically(folder_ + "/metrics.jsonl", lines_); }

    /// Over all steps so far, evaluations left out.
    double tokens_per_second() const { return seconds_ > 0 ? static_cast<double>(tokens_) / seconds_ : 0; }

private:
    void keep(const Json& json) {
        const std::string line = write_json(json) + "\n";
        lines_ += line;
        growing_ << line << std::flush;
    }
    static std::string resolved(const RunConfig& config) {
        std::string text;
        for (const auto& field : config_fields())
            text += format("{} = \"{}\"\n", field.key, field.get(config));
        return text;
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
        if (!report.routers.empty()) json.add("routers", routers(report));
        return json;
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
    Index steps_, tokens_ = 0;
    double average_ = 0;
    std::string lines_;
    std::ofstream growing_;
    double seconds_ = 0;  // in steps, evaluations left out
};

}  // namespace moegrad
