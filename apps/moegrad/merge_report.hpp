#pragma once
// What `merge` and `export` share: the stored type on the command line, and the lines that tell of a merge.

#include <optional>
#include <string>

#include <fmt/core.h>

#include <moegrad/train/merged_checkpoint.hpp>

namespace moegrad {

/// --dtype as a stored type; nothing for "base".
inline std::optional<StoredType> merge_type(const std::string& dtype) {
    if (dtype == "float32") return StoredType::f32;
    if (dtype == "bfloat16") return StoredType::bf16;
    return std::nullopt;
}

inline void say_merged(const MergeReport& report, const std::string& out) {
    const MergeCheck& check = report.check;
    fmt::print("{} tensors, {} of them changed; | ||W'-W|| - ||sBA|| | at most {:.1e} of ||sBA||\n",
               check.tensors, check.changed, check.norm_gap);
    fmt::print("probe batch: the adapter moves the logits by up to {:.4g} (largest {:.4g})\n", report.moved,
               report.largest);
    fmt::print("             merged and live adapter are {:.1e} apart in float32, {:.1e} as stored\n",
               report.merged, report.stored);
    if (check.narrow && check.delta_squares > 0) {
        fmt::print("stored in 16 bits: {:.2f} % of the update survived rounding (least: {:.2f} % in {})\n",
                   100 * check.kept(), 100 * check.worst_kept, check.worst.empty() ? "-" : check.worst);
        fmt::print("             --dtype float32 keeps all of it\n");
        if (report.stored > 0.1 * report.moved) {
            fmt::print(
                "warning: rounding to 16 bits moves the logits by {:.2g}, the adapter itself by {:.2g} "
                "(experts may "
                "have changed): use --dtype float32\n",
                report.stored, report.moved);
        }
    }
    if (report.experts_per_token > 0) {
        fmt::print("config.json: num_experts_per_tok is now {}, as the adapter has it\n",
                   report.experts_per_token);
    }
    fmt::print("merged checkpoint in {}\n", out);
}

}  // namespace moegrad
