#pragma once
// Numbers as a page shows them, and round values for axes.

#include <moegrad/core/format.hpp>

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

namespace moegrad::report {

/// Fixed decimals with a true minus sign; "-0.0" is "0.0".
inline std::string fixed(double value, int decimals) {
    std::string text = format("{:.{}f}", value, decimals);
    if (text.front() != '-') return text;
    text.erase(0, 1);
    return text.find_first_not_of("0.") == std::string::npos ? text : "\xE2\x88\x92" + text;
}

/// 61 440: groups of three, narrow spaces that do not break between them.
inline std::string grouped(std::int64_t value) {
    std::string digits = format("{}", value < 0 ? -value : value);
    for (std::size_t at = digits.size(); at > 3;) {
        at -= 3;
        digits.insert(at, "\xE2\x80\xAF");
    }
    return value < 0 ? "\xE2\x88\x92" + digits : digits;
}

/// 12 400 as "12.4k".
inline std::string thousands(double value) {
    return value < 1000  ? fixed(value, 0)
           : value < 1e6 ? fixed(value / 1e3, 1) + "k"
                         : fixed(value / 1e6, 2) + "M";
}

/// Four significant digits, no needless zeros.
inline std::string brief(double value) {
    std::string text = format("{:.4g}", value);
    return text.front() == '-' ? "\xE2\x88\x92" + text.substr(1) : text;
}

/// The double nearest to the value's first `digits` significant digits: short in JSON.
inline double rounded(double value, int digits = 5) {
    return std::strtod(format("{:.{}g}", value, digits).c_str(), nullptr);
}

/// An axis from `low` to `high` with marks every `step`; `decimals` are those of the marks.
struct Scale {
    double low = 0, high = 1, step = 0.2;
    int decimals = 1;

    double share(double value) const { return (value - low) / (high - low); }
    std::vector<double> marks() const {
        std::vector<double> all;
        const auto first = static_cast<std::int64_t>(std::ceil(low / step - 1e-9));
        for (std::int64_t i = first; static_cast<double>(i) * step <= high + step * 1e-9; ++i)
            all.push_back(static_cast<double>(i) * step);
        return all;
    }
};

/// A scale over [low, high] with about `wanted` steps of 1, 2 or 5 times a power of ten. `whole`: ends at marks.
inline Scale scale_of(double low, double high, int wanted = 5, bool whole = true) {
    if (!(high > low)) {
        const double room = low == 0 ? 1 : std::abs(low) * 0.1;
        low -= room, high += room;
    }
    const double raw = (high - low) / wanted, power = std::pow(10.0, std::floor(std::log10(raw)));
    const double ratio = raw / power;
    const double factor = ratio <= 1.0 ? 1 : ratio <= 2.0 ? 2 : ratio <= 5.0 ? 5 : 10;
    Scale scale{low, high, factor * power, 0};
    const int exponent = static_cast<int>(std::floor(std::log10(scale.step) + 1e-9));
    scale.decimals = exponent < 0 ? -exponent : 0;
    if (whole) {
        scale.low = std::floor(low / scale.step + 1e-9) * scale.step;
        scale.high = std::ceil(high / scale.step - 1e-9) * scale.step;
    }
    return scale;
}

}  // namespace moegrad::report
