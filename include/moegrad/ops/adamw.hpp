#pragma once
// adamw: one step t = 1, 2, ... of one weight, with the decay decoupled from the gradient.
//     g = clip (g_0 + g_1 + ...)              one gradient per use of the weight, added in order
//     w = w - lr wd w
//     m = m + (1 - b1) (g - m)                v = b2 v + (1 - b2) g^2
//     w = w - lr / (1 - b1^t) m / (sqrt(v) / sqrt(1 - b2^t) + eps)
// lr = rate_ratio * learning rate; learning rate, step (t - 1) and clip come from the step scalars.
// Loshchilov & Hutter 2019, algorithm 2; order and eps as in torch.optim.AdamW.

#include <moegrad/autograd/var.hpp>
#include <moegrad/core/slot.hpp>

#include <array>
#include <initializer_list>
#include <memory>
#include <vector>

namespace moegrad {

struct AdamWOptions {
    double beta1 = 0.9;
    double beta2 = 0.999;
    double epsilon = 1e-8;
    double weight_decay = 0.01;
    double rate_ratio = 1;  // of this weight's learning rate to that of the step
};

/// g = g_0 + g_1 + ...: the gradients of the uses of one weight, added in order.
template <class Real>
struct GradientUses {
    static constexpr int kMost = 8;
    std::array<View<const Real, 1>, kMost> use{};
    int count = 0;
    Index size = 0;

    /// Those of a parameter that backward has written.
    explicit GradientUses(const std::vector<std::shared_ptr<Gradient<Real>>>& gradients) {
        for (const auto& gradient : gradients) {
            if (gradient->written()) append(gradient->tensor());
        }
    }
    explicit GradientUses(std::initializer_list<Tensor<Real>> gradients) {
        for (const Tensor<Real>& gradient : gradients) append(gradient);
    }

    MOEGRAD_HD Real operator()(Index i) const {
        Real sum = use[0].data[i];
        for (int n = 1; n < count; ++n) sum += use[static_cast<std::size_t>(n)].data[i];
        return sum;
    }

private:
    void append(const Tensor<Real>& gradient) {
        if (count == kMost || (count > 0 && gradient.size() != size)) {
            throw Error{ErrorCode::shape, "gradients of a weight",
                        format("at most {} uses of one size", kMost),
                        format("use {} of {} values after {} values", count + 1, gradient.size(), size)};
        }
        size = gradient.size();
        use[static_cast<std::size_t>(count++)] = gradient.flat();
    }
};

template <class Real>
struct AdamWKernels {
    void (*update)(Stream, const GradientUses<Real>&, View<Real, 1> weight, View<Real, 1> first,
                   View<Real, 1> second, View<bf16, 1> copy, const AdamWOptions&);
};

inline constinit KernelSlot<AdamWKernels> adamw_slot{"adamw", Proof::reference};

/// weight, first and second moment are updated in place; all of one size, dense. `copy`, if defined, gets the new weight
/// rounded to bf16: what a bf16 model computes with.
template <class Real>
void adamw_update(Stream stream, const GradientUses<Real>& g, const Tensor<Real>& weight,
                  const Tensor<Real>& first, const Tensor<Real>& second, const AdamWOptions& options = {}, const Tensor<bf16>& copy = {}) {
    if (g.count == 0 || g.size != weight.size() || !(first.shape() == weight.shape()) ||
        !(second.shape() == weight.shape()) || (copy.defined() && copy.size() != weight.size())) {
        throw Error{ErrorCode::shape, "adamw",
                    "gradients and moments like the weight " + weight.shape().text(),
                    format("{} gradients of {} values, moments {} and {}", g.count, g.size,
                           first.shape().text(), second.shape().text())};
    }
    adamw_slot.get<Real>(stream.device())
        .update(stream, g, weight.flat(), first.flat(), second.flat(),
                copy.defined() ? copy.flat() : View<bf16, 1>(), options);
}

}  // namespace moegrad
