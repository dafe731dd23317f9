#pragma once
// The version of the library, and the compilers' modes it refuses. CMake reads the number from this file.

#if defined(__FAST_MATH__)
#error \
    "moegrad: -ffast-math (or -Ofast) reorders sums and drops NaN checks; every reproducibility promise would be void"
#endif

namespace moegrad {

inline constexpr const char* kVersion = "0.1.0";

}  // namespace moegrad
