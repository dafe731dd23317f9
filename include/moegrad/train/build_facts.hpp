#pragma once
// What only the build system knows of a program, for the manifest of its runs.

#include <string>

namespace moegrad {

/// Empty: unknown. commit: HEAD when the build was configured; which program it became, its own SHA-256 says.
struct BuildFacts {
    std::string commit, type, flags, libraries;  // libraries: "CLI11 2.3.2, Eigen 3.4.0"
};

inline BuildFacts& build_facts() {
    static BuildFacts facts;
    return facts;
}

/// A program's main file has one of these.
struct RegisterBuild {
    RegisterBuild(const char* commit, const char* type, const char* flags, const char* libraries) {
        build_facts() = {commit, type, flags, libraries};
    }
};

}  // namespace moegrad
