#pragma once
// A property that an accepted input must have. When it does not hold the target aborts, which the fuzzer keeps.

#include <cstdio>
#include <cstdlib>

namespace fuzz {

inline void require(bool holds, const char* property) {
    if (holds) return;
    std::fprintf(stderr, "property does not hold: %s\n", property);
    std::abort();
}

}  // namespace fuzz
