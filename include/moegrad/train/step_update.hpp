#pragma once
// StepUpdate: what follows the last micro-batch, without a look at any number on the host: frozen blocks to zero, squared
// norms of the gradients, clip, AdamW of all weights. A step that is not finite is blocked where it is found (ops/clip.hpp).
// On a GPU the update leaves zeros in the gradients: what a step does not write counts as zero.

#include <string>
#include <vector>

#include <moegrad/autograd/parameter.hpp>
#include <moegrad/ops/clip.hpp>
#include <moegrad/ops/sum_squares.hpp>
#include <moegrad/ops/zero_block.hpp>
#include <moegrad/train/step_report.hpp>

namespace moegrad {

/// Real: of the gradients.
template <class Real>
class StepUpdate {
public:
    StepUpdate(const std::vector<Parameter<Real>*>& parameters, const TrainerOptions& options, Device device)
        : parameters_(parameters),
          options_(options),
          device_(device),
          report_(Tensor<double>::zeros({kClipReport}, device)) {}

    /// Factors on the learning rate, one per parameter; empty: all 1.
    void set_rate_ratios(std::vector<double> ratios) {
        rate_ratios_ = std::move(ratios);
        gradients_.clear();
    }

    /// Takes in which gradients have been written by now. True when that changed, and the places to work on with it.
    bool prepare() {
        std::vector<const void*> written;
        for (const auto* parameter : parameters_) {
            for (const auto& gradient : parameter->gradients())
                written.push_back(gradient->written() ? gradient->tensor().data() : nullptr);
        }
        if (written == gradients_ && square_.defined()) return false;
        gradients_ = std::move(written);
        std::vector<AdamWItem<Real>> items;
        for (std::size_t i = 0; i < parameters_.size(); ++i) {
            auto* parameter = parameters_[i];
            const GradientUses<Real> gradients(parameter->gradients());
            if (gradients.count == 0) continue;
            AdamWOptions adamw = options_.adamw;
            if (!rate_ratios_.empty()) adamw.rate_ratio = rate_ratios_.at(i);
            items.emplace_back(gradients, parameter->value(), parameter->first_moment(),
                               parameter->second_moment(), adamw, parameter->compute_copy());
        }
        list_ = AdamWList<Real>(items, device_);
        square_ = Tensor<double>::zeros({static_cast<Index>(items.size())}, device_);
        return true;
    }

    /// loss: the sum that must be finite too.
    void run(Stream stream, View<const double, 1> loss) const {
        for (auto* parameter : parameters_) {
            for (const Block& block : parameter->frozen_blocks()) {
                for (const auto& gradient : parameter->gradients())
                    if (gradient->written()) zero_block(stream, gradient->tensor(), block);
            }
        }
        sum_squares_all(stream, list_, square_.template view<1>());
        clip<Real>(stream, square_.template view<1>(), loss, options_.clip, report_.template view<1>());
        adamw_update_all(stream, list_,
                         device_ == Device::cuda ? AfterUpdate::zero_gradients : AfterUpdate::keep_gradients);
    }

    const Tensor<double>& report() const { return report_; }

private:
    std::vector<Parameter<Real>*> parameters_;
    TrainerOptions options_;
    Device device_;
    std::vector<double> rate_ratios_;
    std::vector<const void*> gradients_;  // those of the list, by place
    AdamWList<Real> list_;
    Tensor<double> square_, report_;
};

}  // namespace moegrad
