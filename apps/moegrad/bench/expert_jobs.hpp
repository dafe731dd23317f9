#pragma once
// The kernels of an expert layer with LoRA, one by one. Their work is that of the frozen products, 2 N D O for each; what
// LoRA adds inside a product is overhead.

#include "expert_layer.hpp"
#include "goals.hpp"
#include "jobs.hpp"

namespace moegrad::bench {

template <class Real>
class ExpertJobs {
public:
    ExpertJobs(Context& context, const LayerShape& shape, Index slots)
        : context_(context), layer_(shape, context.device()), tape_(context) {
        const auto [T, D, F, E, R] = shape;
        const Device device = context.device();
        const std::vector<Index> taken(static_cast<std::size_t>(T), slots);
        N_ = T * slots;
        const Deal deal(taken, shares(std::vector<double>(static_cast<std::size_t>(E), 1.0), N_));
        choice_ = deal.experts(slots, -1);
        plan_ = dispatch(tape_, placed(choice_, device), E);
        dy_ = normal<Real>({N_, D}, 21, 1, device);
        y_ = Tensor<Real>::zeros({N_, D}, device);
        z_ = normal<Real>({N_, 2 * F}, 22, 1, device);
        z_read_ = normal<Real>({N_, 2 * F}, 26, 1, device);
        h_ = normal<Real>({N_, F}, 23, 1, device);
        u_ = normal<Real>({N_, R}, 24, 1, device);
        du_ = Tensor<Real>::zeros({N_, R}, device);
        out_ = normal<Real>({T, D}, 25, 1, device);
        weight_ = normal<Wide<Real>>({T, slots}, 27, 1, device);
        d_weight_ = Tensor<Wide<Real>>::zeros({T, slots}, device);
    }

    /// [T, K], on the host.
    const Tensor<std::int32_t>& choice() const { return choice_; }

    std::vector<Job> jobs(const std::string& group) const {
        std::vector<Job> all;
        add_forward(group, all);
        add_backward(group, all);
        add_weights(group, all);
        add_rows(group, all);
        return all;
    }

private:
    double flops(Index O, Index D) const {
        return 2.0 * static_cast<double>(N_) * static_cast<double>(O) * static_cast<double>(D);
    }
    double row_bytes() const { return static_cast<double>(N_ * layer_.shape.D) * sizeof(Real); }
    static LowRank<Real> low(const Tensor<Real>& u, const Weight<Real>& w) {
        return {u.template view<2>(), w.template view<3>()};
    }

    void add_forward(const std::string& group, std::vector<Job>& all) const {
        const auto& g = grouped_linear_slot.get<Real>(device_);
        const auto& s = expert_swiglu_slot.get<Real>(device_);
        const DispatchView view(plan_);
        const Index D = layer_.shape.D, F = layer_.shape.F;
        all.push_back({group, "gate_up", flops(2 * F, D), 0, Against::product, [=, this, &g] {
                           g.multiply(stream_, layer_.x.template view<2>(), layer_.up.template view<3>(), {},
                                      view, RowSource::tokens, z_.template view<2>(), Write::overwrite);
                       }});
        all.push_back({group, "gate_up, LoRA, SwiGLU", flops(2 * F, D), 0, Against::product, [=, this, &s] {
                           s.forward(stream_, layer_.x.template view<2>(), layer_.up.template view<3>(),
                                     low(u_, layer_.up_lora.B), view, RowSource::tokens,
                                     z_.template view<2>(), h_.template view<2>());
                       }});
        all.push_back({group, "down, LoRA", flops(D, F), 0, Against::product, [=, this, &g] {
                           g.multiply(stream_, h_.template view<2>(), layer_.down.template view<3>(),
                                      low(u_, layer_.down_lora.B), view, RowSource::rows,
                                      y_.template view<2>(), Write::overwrite);
                       }});
    }

    void add_backward(const std::string& group, std::vector<Job>& all) const {
        const auto& g = grouped_linear_slot.get<Real>(device_);
        const auto& s = expert_swiglu_slot.get<Real>(device_);
        const DispatchView view(plan_);
        const Index D = layer_.shape.D, F = layer_.shape.F;
        for (const bool lora : {false, true}) {
            Job down{group,
                     lora ? names::kTrainedDownBack : names::kDownBack,
                     flops(D, F),
                     0,
                     Against::product,
                     [=, this, &s] {
                         s.backward(stream_, dy_.template view<2>(), layer_.down.template view<3>(),
                                    lora ? low(u_, layer_.down_lora.A) : LowRank<Real>(), view,
                                    z_.template view<2>(), h_.template view<2>());
                     }};
            down.before = [this] { copy_values(z_read_, z_); };  // dz has taken the place of z
            all.push_back(std::move(down));
        }
        all.push_back({group, "gate_up dX, LoRA", flops(2 * F, D), 0, Against::product, [=, this, &g] {
                           g.multiply_back(stream_, z_read_.template view<2>(), layer_.up.template view<3>(),
                                           low(u_, layer_.up_lora.A), view, y_.template view<2>(),
                                           Write::overwrite);
                       }});
    }

