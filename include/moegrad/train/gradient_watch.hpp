#pragma once
// GradientWatch: trainable parameters whose gradient is exactly zero after the first steps, so that nobody trains for hours
// what the loss does not reach.
//
// dA = s B^T dy x^T is zero while B is, so an A whose B starts at zero is looked at after the second step, when B has moved.
// So is the router X.router... of experts or sub-routers X... whose B is zero: while they are all the same, or add nothing,
// it decides nothing. Everything else is looked at after the first. An expert that no token of a step chose has no gradient,
// which is no fault: stacks with such experts share one line.
//
// Looked at is the first moment, m = (1 - b1) g after the first step: a GPU's update leaves no gradient behind, and a moment
// that is exactly zero has seen none.

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include <moegrad/core/format.hpp>
#include <moegrad/core/transfer.hpp>
#include <moegrad/methods/trainable_parameters.hpp>

namespace moegrad {

/// Whether all of [begin, end) is zero.
template <class Real>
bool all_zero(const Tensor<Real>& values, Index begin, Index end) {
    return std::all_of(values.data() + begin, values.data() + end,
                       [](Real value) { return value == Real(0); });
}

/// `whole`: parameters without any gradient; `stacks`: those that miss it for some of their experts.
struct ZeroGradients {
    std::string names, in_stacks;  // the first few of each
    Index whole = 0, stacks = 0;

    /// What to say of it after step n; empty when every parameter has its gradient.
    std::string text(Index n) const {
        std::string all;
        if (whole > 0)
            all = format("after step {} the loss does not reach {} trainable parameters:{}", n + 1, whole,
                         names);
        if (stacks > 0)
            all += format(
                "{}after step {} some experts of {} stacks have no gradient, as those that no token chose:{}",
                all.empty() ? "" : "\n", n + 1, stacks, in_stacks);
        return all;
    }
};

template <class Real>
class GradientWatch {
public:
    /// Before the first step.
    explicit GradientWatch(const std::vector<Parameter<Wide<Real>>*>& parameters) : parameters_(parameters) {
        std::vector<std::string> zero;
        for (auto* b : parameters) {
            const std::size_t at = b->name().rfind("lora_B");
            if (at == std::string::npos || !all_zero(host(b->value()), 0, b->size())) continue;
            std::string a = b->name();
            a[at + 5] = 'A';
            waiting_.insert(a);
            zero.push_back(b->name());
        }
        for (auto* parameter : parameters) {
            const std::string& name = parameter->name();
            const std::size_t end = name.find(".router.");
            if (end == name.npos) continue;
            const auto below = [&](const std::string& b) { return b.starts_with(name.substr(0, end + 1)); };
            if (std::any_of(zero.begin(), zero.end(), below)) waiting_.insert(name);
        }
    }

    /// After step n = 0 or 1, before the next begins.
    ZeroGradients after_step(Index n) const {
        ZeroGradients zero;
        if (n > 1) return zero;
        for (auto* parameter : parameters_) {
            const bool waits = waiting_.count(parameter->name()) > 0;
            if (waits != (n == 1)) continue;
            const auto moment = seen(*parameter);
            if (!moment.defined() || all_zero(moment, 0, moment.size())) {
                note(zero.names, ++zero.whole, parameter->name());
            } else if (n == 0) {
                const Index E = experts_without(moment);
                if (E > 0)
                    note(zero.in_stacks, ++zero.stacks,
                         format("{} ({} of {})", parameter->name(), E, parameter->shape()[0]));
            }
        }
        return zero;
    }

private:
    /// The first moment on the host; undefined where no gradient was ever written.
    static Tensor<Wide<Real>> seen(Parameter<Wide<Real>>& parameter) {
        const auto& gradients = parameter.gradients();
        const bool written = std::any_of(gradients.begin(), gradients.end(),
                                         [](const auto& gradient) { return gradient->written(); });
        return written ? host(parameter.first_moment()) : Tensor<Wide<Real>>();
    }

    static Index experts_without(const Tensor<Wide<Real>>& moment) {
        const Index E = moment.shape().rank() == 3 ? moment.extent(0) : 0;
        Index count = 0;
        for (Index e = 0; e < E; ++e) {
            const Index size = moment.size() / E;
            count += all_zero(moment, e * size, (e + 1) * size) ? 1 : 0;
        }
        return count;
    }

    /// The first few by name, then that there are more.
    static void note(std::string& list, Index number, const std::string& name) {
        constexpr Index most = 3;
        if (number <= most) list += (number == 1 ? " " : ", ") + name;
        if (number == most + 1) list += ", ..";
    }

    std::vector<Parameter<Wide<Real>>*> parameters_;
    std::set<std::string> waiting_;
};

}  // namespace moegrad
