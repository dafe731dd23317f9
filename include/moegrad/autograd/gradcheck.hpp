#pragma once
// gradcheck: does a backward match its forward?
//
// `function(tape, inputs)` maps Vars to Vars. The outputs are projected onto fixed weights c, L = sum_i c_i y_i, and
// dL/dx from the tape is compared element by element with central differences in double,
//     (L(x + h) - L(x - h)) / 2h,    h = 1e-5,    |analytic - numeric| <= atol + rtol |numeric|.
// Inputs must stay away from kinks and ties by more than h.

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include <moegrad/autograd/tape.hpp>

namespace moegrad {

struct GradcheckOptions {
    double step = 1e-5;
    double relative = 1e-6;
    double absolute = 1e-7;
};

struct GradcheckReport {
    bool passed = true;
    double worst = 0;   // largest |analytic - numeric| / (absolute + relative |numeric|)
    std::string where;  // the element it was seen at
};

namespace detail {

/// Fixed projection weights in (0.5, 1.5): never 0, so that no output goes unseen, and no two alike.
inline double projection(Index i) {
    const double x = 0.6180339887498949 * static_cast<double>(i + 1);
    return 0.5 + (x - std::floor(x));
}

template <class Real>
Real project(const std::vector<Var<Real>>& outputs) {
    Real sum = Real(0);
    Index i = 0;
    for (const Var<Real>& y : outputs) {
        for (const Real& value : y.value().values()) sum += Real(projection(i++)) * value;
    }
    return sum;
}

/// Writes the projection weights as gradients of the outputs.
template <class Real>
void seed_projection(const std::vector<Var<Real>>& outputs) {
    Index i = 0;
    for (const Var<Real>& y : outputs) {
        const Index n = y.value().size();
        if (y.needs_gradient()) {
            auto target = y.gradient()->target();
            for (Index j = 0; j < n; ++j) {
                Real& place = target.tensor.values()[static_cast<std::size_t>(j)];
                place = Real(projection(i + j)) + (target.write == Write::accumulate ? place : Real(0));
            }
        }
        i += n;
    }
}

}  // namespace detail

/// Gradients of the projected outputs with respect to every input, by the tape.
template <class Real, class Function>
std::vector<Tensor<Real>> projected_gradients(Context& context, const Function& function,
                                              const std::vector<Tensor<Real>>& inputs) {
    Tape tape(context);
    std::vector<Var<Real>> variables;
    for (const auto& input : inputs) {
        variables.emplace_back(input, std::make_shared<Gradient<Real>>(Tensor<Real>::zeros(input.shape())));
    }
    detail::seed_projection<Real>(function(tape, variables));
    tape.backward();
    std::vector<Tensor<Real>> gradients;
    for (const auto& variable : variables) gradients.push_back(variable.gradient()->tensor());
    return gradients;
}

/// Central differences in double against the tape. `inputs` are restored when it returns.
template <class Function>
GradcheckReport gradcheck(Context& context, const Function& function,
                          const std::vector<Tensor<double>>& inputs, const GradcheckOptions& options = {}) {
    const auto evaluate = [&] {
        Tape tape(context, Mode::inference);
        std::vector<Var<double>> variables;
        for (const auto& input : inputs) variables.emplace_back(input);
        return detail::project<double>(function(tape, variables));
    };
    const auto analytic = projected_gradients<double>(context, function, inputs);
    GradcheckReport report;
    for (std::size_t n = 0; n < inputs.size(); ++n) {
        auto values = inputs[n].values();
        for (std::size_t i = 0; i < values.size(); ++i) {
            const double kept = values[i];
            values[i] = kept + options.step;
            const double above = evaluate();
            values[i] = kept - options.step;
            const double below = evaluate();
            values[i] = kept;
            const double numeric = (above - below) / (2 * options.step);
            const double got = analytic[n].values()[i];
            const double error =
                std::abs(got - numeric) / (options.absolute + options.relative * std::abs(numeric));
            if (!(error <= report.worst)) {
                report.worst = std::isnan(error) ? std::numeric_limits<double>::infinity() : error;
                report.where = format("input {} {} element {}: analytic {:.12g}, numeric {:.12g}", n,
                                      inputs[n].shape().text(), i, got, numeric);
            }
        }
    }
    report.passed = report.worst <= 1;
    return report;
}

}  // namespace moegrad
