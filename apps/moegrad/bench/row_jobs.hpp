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
#include <moegrad/ops/seed.hpp>
#include <moegrad/ops/swiglu.hpp>
#include <moegrad/ops/total.hpp>
#include <moegrad/ops/zero_block.hpp>

#include "jobs.hpp"
#include "values.hpp"

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

    std::vector<Job> jobs(const std::string& part) const {
        std::vector<Job> all;
        const auto put = [&](const char* what, double bytes, std::function<void()> run) {
            all.push_back({part, fmt::format("{}, {}", what, name(number_of<Real>())), 0, bytes,
                           Against::copy, std::move(run)});
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

/// Of n numbers, a multiple of 4096: the update of as many weights, with a copy in bf16; what is float alone, and the casts of a GPU.
class FloatJobs {
public:
    FloatJobs(Context& context, Index n) : stream_(context.stream()), device_(context.device()) {
        const Shape rows{n / 4096, 4096};
        for (auto* x : {&w_, &g_, &m_}) *x = normal<float>(rows, 8, 1, device_);
        v_ = Tensor<float>::zeros(rows, device_);
        copy_ = Tensor<bf16>::zeros(rows, device_);
        list_ = AdamWList<float>({AdamWItem<float>(GradientUses<float>{g_}, w_, m_, v_, {}, copy_)}, device_);
        sum_ = Tensor<double>::zeros({1}, device_);
        context.scalars().learning_rate = 1e-4;
    }

    std::vector<Job> jobs(const std::string& part) const {
        std::vector<Job> all;
        const auto put = [&](const char* what, double bytes_each, std::function<void()> run) {
            const double bytes = bytes_each * static_cast<double>(w_.size());
            all.push_back({part, what, 0, bytes, Against::copy, std::move(run)});
        };
        // w, m, v read and written, g read and zeroed, the copy written.
        put("adamw", 34, [this] {
            adamw_slot.get<float>(device_).update_all(stream_, list_.table(), AfterUpdate::zero_gradients);
        });
        put("total", 4, [this] { total<float>(stream_, m_.flat(), sum_.view<1>(), Write::overwrite); });
        put("seed", 4, [this] { seed_slot.get<float>(device_).fill(stream_, 0, g_.flat()); });
        put("zero_block", 4, [this] { zero_block(stream_, g_, {0, g_.rows(), 0, g_.columns()}); });
        if (device_ == Device::cuda) add_casts(put);
        return all;
    }

private:
    template <class Put>
    void add_casts(const Put& put) const {
        const auto& cast = cast_slot.get<bf16>(device_);
        put("cast, bfloat16 to float32", 6,
            [this, &cast] { cast.widen(stream_, copy_.matrix(), g_.matrix(), Write::overwrite); });
        put("cast, float32 to bfloat16", 6,
            [this, &cast] { cast.narrow(stream_, w_.matrix(), copy_.matrix(), Write::overwrite); });
    }

    Stream stream_;
    Device device_;
    Tensor<float> w_, g_, m_, v_;
    Tensor<bf16> copy_;
    Tensor<double> sum_;
    AdamWList<float> list_;
};

}  // namespace moegrad::bench
