#pragma once
// After a step whose update was blocked: what was not finite, or what a kernel reported. The first bad tensor by name.
// Here the host may wait for the device: the run is over.

#include <cmath>
#include <string>
#include <vector>

#include <moegrad/autograd/parameter_values.hpp>
#include <moegrad/core/context.hpp>
#include <moegrad/core/device_reports.hpp>
#include <moegrad/models/decoder.hpp>
#include <moegrad/ops/adamw.hpp>
#include <moegrad/ops/sum_squares.hpp>
#include <moegrad/train/step_report.hpp>

namespace moegrad {

namespace detail {

/// The first value that is no number, or -1.
template <class Real>
Index first_bad(Context& context, const GradientUses<Real>& values) {
    const auto first = context.template make<Index>({1});
    first_non_finite(context.stream(), values, first.template view<1>());
    return host(first).data()[0];
}
template <class Real>
Index first_bad_weight(Context& context, const Parameter<Wide<Real>>& weight) {
    if (weight.quantised().defined()) return -1;  // only finite weights have one
    if (weight.value().defined()) return first_bad(context, GradientUses<Wide<Real>>{weight.value()});
    const auto values = host_values<Real>(weight);
    for (Index i = 0; i < values.size(); ++i)
        if (!std::isfinite(values.data()[i])) return i;
    return -1;
}

}  // namespace detail

/// A weight that is not a number makes every gradient bad: it is to blame before any of them.
template <class Real>
void require_finite_weights(Context& context, Decoder<Real>& model,
                            const std::vector<Parameter<Wide<Real>>*>& trainable, Index step) {
    auto weights = model.base_parameters();
    weights.insert(weights.end(), trainable.begin(), trainable.end());
    for (auto* weight : weights) {
        const Index bad = weight->size() == 0 ? -1 : detail::first_bad_weight<Real>(context, *weight);
        if (bad < 0) continue;
        throw Error{ErrorCode::value, format("step {}", step), "finite weights",
                    format("{}, element {}", weight->name(), bad),
                    "the weights are those before the step; was the checkpoint or adapter damaged?"};
    }
}

/// Throws for a step that was blocked, with its gradients as they were when it was.
template <class Real>
[[noreturn]] void throw_blocked_step(Context& context, Decoder<Real>& model,
                                     const std::vector<Parameter<Wide<Real>>*>& trainable,
                                     const StepReport& report, const DeviceStatus& status) {
    require_in_range(status, format("step {}", report.step), "the weights are those before the step; ");
    require_finite_weights(context, model, trainable, report.step);
    std::string culprit = "the loss, or a score of a router";
    if (!std::isfinite(report.cross_entropy)) culprit = "the loss";
    for (auto* parameter : trainable) {
        const GradientUses<Wide<Real>> gradients(parameter->gradients());
        const Index bad = gradients.count == 0 ? -1 : detail::first_bad(context, gradients);
        if (bad < 0) continue;
        culprit = format("gradient of {}, element {}", parameter->name(), bad);
        break;
    }
    throw Error{
        ErrorCode::value, format("step {}", report.step), "finite loss and gradients",
        format("loss {}, gradient norm {}; first: {}", report.cross_entropy, report.gradient_norm, culprit),
        "the weights are those before the step; lower optim.lr or look at this step's samples"};
}

}  // namespace moegrad
