#pragma once
// SharedReading: RouteInput::x of a router over LoRA experts on a GPU. The first product of the router with a weight (a Gate,
// wide_linear) is made in the experts' own reading of x (ops/molora_joint.hpp); a router that makes none, or makes it on
// a tape of its own, and every further product, read x as they always did.

#include <memory>
#include <utility>

#include <moegrad/ops/molora_joint.hpp>

namespace moegrad {

template <class Real>
class SharedReading final : public SharedInput<Real> {
public:
    SharedReading(Tape& tape, const Var<Real>& x, const LoraWeights<Real>& experts)
        : SharedInput<Real>(tape, x), A_(experts.A), scale_(experts.scale) {}

    Var<Wide<Real>> product(Tape& tape, const Var<Wide<Real>>& w) override {
        if (&tape != this->tape_ || reading_.shared) return {};
        reading_ = read_joint<Real>(tape, this->source(), A_, w, scale_);
        return std::exchange(reading_.z, {});
    }
    /// What the router's product read; without `shared` where there was none.
    JointReading<Real> take() { return std::exchange(reading_, {}); }

private:
    Weight<Real> A_;
    double scale_;
    JointReading<Real> reading_;
};

/// u of all experts costs what u of a few chosen ones does as long as memory, not the tensor cores, takes the time.
inline constexpr Index kMostSharedRanks = 256;

/// Null where experts and router read x apart: on a CPU, in float, where the experts drop x, and where they are many.
template <class Real>
std::shared_ptr<SharedReading<Real>> share_reading(Tape& tape, const Var<Real>& x,
                                                   const LoraWeights<Real>& experts,
                                                   const Segments& segments) {
    if constexpr (std::is_same_v<Real, bf16>) {
        if (tape.context().target() == Device::cuda && x.shape().rank() == 2 &&
            experts.A.extent(0) * experts.A.extent(1) <= kMostSharedRanks &&
            active_dropout(tape, experts.dropout, segments, x.extent(0)).rate == 0)
            return std::make_shared<SharedReading<Real>>(tape, x, experts);
    }
    return nullptr;
}

}  // namespace moegrad
