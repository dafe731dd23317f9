#pragma once
// One mixture block: router, dispatch, experts with LoRA or frozen, combine; forward, and forward with backward. The work
// counted is that of the frozen products, 2 T K 3 D F forward and as much back to the input.

#include <moegrad/routing/top_k_router.hpp>

#include "expert_layer.hpp"
#include "goals.hpp"

namespace moegrad::bench {

template <class Real>
class BlockJobs {
public:
    BlockJobs(Context& context, const LayerShape& shape, Index slots)
        : context_(context),
          layer_(shape, context.device()),
          router_(top_k(shape, slots, context.device())),
          segments_(placed(Segments::of_lengths({shape.T}), context.device())),
          forward_flops_(6.0 * static_cast<double>(shape.T * slots) *
                         static_cast<double>(shape.D * shape.F)) {}

    double forward_flops() const { return forward_flops_; }
    /// [T, K], on the host.
    Tensor<std::int32_t> choice() { return layer_.choice(context_, router_, segments_); }

    std::vector<Job> jobs(const std::string& part) {
        return {job(part, "LoRA, forward", true, false), job(part, names::kLora, true, true),
                job(part, "frozen, forward", false, false), job(part, names::kFrozen, false, true)};
    }

private:
    static AnyRouter<Wide<Real>> top_k(const LayerShape& shape, Index slots, Device device) {
        auto gate = std::make_shared<Parameter<Wide<Real>>>("gate", Shape{shape.E, shape.D});
        fill_normal(gate->value(), 1 / std::sqrt(static_cast<double>(shape.D)), 31, 0);
        gate->move_to(device);
        return AnyRouter<Wide<Real>>(TopKRouter<Wide<Real>>{.gate = Gate<Wide<Real>>(gate), .k = slots});
    }
    Job job(const std::string& part, const char* what, bool lora, bool backward) {
        const double flops = backward ? 2 * forward_flops_ : forward_flops_;
        return {part, what, flops, 0, Against::product, [this, lora, backward] {
                    layer_.block(context_, router_, segments_, lora, backward);
                }};
    }

    Context& context_;
    ExpertLayer<Real> layer_;
    AnyRouter<Wide<Real>> router_;
    Segments segments_;
    double forward_flops_;
};

}  // namespace moegrad::bench
