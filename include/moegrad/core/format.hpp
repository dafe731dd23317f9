#pragma once
// The only door to fmt.
// fmt 9.1 does not compile in C++20 under nvcc 13 unless its compile-time checks are off, hence the macro.

#if defined(__CUDACC__) && !defined(FMT_USE_CONSTEXPR)
#define FMT_USE_CONSTEXPR 1
#endif

#include <fmt/core.h>

namespace moegrad {
using fmt::format;
}
