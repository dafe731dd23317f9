#pragma once
// The golden checkpoints of tests/golden and ../shared/golden by their folders, and what `moegrad forward` writes about a
// model, by name.

#include <map>
#include <string>
#include <vector>

#include <moegrad/train/forward_probe.hpp>

#include "io/support.hpp"
#include "support/model_golden.hpp"

namespace moegrad::test {

struct Golden {
    std::string model, adapter, reference;
    bool routes = false;  // whether the reference holds them
};

inline Golden own_golden(const std::string& model, const std::string& adapter = "") {
    const std::string root = MOEGRAD_SOURCE_DIR "/tests/golden/";
    return {root + model, adapter.empty() ? "" : root + adapter,
            root + (adapter.empty() ? model : adapter) + "/reference.safetensors", model == "mixtral_tiny"};
}

inline std::vector<Golden> own_goldens() {
    return {own_golden("llama_tiny"), own_golden("llama_tied_rope3"), own_golden("mistral_window"),
            own_golden("mixtral_tiny"), own_golden("mixtral_tiny", "mixtral_tiny_peft")};
}

/// Those of ../shared/golden that are there.
inline std::vector<Golden> shared_goldens(io_test::Inputs& inputs) {
    std::vector<Golden> all;
    for (const std::string name :
         {"llama", "llama_tied_rope3", "mistral_window", "mixtral", "mixtral_peft"}) {
        const std::string folder = inputs.shared("golden/" + name);
        if (folder.empty()) continue;
        if (name != "mixtral_peft") {
            all.push_back({folder, "", folder + "/reference.safetensors"});
            continue;
        }
        const std::string base = inputs.shared("golden/mixtral");
        if (!base.empty()) all.push_back({base, folder, folder + "/reference.safetensors"});
    }
    return all;
}

/// What a probe wrote, by name.
struct Probe {
    std::map<std::string, std::vector<double>> numbers;

    const std::vector<double>& at(const std::string& name) const { return numbers.at(name); }
};

template <class Real>
Probe probe(const ForwardProbe& options, Device device, const std::string& out) {
    ForwardProbe here = options;
    here.device = device;
    here.out = out;
    run_forward_probe<Real>(here);
    const SafetensorsFile file(out);
    Probe all;
    for (const auto& info : file.tensors()) {
        if (info.type == StoredType::i32) {
            const auto ids = read_ids(file, info.name);
            all.numbers[info.name] = {ids.begin(), ids.end()};
        } else {
            all.numbers[info.name] = read_numbers(file, info.name).value;
        }
    }
    return all;
}

}  // namespace moegrad::test
