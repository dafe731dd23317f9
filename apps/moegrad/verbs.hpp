#pragma once
// The verbs of the command line, one file each. A verb names itself here and runs from its parser's callback:
//     const RegisterVerb registered(20, add_train);

#include <CLI/CLI.hpp>

#include <cstdlib>
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

/// For --top-p: an open end, which CLI::Range has not.
inline CLI::Validator probability_above_zero() {
    return CLI::Validator(
        [](std::string& text) {
            char* end = nullptr;
            const double value = std::strtod(text.c_str(), &end);
            const bool fits = end != text.c_str() && *end == '\0' && value > 0 && value <= 1;
            return fits ? std::string() : "Value " + text + " not in range (0 - 1]";
        },
        "FLOAT in (0 - 1]");
}

/// What every verb says of devices and number types that are not there.
inline void refuse_bfloat16(const std::string& dtype) {
    if (dtype != "bfloat16") return;
    throw moegrad::Error{moegrad::ErrorCode::unsupported, "--dtype", "float32 or float64 on the CPU",
                         "bfloat16", "bf16 models run on a GPU; the CPU reads bf16 checkpoints into float32"};
}

/// A flag whose value was left out would take the next flag for it.
inline void require_value(const std::string& flag, const std::string& value) {
    if (value.rfind("--", 0) != 0) return;
    throw moegrad::Error{moegrad::ErrorCode::config, flag, "a value", value,
                         "flags take one, as in " + flag + " true"};
}

/// How the user calls this program: through the launcher of a clone, or by its name.
inline std::string program_name() {
    const char* launcher = std::getenv("MOEGRAD_PROGRAM");
    return launcher == nullptr ? "moegrad" : launcher;
}

/// A path as a shell takes it.
inline std::string shell_quoted(const std::string& path) {
    if (path.find_first_of(" \t\n'\"$&|;<>()*?[]#~`\\!") == std::string::npos) return path;
    std::string out = "'";
    for (const char c : path) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
    return out + "'";
}
