#pragma once
// Before every update: are loss, gradients and weights finite? If not, the first bad tensor by name, and no update.

#include <cmath>
#include <string>
#include <vector>

#include <moegrad/autograd/parameter.hpp>
#include <moegrad/core/context.hpp>
#include <moegrad/models/decoder.hpp>
#include <moegrad/ops/adamw.hpp>
#include <moegrad/ops/sum_squares.hpp>
#include <moegrad/train/step_report.hpp>

namespace moegrad {

/// A weight that is not a number makes every gradient bad: it is to blame before any of them.
template <class Real>
void require_finite_weights(Context& context, Decoder<Real>& model,
                            const std::vector<Parameter<Wide<Real>>*>& trainable, Index step) {
    auto weights = model.base_parameters();
    weights.insert(weights.end(), trainable.begin(), trainable.end());
    const auto first = context.template make<Index>({1});
    for (auto* weight : weights) {
        if (weight->size() == 0) continue;
        first_non_finite(context.stream(), GradientUses<Real>{weight->value()}, first.template view<1>());
        if (first.data()[0] < 0) continue;
        throw Error{ErrorCode::value, format("step {}", step), "finite weights",
                    format("{}, element {}", weight->name(), first.data()[0]),
                    "the weights are those before the step; was the checkpoint or adapter damaged?"};
    }
}

template <class Real>
void require_finite_step(Context& context, Decoder<Real>& model,
                         const std::vector<Parameter<Wide<Real>>*>& trainable, const StepReport& report) {
    if (std::isfinite(report.gradient_norm) && std::isfinite(report.cross_entropy)) return;
    require_finite_weights(context, model, trainable, report.step);
    std::string culprit = "the loss";
    const auto first = context.template make<Index>({1});
    for (auto* parameter : trainable) {
        const GradientUses<Real> gradients(parameter->gradients());
        if (gradients.count == 0) continue;
        first_non_finite(context.stream(), gradients, first.template view<1>());
        if (first.data()[0] < 0) continue;
        culprit = format("gradient of {}, element {}", parameter->name(), first.data()[0]);
        break;
    }
    throw Error{
        ErrorCode::value, format("step {}", report.step), "finite loss and gradients",
        format("loss {}, gradient norm {}; first: {}", report.cross_entropy, report.gradient_norm, culprit),
        "the weights are those before the step; lower optim.lr or look at this step's samples"};
}

}  // namespace moegrad
