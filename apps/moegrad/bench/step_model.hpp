#pragma once
// Training steps of a model that is made in memory: random weights, random tokens, the trainer as `train` uses it.

#include <numeric>
#include <utility>

#include <moegrad/eval/flops.hpp>
#include <moegrad/methods/all.hpp>
#include <moegrad/methods/builtin_routers.hpp>
#include <moegrad/models/quantised.hpp>
#include <moegrad/train/memory_plan.hpp>
#include <moegrad/train/run_config_keys.hpp>

#include "values.hpp"

namespace moegrad::bench {

/// Keys of a RunConfig and what they are set to.
using Settings = std::vector<std::pair<std::string, std::string>>;

struct StepShape {
    ModelConfig model;
    Index sequences = 8, length = 512;
    Quantisation quantise = Quantisation::none;
    double trained_experts = 0;  // share of the experts' rows whose weights train in full

    Index tokens() const { return sequences * length; }
    /// Forward, and as much back to the inputs; `load`: experts a token takes. Adapters are not counted.
    double flops(double load) const {
        const double keys = keys_seen(length) / static_cast<double>(length);
        const double experts = 6 * static_cast<double>(model.num_hidden_layers * model.hidden_size) *
                               static_cast<double>(model.intermediate_size) * load;
        return static_cast<double>(tokens()) *
               (2 * forward_flops(model, keys, load) + experts * trained_experts);
    }
};

inline ModelConfig decoder_shape(ModelFamily family, Index layers, Index D, Index F, Index heads,
                                 Index kv_heads, Index V) {
    ModelConfig config = family_defaults(family);
    config.hidden_size = D;
    config.intermediate_size = F;
    config.num_hidden_layers = layers;
    config.num_attention_heads = heads;
    config.num_key_value_heads = kv_heads;
    config.head_dim = D / heads;
    config.vocab_size = V;
    config.max_position_embeddings = 4096;
    if (family == ModelFamily::mixtral) {
        config.num_local_experts = 8;
        config.num_experts_per_tok = 2;
    }
    validate(config);
    return config;
}

/// Weights as a checkpoint would bring them: norms 1, all else normal with the family's deviation.
template <class Real>
std::unique_ptr<Decoder<Real>> random_model(const StepShape& shape, Device device) {
    auto model = make_model<Real>(shape.model);
    const double deviation = shape.model.initializer_range;
    const bool nf4 = shape.quantise == Quantisation::nf4;
    const auto narrow = nf4 ? quantisable_parameters(*model) : std::vector<Parameter<Wide<Real>>*>();
    const Nf4Matrix some = nf4 ? some_nf4(deviation) : Nf4Matrix();
    std::uint64_t seed = 100;
    for (auto* parameter : model->base_parameters()) {
        ++seed;
        if (std::find(narrow.begin(), narrow.end(), parameter) != narrow.end()) {
            parameter->set_quantised(placed(repeated(some, parameter->shape()), device));
            continue;
        }
        parameter->clear_on(device);
        visit_values<Real>(*parameter, [&]<class T>(const Tensor<T>& values) {
            if (values.shape().rank() > 1) return fill_normal_block(values, seed, deviation);
            auto ones = Tensor<T>::zeros(values.shape());
            std::fill(ones.values().begin(), ones.values().end(), static_cast<T>(1.0f));
            copy_values(ones, values);
        });
    }
    return model;
}

template <class Real>
class StepModel {
public:
    StepModel(Context& context, const StepShape& shape, const Settings& settings)
        : shape_(shape), config_(configured(shape, settings)), data_(random_samples(shape)) {
        const AdapterSpec spec = config_.adapter_for(shape.model);
        step_memory_ = planned(spec, context.device());
        model_ = random_model<Real>(shape, context.device());
        attach(*model_, spec);
        move_to(*model_, context.device());
        coefficients_ = PenaltyCoefficients(config_, *model_).at(0);
        TrainerOptions options;
        options.adamw.weight_decay = 0.01;
        options.clip = 0;
        options.micro_batch = shape.sequences;
        trainer_.emplace(context, *model_, penalty_names(*model_), options);
    }

    /// What the plan of a run says; 0 where a router cannot be planned.
    std::size_t step_memory() const { return step_memory_; }

    /// Begun ahead of its results, as far as the trainer lets it.
    void step() {
        if (trainer_->in_flight() == trainer_->depth()) finish();
        trainer_->begin_step(data_, {picks(begun_++)}, 1e-4, coefficients_);
    }

    /// Of a step, by the experts that tokens took in all steps so far.
    double flops() {
        while (trainer_->in_flight() > 0) finish();
        if (!shape_.model.is_mixture()) return shape_.flops(1);
        return shape_.flops(loads_ > 0 ? load_ / loads_
                                       : static_cast<double>(shape_.model.num_experts_per_tok));
    }

private:
    static constexpr Index kBatches = 4;

    static RunConfig configured(const StepShape& shape, const Settings& settings) {
        RunConfig config;
        config.quantise = shape.quantise;
        config.batch = shape.sequences;
        config.max_length = shape.length;
        for (const auto& [key, value] : settings) set_config(config, key, value, "bench");
        return config;
    }
    static Dataset random_samples(const StepShape& shape) {
        const Index n = kBatches * shape.tokens();
        const auto id = integers(n, shape.model.vocab_size, Device::cpu);
        Dataset data;
        for (Index begin = 0; begin < n; begin += shape.length) {
            data.push_back(language_sample({id.data() + begin, id.data() + begin + shape.length}));
            data.back().task = 0;
        }
        return data;
    }
    std::vector<std::int32_t> picks(Index step) const {
        std::vector<std::int32_t> all(static_cast<std::size_t>(shape_.sequences));
        std::iota(all.begin(), all.end(), static_cast<std::int32_t>(step % kBatches * shape_.sequences));
        return all;
    }

    std::size_t planned(const AdapterSpec& spec, Device device) const {
        const auto build = [&] {
            auto model = make_model<Real>(shape_.model);
            if (shape_.quantise == Quantisation::nf4) reserve_quantised(*model);
            attach(*model, spec);
            return model;
        };
        try {
            return plan_memory<Real>(build, data_, {picks(0)}, {}, device).step;
        } catch (const Error& error) {
            if (error.code == ErrorCode::memory) throw;
            return 0;
        }
    }

    void finish() {
        const StepReport report = *trainer_->finish_step();
        for (const auto& [name, totals] :
             report.routers) {  // those of the mixture, not of what stands beside it
            if (!name.ends_with(".mlp")) continue;
            load_ += totals.load();
            loads_ += 1;
        }
    }

    StepShape shape_;
    RunConfig config_;
    Dataset data_;
    std::size_t step_memory_ = 0;
    std::unique_ptr<Decoder<Real>> model_;
    std::map<std::string, double> coefficients_;
    std::optional<Trainer<Real>> trainer_;
    Index begun_ = 0;
    double load_ = 0, loads_ = 0;
};

}  // namespace moegrad::bench