    /// Rank-R products: they read a long operand once, so their bytes are told too.
    void add_weights(const std::string& group, std::vector<Job>& all) const {
        const auto& g = grouped_linear_slot.get<Real>(device_);
        const DispatchView view(plan_);
        const auto [T, D, F, E, R] = layer_.shape;
        const double wide = static_cast<double>(N_ * 2 * F) * sizeof(Real);
        const auto &A = layer_.up_lora.A, &B = layer_.up_lora.B;
        all.push_back({group, "u = x A^T", flops(R, D), row_bytes(), Against::copy, [=, this, &g] {
                           g.project(stream_, layer_.x.template view<2>(), A.template view<3>(), view,
                                     RowSource::tokens, 2, u_.template view<2>());
                       }});
        all.push_back({group, "du = dz B", flops(R, 2 * F), wide, Against::copy, [=, this, &g] {
                           g.project_back(stream_, z_read_.template view<2>(), B.template view<3>(), view, 2,
                                          u_.template view<2>());
                       }});
        all.push_back({group, "dA", flops(R, D), row_bytes(), Against::copy, [=, this, &g] {
                           g.weight_gradient(stream_, u_.template view<2>(), layer_.x.template view<2>(),
                                             view, RowSource::tokens,
                                             A.gradient()->tensor().template view<3>(), Write::overwrite);
                       }});
        all.push_back({group, "dB", flops(R, 2 * F), wide, Against::copy, [=, this, &g] {
                           g.weight_gradient(stream_, z_read_.template view<2>(), u_.template view<2>(), view,
                                             RowSource::rows, B.gradient()->tensor().template view<3>(),
                                             Write::overwrite);
                       }});
        all.push_back(rank_gradients(group, "du and dB", z_read_, B));
        all.push_back(rank_gradients(group, "du and dB of down", dy_, layer_.down_lora.B));
    }

    /// Both at once: the bytes are those of one reading.
    Job rank_gradients(const std::string& group, const char* what, const Tensor<Real>& dy,
                       const Weight<Real>& B) const {
        const Index O = B.extent(1), R = B.extent(2);
        const double bytes = static_cast<double>(dy.size()) * sizeof(Real);
        return {group, what, 2 * flops(R, O), bytes, Against::copy, [=, this] {
                    const auto parts = rank_parts<Real>(context_, N_, B.extent(0), O, R);
                    grouped_linear_slot.get<Real>(device_).rank_gradients(
                        stream_, dy.template view<2>(), B.template view<3>(), u_.template view<2>(),
                        DispatchView(plan_), 2, view_or_none<1>(parts), du_.template view<2>(),
                        B.gradient()->tensor().template view<3>(), Write::overwrite);
                }};
    }

    void add_rows(const std::string& group, std::vector<Job>& all) const {
        const auto& g = grouped_linear_slot.get<Real>(device_);
        const auto& c = combine_slot.get<Real>(device_);
        const DispatchView view(plan_);
        const double tokens = static_cast<double>(out_.size()) * sizeof(Real);
        all.push_back({group, "sum of slots", 0, row_bytes() + tokens, Against::copy, [=, this, &g] {
                           g.sum_slots(stream_, y_.template view<2>(), view, out_.template view<2>(),
                                       Write::overwrite);
                       }});
        all.push_back({group, "combine", 0, row_bytes() + tokens, Against::copy, [=, this, &c] {
                           c.forward(stream_, y_.template view<2>(), weight_.template view<2>(),
                                     view.slot_row, {}, {}, out_.template view<2>());
                       }});
        all.push_back({group, "combine backward", 0, 2 * row_bytes() + tokens, Against::copy, [=, this, &c] {
                           c.backward_slots(stream_, y_.template view<2>(), weight_.template view<2>(),
                                            view.slot_row, layer_.dy.template view<2>(),
                                            dy_.template view<2>(), Write::overwrite,
                                            d_weight_.template view<2>(), Write::overwrite);
                       }});
    }

    Context& context_;
    ExpertLayer<Real> layer_;
    Tape tape_;
    Stream stream_ = context_.stream();
    Device device_ = context_.device();
    DispatchPlan plan_;
    Index N_ = 0;
    Tensor<std::int32_t> choice_;
    Tensor<Real> dy_, y_, z_, z_read_, h_, u_, du_, out_;
    Tensor<Wide<Real>> weight_, d_weight_;
};

}  // namespace moegrad::bench
