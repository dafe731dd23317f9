#pragma once
// A Linear of a dense model as a step runs it, forward and backward on the tape: frozen, with LoRA, with four LoRA experts
// behind a choice; the head with its loss; and a weight in NF4 as numbers. The work counted is that of the frozen products,
// 2 T D O forward and as much back to the input.

#include <moegrad/ops/linear_cross_entropy.hpp>
#include <moegrad/ops/molora_linear.hpp>

#include "goals.hpp"
#include "values.hpp"

namespace moegrad::bench {

struct LinearShape {
    Index T, D, O, V, R;
};

template <class Real>
class LinearJobs {
public:
    LinearJobs(Context& context, const LinearShape& s, const Nf4Matrix& nf4)
        : context_(context),
          shape_(s),
          w_(normal<Real>({s.O, s.D}, 51, deviation(), device_)),
          head_(normal<Real>({s.V, s.D}, 52, deviation(), device_)),
          x_(normal<Real>({s.T, s.D}, 53, 1, device_)),
          dy_(normal<Real>({s.T, s.O}, 54, 1, device_)),
          numbers_(Tensor<Real>::zeros({s.O, s.D}, device_)),
          weight_(normal<Wide<Real>>({s.T, 2}, 55, 0.5, device_)),
          target_(integers(s.T, s.V, device_)),
          row_(in_order(s.T)),
          segments_(placed(Segments::of_lengths({s.T}), device_)),
          lora_{learning_weight<Real>({s.R, s.D}, deviation(), device_),
                learning_weight<Real>({s.O, s.R}, 0.02, device_), 2},
          experts_{learning_weight<Real>({4, s.R, s.D}, deviation(), device_),
                   learning_weight<Real>({4, s.O, s.R}, 0.02, device_), 2},
          nf4_(placed(nf4, device_)) {
        const Deal deal(std::vector<Index>(static_cast<std::size_t>(s.T), 2), shares({1, 1, 1, 1}, 2 * s.T));
        choice_ = placed(deal.experts(2, -1), device_);
    }

    std::vector<Job> jobs(const std::string& part) const {
        const double flops = 4.0 * static_cast<double>(shape_.T * shape_.D);
        std::vector<Job> all;
        const auto put = [&](const char* what, Index columns, auto forward) {
            all.push_back({part, what, flops * static_cast<double>(columns), 0, Against::product,
                           [this, forward] { both_ways(forward); }});
        };
        put("linear, frozen", shape_.O,
            [this](Tape& tape, const Var<Real>& x) { return linear(tape, x, Weight<Real>(w_)); });
        put("linear, LoRA", shape_.O, [this](Tape& tape, const Var<Real>& x) {
            return lora_linear(tape, x, Weight<Real>(w_), lora_, segments_);
        });
        put("linear, 4 LoRA experts, k=2", shape_.O, [this](Tape& tape, const Var<Real>& x) {
            return molora_linear(tape, x, Weight<Real>(w_), experts_, choice_, tape.input(weight_),
                                 segments_);
        });
        put("head and cross entropy", shape_.V, [this](Tape& tape, const Var<Real>& x) {
            return linear_cross_entropy(tape, x, Weight<Real>(head_), target_, row_);
        });
        const double bytes =
            static_cast<double>(nf4_.bytes()) + static_cast<double>(numbers_.size()) * sizeof(Real);
        all.push_back({part, "NF4 to numbers", 0, bytes, Against::copy, [this] {
                           nf4_slot.get<Real>(device_).dequantise(context_.stream(), nf4_.view(),
                                                                  numbers_.matrix());
                       }});
        return all;
    }

private:
    double deviation() const { return 1 / std::sqrt(static_cast<double>(shape_.D)); }
    /// 0 .. n - 1: every token is supervised.
    Tensor<std::int32_t> in_order(Index n) const {
        auto all = Tensor<std::int32_t>::zeros({n});
        for (Index i = 0; i < n; ++i) all.data()[i] = static_cast<std::int32_t>(i);
        return placed(all, device_);
    }

    template <class Forward>
    void both_ways(const Forward& forward) const {
        for (const auto* pair : {&lora_, &experts_}) {
            pair->A.gradient()->forget();
            pair->B.gradient()->forget();
        }
        Tape tape(context_);
        const auto y = forward(tape, tape.input(x_));
        start_backward(tape, y);
        tape.backward();
    }
    void start_backward(Tape& tape, const Var<Wide<Real>>& loss) const
        requires(!std::is_same_v<Real, Wide<Real>>) {
        seed(tape, loss, 0);
    }
    void start_backward(Tape& tape, const Var<Real>& y) const {
        if (y.shape() == dy_.shape()) {
            y.gradient()->adopt(dy_);
        } else {
            seed(tape, y, 0);
        }
    }

    Context& context_;
    Device device_ = context_.device();
    LinearShape shape_;
    Tensor<Real> w_, head_, x_, dy_, numbers_;
    Tensor<Wide<Real>> weight_;
    Tensor<std::int32_t> target_, row_, choice_;
    Segments segments_;
    LoraWeights<Real> lora_, experts_;
    Nf4Matrix nf4_;
};

}  // namespace moegrad::bench
