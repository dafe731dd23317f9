#pragma once
// The rows that a run is held against, as data: what is compared with what, and what it must and should come to. Each
// figure is computed from the jobs of one part, pair by pair of one round, with the interval of the median.

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "jobs.hpp"

namespace moegrad::bench {

enum class Kind {
    faster,    // time of theirs / time of ours
    anchored,  // a published time / time of ours
    rate,      // rate of ours / rate of theirs
    extra,     // time of ours / time of theirs - 1: low is good
    time,      // time of ours / time of theirs: low is good
    saving,    // (1 - time of ours / time of theirs) / (1 - work of ours / work of theirs)
    worst_share,  // the lowest rate / copy rate of the jobs whose names begin with a word of `ours`; empty: of all
    worst_extra,  // the highest of beyond_flops
};

inline constexpr bool low_is_good(Kind kind) {
    return kind == Kind::extra || kind == Kind::time || kind == Kind::worst_extra;
}

struct Goal {
    int row;
    const char* what;
    Kind kind;
    double must, stretch;  // 0: told, and no more
    const char *part, *ours, *theirs;
    double anchor = 0;  // seconds
};

// Names of jobs that rows and parts share.
namespace names {
inline constexpr char kGateUp[] = "gate_up", kTorchGateUp[] = "torch._grouped_mm, gate_up";
inline constexpr char kTrainedGateUp[] = "gate_up, LoRA, SwiGLU", kDownBack[] = "down dX, dSwiGLU",
                      kTrainedDownBack[] = "down dX, LoRA, dSwiGLU";
inline constexpr char kLora[] = "LoRA, forward and backward", kFrozen[] = "frozen, forward and backward";
inline constexpr char kSplit[] = "split LoRA, forward and backward";
inline constexpr char kMixtral[] = "4 Mixtral layers",
                      kTorchMixtral[] = "transformers + PEFT, 4 Mixtral layers";
inline constexpr char kLlama[] = "8 Llama-2-7B layers",
                      kTorchLlama[] = "transformers + PEFT, 8 Llama-2-7B layers";
inline constexpr char kForward[] = "2x4096 forward", kTorchForward[] = "PyTorch, 2x4096 forward";
inline constexpr char kBackward[] = "2x4096 backward", kTorchBackward[] = "PyTorch, 2x4096 backward";
inline constexpr char kOne[] = "top-1", kTwo[] = "top-2", kEight[] = "top-8", kBeside[] = "top-2 beside ";
inline constexpr char kRows[] = "add,concat,swiglu,dropout,rms_norm,rope,cast";
}  // namespace names

inline constexpr Goal kGoals[] = {
    {1, "grouped gate_up against torch._grouped_mm", Kind::faster, 1.0, 1.05, "experts", names::kGateUp,
     names::kTorchGateUp},
    {1, "grouped gate_up of the large product's rate", Kind::rate, 0.85, 0.92, "experts", names::kGateUp,
     "one large product"},
    {1, "with LoRA and SwiGLU, as `train` runs it, of that rate", Kind::rate, 0, 0, "experts",
     names::kTrainedGateUp, "one large product"},
    {2, "down dX with dSwiGLU, of gate_up's rate", Kind::rate, 0.93, 1.0, "experts", names::kDownBack,
     names::kGateUp},
    {2, "with LoRA, as `train` runs it, of that rate", Kind::rate, 0, 0, "experts", names::kTrainedDownBack,
     names::kGateUp},
    {3, "Mixtral block, LoRA r=16, against split LoRA", Kind::faster, 1.35, 1.50, "block", names::kLora,
     names::kSplit},
    {4, "the same against scattermoe_lora's 42.1 ms on an H200", Kind::anchored, 2.1, 2.4, "block",
     names::kLora, "", 42.1e-3},
    {5, "extra time of LoRA over the frozen block", Kind::extra, 0.04, 0.02, "block", names::kLora,
     names::kFrozen},
    {6, "fine-grained block, LoRA r=16, against split LoRA", Kind::faster, 2.5, 4, "fine", names::kLora,
     names::kSplit},
    {7, "step, 4 Mixtral layers, 8x512, against transformers + PEFT", Kind::faster, 2.8, 3.5, "step",
     names::kMixtral, names::kTorchMixtral},
    {7, "the same against 154.7 ms, measured on an H100", Kind::anchored, 2.8, 3.5, "step", names::kMixtral,
     "", 154.7e-3},
    {8, "step, 8 Llama-2-7B layers, 16x1024, against compiled PEFT", Kind::faster, 1.25, 1.40, "step",
     names::kLlama, names::kTorchLlama},
    {8, "the same against 259.8 ms, measured on an H100", Kind::anchored, 1.25, 1.40, "step", names::kLlama,
     "", 259.8e-3},
    {9, "Mo-LoRA (4 experts, k=2) against LoRA of its rank", Kind::faster, 0.93, 0.97, "molora", "Mo-LoRA",
     "LoRA"},
    {10, "null experts at load 1.66, even, of the ideal saving", Kind::saving, 0.90, 0.97, "adamoe",
     "8 nulls, even", "top-2, even"},
    {10, "the same, skewed", Kind::saving, 0.90, 0.97, "adamoe", "8 nulls, skewed", "top-2, skewed"},
    {11, "causal attention, S=4096, forward, against PyTorch's best", Kind::faster, 0.85, 1.0, "attention",
     names::kForward, names::kTorchForward},
    {11, "the same, backward", Kind::faster, 0.75, 0.95, "attention", names::kBackward,
     names::kTorchBackward},
    {12, "element-wise kernels, the lowest share of a copy", Kind::worst_share, 0.85, 0.93, "rows",
     names::kRows, "copy"},
    {12, "AdamW, share of a copy", Kind::worst_share, 0.85, 0.93, "rows", "adamw", "copy"},
    {12, "every other row kernel, the lowest share", Kind::worst_share, 0, 0, "rows",
     "embedding,total,seed,zero_block", "copy"},
    {13, "NF4 step against the bf16 step, 8192 tokens, time", Kind::time, 1.15, 1.06, "nf4", "NF4", "dense"},
    {14, "steps of methods against top-2's, beyond their FLOPs", Kind::worst_extra, 0.10, 0.05, "methods", "",
     names::kTwo},
    {14, "the same of two Mixtral layers", Kind::worst_extra, 0, 0, "large_methods", "", names::kTwo},
};

/// What a row came to; `note`: of which job, where there are several.
struct Figure {
    Estimate value;
    std::string note;
};

inline const Job* find_job(const std::vector<Job>& jobs, std::string_view part, std::string_view what) {
    const auto found = std::find_if(jobs.begin(), jobs.end(),
                                    [&](const Job& job) { return job.part == part && job.what == what; });
    return found == jobs.end() || found->seconds.empty() ? nullptr : &*found;
}

/// Whether `text` begins with a word of a list with commas; an empty list holds everything.
inline bool begins_with_one(std::string_view text, std::string_view list) {
    for (std::size_t begin = 0; begin <= list.size();) {
        const std::size_t end = std::min(list.find(',', begin), list.size());
        if (text.starts_with(list.substr(begin, end - begin))) return true;
        begin = end + 1;
    }
    return false;
}

/// Of two jobs. Both rates are in the unit of `ours`.
inline Estimate compared(Kind kind, const Job& ours, const Job& theirs) {
    const double work = ours.flops > 0 ? ours.flops / theirs.flops : ours.bytes / theirs.bytes;
    return paired_interval(ours.seconds, theirs.seconds, [&](double a, double b) {
        switch (kind) {
            case Kind::faster: return b / a;
            case Kind::rate:
            case Kind::worst_share: return work * b / a;
            case Kind::extra: return a / b - 1;
            case Kind::saving: return (1 - a / b) / (1 - work);
            default: return a / b;
        }
    });
}

/// The time of a step as a share of top-2's, if its FLOPs are `work` times top-2's and nothing else differs: on the line through
/// plain top-2 and top-1, or top-8 for more work. Attention and the head are in both, so time is not in proportion to FLOPs. Where they
/// were not timed, `work` itself.
inline double time_share(double work, const std::string& part, const std::vector<Job>& jobs) {
    const Job* two = find_job(jobs, part, names::kTwo);
    const Job* other = find_job(jobs, part, work < 1 ? names::kOne : names::kEight);
    if (two == nullptr || other == nullptr) return work;
    const double slope = (compared(Kind::time, *other, *two).value - 1) / (other->flops / two->flops - 1);
    return 1 + slope * (work - 1);
}

/// What the step of a method takes beyond what its FLOPs say, against top-2 in turns with it.
inline Estimate beyond_flops(const Job& job, const Job& beside, const std::vector<Job>& jobs) {
    const double expected = time_share(job.flops / beside.flops, job.part, jobs);
    return paired_interval(job.seconds, beside.seconds,
                           [&](double a, double b) { return a / b / expected - 1; });
}

/// The worst of the jobs of a part, each against `theirs` or, for worst_extra, against top-2 beside it.
inline std::optional<Figure> worst(const Goal& goal, const std::vector<Job>& jobs) {
    std::optional<Figure> figure;
    const bool beside = goal.kind == Kind::worst_extra;
    for (const Job& job : jobs) {
        if (job.part != goal.part || job.theirs() || job.seconds.empty()) continue;
        const Job* other = find_job(jobs, goal.part, beside ? names::kBeside + job.what : goal.theirs);
        if (other == nullptr || other == &job || !begins_with_one(job.what, goal.ours)) continue;
        if (!beside && job.bytes == 0) continue;
        const Estimate value = beside ? beyond_flops(job, *other, jobs) : compared(goal.kind, job, *other);
        const bool worse =
            !figure || (beside ? value.value > figure->value.value : value.value < figure->value.value);
        if (worse) figure = {value, job.what};
    }
    return figure;
}

/// Nothing where a job that it needs was not run.
inline std::optional<Figure> figure_of(const Goal& goal, const std::vector<Job>& jobs) {
    if (goal.kind == Kind::worst_share || goal.kind == Kind::worst_extra) return worst(goal, jobs);
    const Job* ours = find_job(jobs, goal.part, goal.ours);
    if (ours == nullptr) return std::nullopt;
    if (goal.kind == Kind::anchored) {
        const Estimate time = ours->time();
        return Figure{{goal.anchor / time.value, goal.anchor / time.high, goal.anchor / time.low, time.n},
                      ""};
    }
    const Job* theirs = find_job(jobs, goal.part, goal.theirs);
    if (theirs == nullptr) return std::nullopt;
    return Figure{compared(goal.kind, *ours, *theirs), theirs->note};
}

/// "stretch", "met", "missed"; empty where the goal only tells.
inline std::string verdict(const Goal& goal, double value) {
    if (goal.must == 0) return "";
    const auto reached = [&](double bound) {
        return low_is_good(goal.kind) ? value <= bound : value >= bound;
    };
    return reached(goal.stretch) ? "stretch met" : reached(goal.must) ? "met" : "missed";
}

}  // namespace moegrad::bench
