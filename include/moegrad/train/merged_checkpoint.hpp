#pragma once
// merge_checkpoint: base + adapter as a checkpoint of its own, in the base's layout, proved before it is kept:
//   1. logits of the merged model against those of the live adapter on a probe batch, in memory;
//   2. the written files against base and adapter, matrix by matrix (merge_check.hpp);
//   3. the folder read back: its logits on the probe batch.
// Whatever fails, nothing is left behind.

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <moegrad/train/adapter_files.hpp>
#include <moegrad/train/merge_check.hpp>

namespace moegrad {

struct MergeOptions {
    std::string model, adapter, out;
    std::optional<StoredType> type;  // nothing: as the base stores each tensor
    std::uint64_t probe_seed = 1;
    int threads = 0;
    AdapterReading reading{};
};

struct MergeReport {
    MergeCheck check;
    Index experts_per_token = 0;  // written to config.json; 0: the base's
    double largest = 0;           // largest logit on the probe batch
    double moved = 0;             // how far the adapter moves the logits of the base
    double merged = 0;            // largest difference from the live adapter: in memory
    double stored = 0;            // and as read back
};

namespace detail {

inline constexpr Index kProbeTokens = 24;
inline constexpr double kProbeTolerance = 1e-4;  // of the largest logit: float32 sums in another order

/// Logits of two random sequences.
template <class Real>
std::vector<Real> probe_logits(Context& context, Decoder<Real>& model, std::uint64_t seed) {
    Random random(seed, 42);
    auto token = Tensor<std::int32_t>::zeros({2 * kProbeTokens});
    for (auto& id : token.values()) {
        id = static_cast<std::int32_t>(
            random.next_below(static_cast<std::uint64_t>(model.config().vocab_size)));
    }
    const auto segments = Segments::of_lengths({kProbeTokens, kProbeTokens});
    Tape tape(context, Mode::inference);
    Forward<Real> forward{tape, token, segments};
    const auto logits = model.logits(forward, model.hidden(forward)).value();
    return {logits.values().begin(), logits.values().end()};
}

/// Largest absolute difference; infinity where one is not a number.
template <class Real>
double largest_difference(const std::vector<Real>& a, const std::vector<Real>& b) {
    double largest = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
        const double d = std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
        if (!(d <= largest)) largest = std::isfinite(d) ? d : HUGE_VAL;
    }
    return largest;
}

/// The gates that the adapter brought whole.
inline std::set<const Parameter<float>*> replaced_gates(Decoder<float>& model, const AdapterSpec& spec) {
    std::set<const Parameter<float>*> gates;
    if (spec.gate_mode() != GateMode::full) return gates;
    for (auto& layer : model.layers()) {
        for (auto& moe : layer.moe) gates.insert(moe.gate.get());
    }
    return gates;
}

inline void require_close(double difference, double largest, const char* what) {
    const double bound = kProbeTolerance * std::max(1.0, largest);
    if (difference <= bound) return;
    throw Error{ErrorCode::value, std::string("merge: ") + what,
                format("logits of the live adapter within {:.1e}", bound), format("{:.3e} apart", difference),
                "nothing was kept; two experts that tie on a probe token can do this: try --probe-seed"};
}

struct Nobody {
    void operator()(const std::string&) const {}
};

}  // namespace detail

/// `tamper` is a test's hand on the written folder before it is checked.
template <class Tamper = detail::Nobody>
MergeReport merge_checkpoint(const MergeOptions& options, Tamper tamper = {}) {
    auto model = load_model<float>(options.model);
    require_mergeable(AdapterFolder(options.adapter, model->config(), options.reading).spec, model->config(),
                      options.adapter);
    PendingFolder folder(options.out);
    Context context({.device = Device::cpu, .threads = options.threads});
    const auto logits = [&] { return detail::probe_logits(context, *model, options.probe_seed); };
    const auto bare = logits();
    const AdapterSpec spec = load_adapter(*model, options.adapter, options.reading);
    const auto live = logits();

    MergeReport report;
    report.largest = detail::largest_difference(live, std::vector<float>(live.size()));
    report.moved = detail::largest_difference(live, bare);
    ExportChanges changes{.weights = detail::replaced_gates(*model, spec), .type = options.type};
    const auto replaced = changes.weights;
    if (spec.top_k > 0 && spec.top_k != model->config().num_experts_per_tok) {
        changes.experts_per_token = report.experts_per_token = spec.top_k;
    }
    const auto updates = merge_lora(*model, spec);
    for (const auto& update : updates) changes.weights.insert(update.weight);
    report.merged = detail::largest_difference(live, logits());
    detail::require_close(report.merged, report.largest, "the merged weights");

    export_checkpoint(*model, options.model, folder.path(), changes);
    tamper(folder.path());
    report.check = check_merge(*model, updates, replaced, options.model, folder.path());
    model = load_model<float>(folder.path());
    report.stored = detail::largest_difference(live, logits());
    if (!report.check.narrow) {
        detail::require_close(report.stored, report.largest, "the folder read back");
    }
    folder.commit();
    return report;
}

/// The base alone in another folder, in its own layout, and in another number type where one is given.
inline MergeCheck copy_checkpoint(const std::string& base, const std::string& out,
                                  std::optional<StoredType> type) {
    const auto model = load_model<float>(base);
    PendingFolder folder(out);
    export_checkpoint(*model, base, folder.path(), {.weights = {}, .type = type, .experts_per_token = 0});
    const auto check = check_merge(*model, {}, {}, base, folder.path());
    folder.commit();
    return check;
}

}  // namespace moegrad
