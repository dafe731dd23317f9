#pragma once
// The verbs of the command line, one file each. A verb names itself here and runs from its parser's callback:
//     const RegisterVerb registered(20, add_train);

#include <CLI/CLI.hpp>

#include <map>
#include <string>

#include <moegrad/core/error.hpp>

/// Adds a verb to the parser.
using AddVerb = void (*)(CLI::App&);

/// All verbs, by their place in the help.
inline std::multimap<int, AddVerb>& verbs() {
    static std::multimap<int, AddVerb> all;
    return all;
}

struct RegisterVerb {
    RegisterVerb(int place, AddVerb add) { verbs().emplace(place, add); }
};

/// What every verb says of devices and number types that are not there.
inline void require_cpu(const std::string& device) {
    if (device == "cpu") return;
    throw moegrad::Error{moegrad::ErrorCode::unsupported, "--device", "cpu", device,
                         "this build has no CUDA kernels"};
}
inline void refuse_bfloat16(const std::string& dtype) {
    if (dtype != "bfloat16") return;
    throw moegrad::Error{moegrad::ErrorCode::unsupported, "--dtype", "float32 or float64 on the CPU",
                         "bfloat16", "bf16 models run on a GPU; the CPU reads bf16 checkpoints into float32"};
}
