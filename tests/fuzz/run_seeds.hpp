#pragma once
// Seeds of adapters and checkpoints.

#include <fuzz/run_targets.hpp>
#include <malformed/cases_adapter.hpp>
#include <malformed/cases_checkpoint.hpp>

#include <map>
#include <string>
#include <vector>

namespace fuzz {

inline std::string content_of(const malformed::Files& files, const std::string& name) {
    for (const malformed::File& file : files)
        if (file.name == name) return file.content;
    return {};
}

inline std::map<std::string, std::vector<std::string>> run_seeds() {
    std::map<std::string, std::vector<std::string>> seeds;
    for (const malformed::Case& row : malformed::adapter_cases())
        for (const malformed::Files& files : {row.bad, row.good}) {
            const std::string config = content_of(files, "adapter_config.json");
            const std::string weights = content_of(files, "adapter_model.safetensors");
            if (config.empty() || config.size() + weights.size() > 4096) continue;
            seeds["adapter"].push_back(config + std::string(1, '\0') + weights);
            seeds["adapter"].push_back(config);
        }
    for (const malformed::Case& row : malformed::checkpoint_cases())
        for (const malformed::Files& files : {row.bad, row.good})
            for (const auto& [name, mode] : {std::pair<const char*, char>{"MANIFEST.json", 0},
                                             {"state.json", 1},
                                             {"state.safetensors", 2}}) {
                const std::string content = content_of(files, name);
                if (!content.empty() && content.size() <= 2048)
                    seeds["checkpoint"].push_back(std::string(1, mode) + content);
            }
    return seeds;
}

}  // namespace fuzz
