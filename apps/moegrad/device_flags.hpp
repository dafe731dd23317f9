#pragma once
// --device, --dtype and --quantise of the verbs that compute a model: which flags go together, and the number type they come to.

#include <fmt/core.h>

#include <cstdio>
#include <string>

#include <moegrad/core/bf16.hpp>
#include <moegrad/core/device_memory.hpp>
#include <moegrad/core/nf4.hpp>
#include <moegrad/io/model_config_json.hpp>

#include "verbs.hpp"

namespace moegrad {

struct DeviceFlags {
    std::string device = "cpu";
    std::string dtype;  // empty: float32; on a GPU the type that the checkpoint is stored in

    std::string quantise = "none";

    Quantisation quantisation() const { return quantise == "nf4" ? Quantisation::nf4 : Quantisation::none; }
    Device place() const { return device == "cuda" ? Device::cuda : Device::cpu; }
};

inline void add_device_flags(CLI::App* verb, DeviceFlags& flags) {
    verb->add_option("--device", flags.device, "cpu or cuda")->check(CLI::IsMember({"cpu", "cuda"}));
    verb->add_option("--dtype", flags.dtype,
                     "float32 or float64 on the CPU [float32]; float32 or bfloat16 on a GPU [as stored]")
        ->check(CLI::IsMember({"float32", "float64", "bfloat16"}));
    verb->add_option("--quantise", flags.quantise,
                     "nf4: weights of attention, feed-forward and experts in four bits [none]")
        ->check(CLI::IsMember({"none", "nf4"}));
}

/// The type that a GPU computes a checkpoint in when nobody says another. Says on stderr which.
inline Number stored_number(const std::string& model) {
    const bool stored = load_model_config(model).dtype == "bfloat16";
    fmt::print(stderr, "{}: {}, --dtype {} changes it\n", stored ? "bfloat16" : "float32",
               stored ? "as the checkpoint is stored" : "the checkpoint is not stored in bfloat16",
               stored ? "float32" : "bfloat16");
    return stored ? Number::bfloat16 : Number::float32;
}

/// Throws where a program, a device and a number type do not go together. Says on stderr what it chose itself.
inline Number number_for(const DeviceFlags& flags, const std::string& model) {
    if (flags.place() == Device::cpu) {
        refuse_bfloat16(flags.dtype);
        return flags.dtype == "float64" ? Number::float64 : Number::float32;
    }
    require_cuda("--device cuda");
    if (flags.dtype == "float64") {
        throw Error{ErrorCode::unsupported, "--dtype", "float32 or bfloat16 on a GPU", "float64",
                    "--device cpu computes in float64"};
    }
    if (!flags.dtype.empty()) return flags.dtype == "bfloat16" ? Number::bfloat16 : Number::float32;
    return stored_number(model);
}

/// run.template operator()<Real>(). bf16 models are in programs with CUDA kernels only.
template <class Run>
auto with_number(Number number, const Run& run) {
#ifdef MOEGRAD_HAVE_CUDA
    if (number == Number::bfloat16) return run.template operator()<bf16>();
#endif
    if (number == Number::float64) return run.template operator()<double>();
    return run.template operator()<float>();
}

}  // namespace moegrad
