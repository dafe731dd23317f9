#pragma once
// A short run of the fuzz targets without the fuzzer: every seed, and a few mutations of each that are the same every
// time.

#include <moegrad/core/philox.hpp>

#include <cstdint>
#include <string>
#include <vector>

namespace fuzz {

inline std::string mutated(std::string input, moegrad::Random& random) {
    const auto below = [&](std::size_t bound) {
        return static_cast<std::size_t>(random.next_below(static_cast<std::uint64_t>(bound)));
    };
    for (std::size_t i = 0; i <= below(3) && !input.empty(); ++i) {
        const std::size_t at = below(input.size()), way = below(4);
        if (way == 0) input[at] = static_cast<char>(below(256));
        if (way == 1) input.erase(at, 1 + below(4));
        if (way == 2) input.insert(at, 1, static_cast<char>(below(256)));
        if (way == 3) input.insert(at, input.substr(at / 2, 1 + below(8)));
    }
    return input;
}

/// Returns the number of inputs. target(std::string_view) aborts on a finding.
template <class Target>
int replay(const std::vector<std::string>& seeds, int mutations, const Target& target) {
    moegrad::Random random(20260);
    int inputs = 0;
    for (const std::string& seed : seeds) {
        target(seed);
        for (int i = 0; i < mutations; ++i) target(mutated(seed, random));
        inputs += 1 + mutations;
    }
    return inputs;
}

}  // namespace fuzz
