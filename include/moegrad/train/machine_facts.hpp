#pragma once
// What this program was built from, and what it runs on. No host name, no user name, no path.

#include <gnu/libc-version.h>
#include <sys/utsname.h>

#include <cstdlib>
#include <fstream>
#include <string>
#include <thread>

#include <moegrad/core/device_step.hpp>
#include <moegrad/io/json.hpp>
#include <moegrad/io/json_value.hpp>
#include <moegrad/io/sha256.hpp>
#include <moegrad/train/build_facts.hpp>
#include <moegrad/version.hpp>

namespace moegrad {

inline std::string compiler_name() {
#if defined(__clang__)
    return std::string("clang ") + __clang_version__;
#else
    return std::string("g++ ") + __VERSION__;
#endif
}

inline const std::string& binary_sha256() {
    static const std::string hash = sha256_file("/proc/self/exe");
    return hash;
}

/// The instructions that the matrix products take on this CPU.
inline std::string instruction_set() {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f")) return "avx512";
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return "avx2";
#endif
    return "portable";
}

inline std::string cpu_model() {
    std::ifstream lines("/proc/cpuinfo");
    for (std::string line; std::getline(lines, line);) {
        const std::size_t colon = line.find(": ");
        if (line.starts_with("model name") && colon != std::string::npos)
            return printable(line.substr(colon + 2), 200);
    }
    return "unknown";
}

namespace detail {

inline Json code_facts() {
    const BuildFacts& build = build_facts();
    const auto known = [](const std::string& text) { return text.empty() ? Json("unknown") : Json(text); };
    Json libraries = Json::object();
    libraries.add("fmt", format("{}.{}.{}", FMT_VERSION / 10000, FMT_VERSION / 100 % 100, FMT_VERSION % 100));
    libraries.add("nlohmann_json", format("{}.{}.{}", NLOHMANN_JSON_VERSION_MAJOR,
                                          NLOHMANN_JSON_VERSION_MINOR, NLOHMANN_JSON_VERSION_PATCH));
    libraries.add("libc", std::string("glibc ") + gnu_get_libc_version());
#if defined(__GLIBCXX__)
    libraries.add("libstdcxx", format("{}", __GLIBCXX__));
#else
    libraries.add("libstdcxx", "another standard library");
#endif
    libraries.add("others", known(build.libraries));
    Json code = Json::object();
    code.add("version", kVersion);
    code.add("commit", known(build.commit));
    code.add("compiler", compiler_name());
    code.add("standard", format("{}", __cplusplus));
    code.add("build", known(build.type));
    code.add("flags", known(build.flags));
    code.add("libraries", std::move(libraries));
    code.add("binary_sha256", binary_sha256());
    return code;
}

/// on_gpu: a run on the CPU never asks the driver for anything.
inline Json machine_facts(int threads, bool on_gpu) {
    utsname system{};
    ::uname(&system);
    Json environment = Json::object();
    for (const char* name : {"MOEGRAD_THREADS", "LC_ALL", "TZ"}) {
        const char* value = std::getenv(name);
        environment.add(name, value == nullptr ? Json(nullptr) : Json(printable(value)));
    }
    Json machine = Json::object();
    machine.add("cpu", cpu_model());
    machine.add("instructions", instruction_set());
    machine.add("cores", static_cast<std::int64_t>(std::thread::hardware_concurrency()));
    machine.add("threads", threads);
    if (on_gpu) machine.add("gpu", device_name());
    machine.add("kernel", format("{} {} {}", system.sysname, system.release, system.machine));
    machine.add("environment", std::move(environment));
    return machine;
}

}  // namespace detail

}  // namespace moegrad
