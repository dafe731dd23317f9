#pragma once
// Attention of B sequences of S tokens, causal: 2 B H S^2 head flops forward, 2.5 times that backward.

#include <moegrad/ops/attention.hpp>

#include "jobs.hpp"
#include "values.hpp"

namespace moegrad::bench {

struct AttentionShape {
    Index B, S, H, Hkv, head;
};

template <class Real>
class AttentionJobs {
public:
    AttentionJobs(Context& context, const AttentionShape& shape) : stream_(context.stream()), shape_(shape) {
        const Device device = context.device();
        const auto [B, S, H, Hkv, head] = shape;
        const Index T = B * S;
        const std::vector<Index> lengths(static_cast<std::size_t>(B), S);
        segments_ = placed(Segments::of_lengths(std::span<const Index>(lengths)), device);
        q_ = normal<Real>({T, H * head}, 31, 1, device);
        k_ = normal<Real>({T, Hkv * head}, 32, 1, device);
        v_ = normal<Real>({T, Hkv * head}, 33, 1, device);
        dy_ = normal<Real>({T, H * head}, 34, 1, device);
        for (auto* t : {&y_, &dq_}) *t = Tensor<Real>::zeros({T, H * head}, device);
        for (auto* t : {&dk_, &dv_}) *t = Tensor<Real>::zeros({T, Hkv * head}, device);
        lse_ = Tensor<Wide<Real>>::zeros({T, H}, device);
        room_ = Tensor<Wide<Real>>::zeros(attention_room(T, H), device);
        options_ = detail::check_attention(q_.shape(), k_.shape(), v_.shape(), T, {H, Hkv, head});
    }

    std::vector<Job> jobs() const {
        const auto& kernels = attention_slot.get<Real>(stream_.device());
        const AttentionRows rows = detail::attention_rows(segments_);
        const auto square = static_cast<double>(shape_.S) * static_cast<double>(shape_.S);
        const double flops = 2.0 * static_cast<double>(shape_.B * shape_.H * shape_.head) * square;
        const auto gradient = [](const Tensor<Real>& t) {
            return AttentionGradient<Real>{t.template view<2>(), Write::overwrite, true};
        };
        const std::string name = fmt::format("{}x{}", shape_.B, shape_.S);
        const auto forward = [=, this, &kernels] {
            kernels.forward(stream_, q_.template view<2>(), k_.template view<2>(), v_.template view<2>(),
                            rows, y_.template view<2>(), lse_.template view<2>(), options_);
        };
        const auto backward = [=, this, &kernels] {
            kernels.backward(stream_, q_.template view<2>(), k_.template view<2>(), v_.template view<2>(),
                             rows, y_.template view<2>(), lse_.template view<2>(), dy_.template view<2>(),
                             room_.template view<3>(), gradient(dq_), gradient(dk_), gradient(dv_), options_);
        };
        return {{"attention", name + " forward", flops, 0, Against::product, forward},
                {"attention", name + " backward", 2.5 * flops, 0, Against::product, backward}};
    }

private:
    Stream stream_;
    AttentionShape shape_;
    Segments segments_;
    AttentionOptions options_;
    Tensor<Real> q_, k_, v_, dy_, y_, dq_, dk_, dv_;
    Tensor<Wide<Real>> lse_, room_;
};

}  // namespace moegrad::bench
