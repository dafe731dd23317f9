#pragma once
// Curves over training: the steps of all arms on one grid of at most kPoints buckets, the mean over a bucket's steps,
// then over an arm's seeds; `low` and `high` are the smallest and largest seed.

#include <moegrad/report/read.hpp>

#include <algorithm>

namespace moegrad::report {

inline constexpr std::int64_t kPoints = 75;

struct Curve {
    std::vector<double> y, low, high;  // NaN where the arm has no step

    bool empty() const {
        return std::all_of(y.begin(), y.end(), [](double value) { return std::isnan(value); });
    }
    bool has_band() const {
        for (std::size_t i = 0; i < y.size(); ++i)
            if (high[i] > low[i]) return true;
        return false;
    }
};

struct CurveSet {
    std::vector<double> x;       // the middle of a bucket, in steps
    std::vector<Curve> curves;   // one per arm, or one per layer
    std::int64_t per_point = 1;  // steps

    bool empty() const {
        return std::all_of(curves.begin(), curves.end(), [](const Curve& curve) { return curve.empty(); });
    }
};

inline std::int64_t steps_of(const RunFolder& run) {
    return run.steps.empty() ? 0 : run.steps.back().step + 1;
}
inline std::int64_t steps_of(const ReportData& data) {
    std::int64_t most = 0;
    for (const Arm& arm : data.arms)
        for (const RunFolder& run : arm.runs) most = std::max(most, steps_of(run));
    return most;
}

namespace detail {

inline CurveSet empty_set(std::int64_t steps) {
    CurveSet set;
    set.per_point = std::max<std::int64_t>(1, (steps + kPoints - 1) / kPoints);
    for (std::int64_t begin = 0; begin < steps; begin += set.per_point) {
        const std::int64_t end = std::min(begin + set.per_point, steps);
        set.x.push_back(static_cast<double>(begin + end - 1) / 2);
    }
    return set;
}

/// Bucket means of one run.
template <class Value>
std::vector<double> buckets(const RunFolder& run, const CurveSet& set, const Value& value) {
    std::vector<double> sum(set.x.size(), 0), count(set.x.size(), 0);
    for (const MetricsLine& line : run.steps) {
        const double one = value(line);
        const auto at = static_cast<std::size_t>(line.step / set.per_point);
        if (std::isnan(one) || at >= sum.size()) continue;
        sum[at] += one;
        count[at] += 1;
    }
    for (std::size_t i = 0; i < sum.size(); ++i) sum[i] = count[i] > 0 ? sum[i] / count[i] : kNothing;
    return sum;
}

template <class Value>
Curve curve_of(const std::vector<RunFolder>& runs, const CurveSet& set, const Value& value) {
    const std::size_t n = set.x.size();
    Curve curve{std::vector<double>(n, kNothing), std::vector<double>(n, kNothing),
                std::vector<double>(n, kNothing)};
    std::vector<double> sum(n, 0), count(n, 0);
    for (const RunFolder& run : runs) {
        const std::vector<double> one = buckets(run, set, value);
        for (std::size_t i = 0; i < n; ++i) {
            if (std::isnan(one[i])) continue;
            sum[i] += one[i];
            count[i] += 1;
            curve.low[i] = count[i] > 1 ? std::min(curve.low[i], one[i]) : one[i];
            curve.high[i] = count[i] > 1 ? std::max(curve.high[i], one[i]) : one[i];
        }
    }
    for (std::size_t i = 0; i < n; ++i)
        if (count[i] > 0) curve.y[i] = sum[i] / count[i];
    return curve;
}

}  // namespace detail

/// A curve per arm of `value(line)`.
template <class Value>
CurveSet arm_curves(const ReportData& data, const Value& value) {
    CurveSet set = detail::empty_set(steps_of(data));
    for (const Arm& arm : data.arms) set.curves.push_back(detail::curve_of(arm.runs, set, value));
    return set;
}

/// A curve per router of one arm of `value(router)`; routers in the order of the first step.
template <class Value>
CurveSet router_curves(const Arm& arm, const Value& value) {
    const RunFolder* run = arm.first([](const RunFolder& r) { return !r.steps.empty(); });
    CurveSet set = detail::empty_set(run ? steps_of(*run) : 0);
    const std::size_t routers = run ? run->steps.front().routers.size() : 0;
    for (std::size_t i = 0; i < routers; ++i) {
        set.curves.push_back(detail::curve_of(arm.runs, set, [&](const MetricsLine& line) {
            return i < line.routers.size() ? value(line.routers[i]) : kNothing;
        }));
    }
    return set;
}

/// The mean of `value(router)` over the routers of a step; NaN without any.
template <class Value>
double router_mean(const MetricsLine& line, const Value& value) {
    double sum = 0, count = 0;
    for (const RouterLine& router : line.routers) {
        const double one = value(router);
        if (std::isnan(one)) continue;
        sum += one;
        count += 1;
    }
    return count > 0 ? sum / count : kNothing;
}

/// "layer 3" for model.layers.3.mlp, "3 self_attn.q_proj" for a router inside a Linear.
inline std::string router_label(const std::string& name) {
    std::string_view rest = name;
    for (std::string_view head : {"model.layers.", "layers."}) {
        if (rest.substr(0, head.size()) == head) rest.remove_prefix(head.size());
    }
    const std::size_t digits = rest.find_first_not_of("0123456789");
    if (digits == 0) return name;
    const std::string number(rest.substr(0, digits));
    if (digits == rest.npos) return "layer " + number;
    rest.remove_prefix(digits);
    for (std::string_view whole : {".mlp", ".mlp.gate", ".block_sparse_moe", ".block_sparse_moe.gate"}) {
        if (rest == whole) return "layer " + number;
    }
    return number + " " + std::string(rest.substr(1));
}

}  // namespace moegrad::report
