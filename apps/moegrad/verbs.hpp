#pragma once
// The verbs of the command line, one file each: they register themselves with the parser and run from its callback.

#include <CLI/CLI.hpp>

#include <string>

#include <moegrad/core/error.hpp>

void add_forward(CLI::App& app);
void add_generate(CLI::App& app);
void add_train(CLI::App& app);

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
