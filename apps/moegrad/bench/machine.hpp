#pragma once
// What a results file says of the machine: program, CPU, GPU, driver, clocks.

#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include <moegrad/train/machine_facts.hpp>

namespace moegrad::bench {

using Facts = std::vector<std::pair<std::string, std::string>>;

/// The first line that a command prints; empty where it cannot.
inline std::string first_line_of(const char* command) {
    std::string line;
    if (FILE* output = ::popen(command, "r")) {
        char text[512];
        if (std::fgets(text, sizeof(text), output) != nullptr) line = text;
        ::pclose(output);
    }
    while (!line.empty() && line.back() == '\n') line.pop_back();
    return printable(line, 300);
}

/// Clocks and power as they are now, which is why a file has them twice: before and after.
inline std::string gpu_clocks() {
    return first_line_of(
        "nvidia-smi -i 0 "
        "--query-gpu=driver_version,clocks.sm,clocks.max.sm,clocks.mem,power.draw,power.limit,"
        "temperature.gpu --format=csv,noheader 2>/dev/null");
}

inline Facts machine_facts(Device device) {
    const BuildFacts& build = build_facts();
    const auto known = [](const std::string& text) { return text.empty() ? std::string("unknown") : text; };
    Facts facts{{"moegrad", format("{}, commit {}, {} build by {}", kVersion,
                                   known(build.commit).substr(0, 12), known(build.type), compiler_name())},
                {"CPU", format("{}, {} cores, {}", cpu_model(), std::thread::hardware_concurrency(),
                               instruction_set())}};
    if (device != Device::cuda) return facts;
    for (const std::string& line : cuda_memory().describe()) {
        const std::size_t colon = line.find(": ");
        if (colon != line.npos) facts.emplace_back(line.substr(0, colon), line.substr(colon + 2));
    }
    facts.emplace_back("driver, SM clock, its maximum, memory clock, power, its limit, degrees",
                       known(gpu_clocks()));
    return facts;
}

}  // namespace moegrad::bench
