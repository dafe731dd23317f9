#pragma once
// The only door to fmt.
// fmt 9.1 does not compile in C++20 under nvcc 13 unless its compile-time checks are off, hence the macro.

#if defined(__CUDACC__) && !defined(FMT_USE_CONSTEXPR)
#define FMT_USE_CONSTEXPR 1
#endif

#include <string>
#include <utility>

#include <fmt/core.h>

namespace moegrad {

/// An object and no function: a call with a std::string would find std::format too, where <format> is included (as by
/// <chrono> from GCC 13 on), and be ambiguous.
struct Format {
    template <class... Arguments>
    std::string operator()(fmt::format_string<Arguments...> text, Arguments&&... arguments) const {
        return fmt::format(text, std::forward<Arguments>(arguments)...);
    }
};
inline constexpr Format format{};

}  // namespace moegrad
