#pragma once
// A MemoryEstimate as a table, and what this machine has to give.

#include <cstdlib>
#include <fstream>
#include <string>

#include <moegrad/train/estimate.hpp>

namespace moegrad {

/// Bytes that the system could give a new program now (MemAvailable); 0 where it does not say.
inline std::size_t available_memory() {
    std::ifstream file("/proc/meminfo");
    for (std::string line; std::getline(file, line);) {
        if (line.compare(0, 13, "MemAvailable:") == 0)
            return std::strtoull(line.c_str() + 13, nullptr, 10) * 1024;
    }
    return 0;
}

namespace detail {

inline std::string mebibytes(std::size_t bytes) {
    return format("{:.1f}", static_cast<double>(bytes) / (1 << 20));
}

inline std::string memory_line(const std::string& kind, std::size_t bytes, const std::string& of = "") {
    return format("  {:<18}{:>12} MiB{}{}\n", kind, mebibytes(bytes), of.empty() ? "" : "   ", of);
}

/// "1.25 T"
inline std::string with_unit(double value) {
    const char* units[] = {"", " k", " M", " G", " T", " P", " E"};
    int unit = 0;
    for (; value >= 1000 && unit < 6; ++unit) value /= 1000;
    return format("{:.3g}{}", value, units[unit]);
}

/// The peak, what other settings would make of it, and the work.
inline std::string closing_lines(const MemoryEstimate& e) {
    std::string text = format("peak about {} MiB\n", mebibytes(e.peak()));
    for (const auto& [setting, peak] : e.others)
        text += format("  with {:<28} {} MiB\n", setting, mebibytes(peak));
    text += format("a step of {} tokens: {}FLOP, {}FLOP per token forward{}\n", e.step_tokens,
                   with_unit(e.step_flops), with_unit(e.token_flops),
                   e.flops_of_base ? ", of the base alone" : "");
    if (e.epoch_tokens > 0) text += format("{} steps; {} tokens per epoch\n", e.steps, e.epoch_tokens);
    return text;
}

inline std::string gpu_lines(const MemoryEstimate& e) {
    std::string text = memory_line("products", MemoryEstimate::kWorkspace, "workspace of cuBLASLt");
    text += memory_line("CUDA context", MemoryEstimate::kContext, "assumed; it varies with the driver");
    text += format("all of it on the GPU; the host holds the data, {} MiB, beside the program\n",
                   mebibytes(e.data));
    return text + closing_lines(e);
}

}  // namespace detail

inline std::string estimate_text(const MemoryEstimate& e) {
    using detail::memory_line;
    const MemoryPlan& plan = e.plan;
    const double share = 100.0 * static_cast<double>(plan.trainable) / static_cast<double>(plan.parameters);
    std::string text = format("{} on {}: {} parameters trainable beside {} ({:.2f} %)\n", e.method, e.model,
                              plan.trainable, plan.parameters, share);
    for (const std::string& line : e.notes) text += line + "\n";
    text += memory_line("base weights", plan.base);
    text += memory_line("adapter", plan.adapter);
    text += memory_line("gradients", plan.gradients);
    text += memory_line("moments", plan.moments);
    text += memory_line("step memory", plan.step,
                        format("micro-batch of {} tokens in {} samples", e.tokens, e.samples));
    text += memory_line("tables", plan.tables);
    if (e.device == Device::cuda) return text + detail::gpu_lines(e);
    text += memory_line("data", e.data);
    text += memory_line("scratch", e.scratch, format("{} threads", e.threads));
    text += memory_line("saving", e.saving);
    text += memory_line("program", e.program);
    text += format("reading the data reaches {} MiB, loading the weights {} MiB\n",
                   detail::mebibytes(e.reading), detail::mebibytes(e.loading()));
    text += detail::closing_lines(e);
    const std::size_t there = available_memory();
    if (there > 0 && there < e.peak())
        text += format("this machine has {} MiB to give: it would not do\n", detail::mebibytes(there));
    return text;
}

}  // namespace moegrad
