#pragma once
// Element-wise and row kernels: bytes that an op must read and write at least, against a copy.

#include <moegrad/ops/adamw.hpp>
#include <moegrad/ops/add.hpp>
#include <moegrad/ops/cast.hpp>
#include <moegrad/ops/concat.hpp>
#include <moegrad/ops/dropout.hpp>
#include <moegrad/ops/embedding.hpp>
#include <moegrad/ops/rms_norm.hpp>
#include <moegrad/ops/rope.hpp>
#include <moegrad/ops/swiglu.hpp>

#include <support/turns.hpp>
#include <support/values.hpp>

namespace moegrad::bench {

struct RowShape {
    Index T, D, F, V, head;
};

template <class Real>
class RowJobs {
public:
    RowJobs(Context& context, const RowShape& shape) : context_(context) {
        const auto [T, D, F, V, head] = shape;
        for (auto* x : {&a_, &b_, &y_}) *x = normal<Real>({T, D}, 1, 1, device_);
        for (auto* x : {&gate_, &up_, &h_, &d_gate_, &d_up_}) *x = normal<Real>({T / 2, F}, 2, 1, device_);
        both_ = Tensor<Real>::zeros({T, 2 * D}, device_);
        w_ = normal<Real>({D}, 3, 1, device_);
        table_ = normal<Real>({V, D}, 4, 1, device_);
        d_table_ = Tensor<Wide<Real>>::zeros({V, D}, device_);
        r_ = normal<Wide<Real>>({T}, 5, 1, device_);
        cos_ = normal<Wide<Real>>({T, head / 2}, 6, 1, device_);
        dw_ = Tensor<Wide<Real>>::zeros({D}, device_);
        id_ = integers(T, V, device_);
        position_ = integers(T, T, device_);
    }

    std::vector<Job> jobs(const std::string& group) const {
        std::vector<Job> all;
        const auto put = [&](const char* what, double bytes, std::function<void()> run) {
            all.push_back({group, what, 0, bytes, Against::copy, 0.4, std::move(run)});
        };
        add_element_wise(put);
        add_norms(put);
        add_positions(put);
        return all;
    }

private:
    static double bytes(const Tensor<Real>& t, int passes) {
        return static_cast<double>(t.size()) * sizeof(Real) * passes;
    }

    template <class Put>
    void add_element_wise(const Put& put) const {
        const auto& sum = add_slot.get<Real>(device_);
        const auto& product = swiglu_slot.get<Real>(device_);
        put("add", bytes(a_, 3),
            [this, &sum] { sum.forward(stream_, a_.matrix(), b_.matrix(), y_.matrix()); });
        put("add backward, accumulating", bytes(a_, 3),
            [this, &sum] { sum.backward(stream_, a_.matrix(), y_.matrix(), Write::accumulate); });
        put("concat, half of the columns", bytes(a_, 2), [this] {
            concat_slot.get<Real>(device_).copy(stream_, a_.matrix(), both_.columns(0, a_.extent(1)).matrix(),
                                                Write::overwrite);
        });
        put("swiglu", bytes(gate_, 3), [this, &product] {
            product.forward(stream_, gate_.matrix(), up_.matrix(), h_.matrix(), nullptr);
        });
        put("swiglu backward", bytes(gate_, 5), [this, &product] {
            product.backward(stream_, gate_.matrix(), up_.matrix(), h_.matrix(), d_gate_.matrix(),
                             Write::overwrite, d_up_.matrix(), Write::overwrite, nullptr);
        });
        put("dropout", bytes(a_, 2), [this] {
            dropout_slot.get<Real>(device_).apply(stream_, a_.matrix(),
                                                  {id_.template view<1>(), position_.template view<1>()},
                                                  {0.1, 3}, y_.matrix(), Write::overwrite);
        });
    }

    template <class Put>
    void add_norms(const Put& put) const {
        const auto& norm = rms_norm_slot.get<Real>(device_);
        put("rms_norm", bytes(a_, 2), [this, &norm] {
            norm.forward(stream_, a_.matrix(), w_.template view<1>(), y_.matrix(), r_.template view<1>(),
                         1e-5);
        });
        put("rms_norm backward, input", bytes(a_, 3), [this, &norm] {
            norm.backward_input(stream_, a_.matrix(), w_.template view<1>(), r_.template view<1>(),
                                b_.matrix(), y_.matrix(), Write::overwrite);
        });
        put("rms_norm backward, weight", bytes(a_, 2), [this, &norm] {
            const Index parts = (a_.extent(0) + kRmsNormRows - 1) / kRmsNormRows;
            const auto part = context_.make<Wide<Real>>({parts, a_.extent(1)});
            norm.backward_weight(stream_, a_.matrix(), r_.template view<1>(), b_.matrix(),
                                 dw_.template view<1>(), Write::overwrite, part.template view<2>());
        });
    }

    template <class Put>
    void add_positions(const Put& put) const {
        const auto& rows = embedding_slot.get<Real>(device_);
        put("rope", bytes(a_, 2), [this] {
            rope_slot.get<Real>(device_).rotate(stream_, a_.matrix(), cos_.matrix(), cos_.matrix(),
                                                position_.template view<1>(), y_.matrix(), Rotation::forward,
                                                Write::overwrite);
        });
        put("embedding", bytes(a_, 2),
            [this, &rows] { rows.forward(stream_, id_.template view<1>(), table_.matrix(), y_.matrix()); });
        const double gradient = static_cast<double>(d_table_.size()) * sizeof(Wide<Real>);
        put("embedding backward", bytes(a_, 1) + gradient, [this, &rows] {
            const Index T = a_.extent(0), windows = (T + kEmbeddingWindow - 1) / kEmbeddingWindow;
            const auto key = context_.make<std::int64_t>({2, T});
            const auto part = context_.make<Wide<Real>>({2 * windows, a_.extent(1)});
            rows.backward_weight(stream_, id_.template view<1>(), a_.matrix(), d_table_.matrix(),
                                 Write::overwrite, {key.template view<2>(), part.template view<2>()});
        });
    }

    Context& context_;
    Stream stream_ = context_.stream();
    Device device_ = context_.device();
    Tensor<Real> a_, b_, y_, both_, gate_, up_, h_, d_gate_, d_up_, w_, table_;
    Tensor<Wide<Real>> r_, cos_, dw_, d_table_;
    Tensor<std::int32_t> id_, position_;
};

/// The update of n weights in float with a copy in bf16: 34 bytes each (w, m, v read and written, g read and zeroed).
class UpdateJob {
public:
    UpdateJob(Context& context, Index n) : context_(context) {
        const Device device = context.device();
        for (auto* x : {&w_, &g_, &m_}) *x = normal<float>({n}, 8, 1, device);
        v_ = Tensor<float>::zeros({n}, device);
        copy_ = Tensor<bf16>::zeros({n}, device);
        list_ = AdamWList<float>({AdamWItem<float>(GradientUses<float>{g_}, w_, m_, v_, {}, copy_)}, device);
        context.scalars().learning_rate = 1e-4;
    }
    Job job(const std::string& group) const {
        return {group, "adamw", 0, 34.0 * static_cast<double>(w_.size()), Against::copy, 0.4, [this] {
                    adamw_slot.get<float>(context_.device())
                        .update_all(context_.stream(), list_.table(), AfterUpdate::zero_gradients);
                }};
    }

private:
    Context& context_;
    Tensor<float> w_, g_, m_, v_;
    Tensor<bf16> copy_;
    AdamWList<float> list_;
};

}  // namespace moegrad::bench
