#pragma once
// The only door to fmt.
// fmt 9.1 does not compile in C++20 under nvcc 13 unless its compile-time checks are off, hence the macro.

#if defined(__CUDACC__) && !defined(FMT_USE_CONSTEXPR)
#define FMT_USE_CONSTEXPR 1
#endif

#include <cstddef>
#include <string>

#include <fmt/core.h>

namespace moegrad {

#if __has_include(<format>)
/// Where std::format exists (GCC 13 on), a call with a std::string finds it too, and fmt's would be ambiguous with it: both
/// convert the text. This one takes it as it is. Texts are checked when they are used; older compilers check all of them.
template <std::size_t N, class... Arguments>
std::string format(const char (&text)[N], Arguments&&... arguments) {
    return fmt::vformat(fmt::string_view(text, N - 1), fmt::make_format_args(arguments...));
}
#else
using fmt::format;
#endif

}  // namespace moegrad
