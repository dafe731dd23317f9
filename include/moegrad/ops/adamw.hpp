#pragma once
// adamw: one step t = 1, 2, ... of one weight, with the decay decoupled from the gradient.
//     g = clip (g_0 + g_1 + ...)              one gradient per use of the weight, added in order
//     w = w - lr wd w
//     m = m + (1 - b1) (g - m)                v = b2 v + (1 - b2) g^2
//     w = w - lr / (1 - b1^t) m / (sqrt(v) / sqrt(1 - b2^t) + eps)
// lr = rate_ratio * learning rate; learning rate, step (t - 1) and clip come from the step scalars. A blocked step
// (ops/clip.hpp) writes nothing.
// Loshchilov & Hutter 2019, algorithm 2; order and eps as in torch.optim.AdamW.
//
// AdamWList: all weights of a model, made once where they lie, updated by one launch.

#include <moegrad/autograd/var.hpp>
#include <moegrad/core/slot.hpp>
#include <moegrad/core/transfer.hpp>

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
    std::array<View<Real, 1>, kMost> use{};
    int count = 0;
    Index size = 0;

    GradientUses() = default;
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

/// One weight of an update, its gradients, its moments, and the copy in bf16 that a bf16 model computes with.
template <class Real>
struct AdamWItem {
    GradientUses<Real> g;
    View<Real, 1> weight, first, second;  // all of one size, dense
    View<bf16, 1> copy;                   // or empty
    AdamWOptions options;

    AdamWItem() = default;
    AdamWItem(const GradientUses<Real>& gradients, const Tensor<Real>& w, const Tensor<Real>& m,
              const Tensor<Real>& v, const AdamWOptions& options_ = {}, const Tensor<bf16>& rounded = {})
        : g(gradients), options(options_) {
        if (g.count == 0 || g.size != w.size() || !(m.shape() == w.shape()) || !(v.shape() == w.shape()) ||
            (rounded.defined() && rounded.size() != w.size())) {
            throw Error{ErrorCode::shape, "adamw",
                        "gradients and moments like the weight " + w.shape().text(),
                        format("{} gradients of {} values, moments {} and {}", g.count, g.size,
                               m.shape().text(), v.shape().text())};
        }
        weight = w.flat();
        first = m.flat();
        second = v.flat();
        if (rounded.defined()) copy = rounded.flat();
    }
};

/// Values of one weight that one block of threads takes.
inline constexpr Index kUpdateBlock = 4096;

/// All weights of a model. Blocks of kUpdateBlock values are counted through: those of weight p are begin(p) ..
/// begin(p + 1) - 1.
template <class Real>
struct AdamWTable {
    View<const AdamWItem<Real>, 1> item;  // [P]
    View<const Index, 1> begin;           // [P + 1]
    Index blocks = 0;                     // begin(P), known to the host
};

/// Whether an update leaves the gradients as they are or at zero, for a step whose first write accumulates.
enum class AfterUpdate { keep_gradients, zero_gradients };

template <class Real>
struct AdamWKernels {
    void (*update)(Stream, const AdamWItem<Real>&, AfterUpdate);
    void (*update_all)(Stream, const AdamWTable<Real>&, AfterUpdate);
};

inline constinit KernelSlot<AdamWKernels> adamw_slot{"adamw", Proof::reference};

/// weight, first and second moment are updated in place; `copy`, if defined, gets the new weight rounded to bf16.
template <class Real>
void adamw_update(Stream stream, const GradientUses<Real>& g, const Tensor<Real>& weight,
                  const Tensor<Real>& first, const Tensor<Real>& second, const AdamWOptions& options = {},
                  const Tensor<bf16>& copy = {}) {
    adamw_slot.get<Real>(stream.device())
        .update(stream, AdamWItem<Real>(g, weight, first, second, options, copy),
                AfterUpdate::keep_gradients);
}

/// Built once, when every gradient that a step writes has its tensor; these tensors must stay where they are.
template <class Real>
class AdamWList {
public:
    AdamWList() = default;
    AdamWList(const std::vector<AdamWItem<Real>>& items, Device device) {
        std::vector<Index> begin{0};
        for (const AdamWItem<Real>& item : items) {
            begin.push_back(begin.back() + (item.g.size + kUpdateBlock - 1) / kUpdateBlock);
        }
        const auto P = static_cast<Index>(items.size());
        blocks_ = begin.back();
        items_ = placed(Tensor<AdamWItem<Real>>::from({P}, std::span<const AdamWItem<Real>>(items)), device);
        begin_ = placed(Tensor<Index>::from({P + 1}, std::span<const Index>(begin)), device);
    }

    Index size() const { return items_.defined() ? items_.size() : 0; }
    AdamWTable<Real> table() const { return {items_.template view<1>(), begin_.view<1>(), blocks_}; }

private:
    Tensor<AdamWItem<Real>> items_;
    Tensor<Index> begin_;
    Index blocks_ = 0;
};

/// adamw_update of every weight of the list.
template <class Real>
void adamw_update_all(Stream stream, const AdamWList<Real>& list,
                      AfterUpdate after = AfterUpdate::keep_gradients) {
    if (list.size() > 0) adamw_slot.get<Real>(stream.device()).update_all(stream, list.table(), after);
}

}  // namespace moegrad
