#pragma once
// RunRecord: what a run writes beside its adapter and metrics.jsonl: manifest.json, the curves in events/, and its warnings.

#include <chrono>
#include <exception>
#include <memory>
#include <optional>
#include <string>

#include <moegrad/train/manifest_read.hpp>
#include <moegrad/train/resume_rules.hpp>
#include <moegrad/train/run_fields.hpp>
#include <moegrad/train/step_scalars.hpp>
#include <moegrad/train/tensorboard.hpp>

namespace moegrad {

namespace detail {

inline ManifestStart manifest_start(const RunConfig& config, int threads) {
    ManifestStart start{
        .folder = config.output,
        .settings = {},
        .seed = config.seed,
        .threads = threads,
        .on_gpu = config.device == Device::cuda,
        .cut_matters = cut_decides(config),
        .inputs = input_files(config.model, config.train_data, config.eval_data, config.adapter.options)};
    for (const auto& field : config_fields()) start.settings.emplace_back(field.key, field.get(config));
    return start;
}

inline double wall_seconds() {
    return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

}  // namespace detail

class RunRecord {
public:
    /// Before the first step of a run, or of one that goes on after `steps_done`. experts: true experts of a layer.
    RunRecord(const RunConfig& config, int threads, Index experts, bool resumed, Index steps_done)
        : experts_(experts),
          manifest_(resumed && steps_done > 0
                        ? RunManifest::resumed(detail::manifest_start(config, threads), steps_done)
                        : RunManifest(detail::manifest_start(config, threads))) {
        if (config.tensorboard) {
            events_ = std::make_unique<EventWriter>(config.output + "/events", detail::wall_seconds(),
                                                    resumed ? steps_done : -1);
        }
    }

    /// The text of a warning with its number.
    std::string warning(const std::string& text) { return format("warning {}: {}", ++warnings_, text); }

    void step(const StepReport& report, double tokens_per_second) {
        if (!events_) return;
        const double now = detail::wall_seconds();
        for (const auto& [tag, value] : step_scalars(report, experts_))
            events_->scalar(tag, report.step + 1, value, now);
        events_->scalar("train/tokens_per_second", report.step + 1, tokens_per_second, now);
    }

    void evaluation(Index step, double nll, double load) {
        if (!events_) return;
        const double now = detail::wall_seconds();
        events_->scalar("eval/nll", step, nll, now);
        if (load >= 0) events_->scalar("eval/load", step, load, now);
    }

    void seal(RunResults results) const {
        results.warnings = warnings_;
        manifest_.seal(results);
    }

    /// Of a run that ends with an error; another one on the way, as on a full disk, must not hide it.
    void seal_failed(const RunState& state, const std::exception& error) const noexcept {
        try {
            const auto* typed = dynamic_cast<const Error*>(&error);
            RunResults results;
            results.exit_status = typed == nullptr ? 1 : exit_status(typed->code);
            results.error = error.what();
            results.state = state;
            seal(std::move(results));
        } catch (const std::exception&) {
            return;  // the manifest stays without an end
        }
    }

private:
    Index experts_;
    RunManifest manifest_;
    std::unique_ptr<EventWriter> events_;
    int warnings_ = 0;
};

}  // namespace moegrad
