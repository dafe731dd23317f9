#pragma once
// Tiny models of random weights for the method tests, their logits, and the objective of a training step with its
// gradients and central differences.

#include "support/routing_golden.hpp"

#include <moegrad/methods/attach.hpp>
#include <moegrad/models/llama.hpp>
#include <moegrad/models/mixtral.hpp>

#include <cstdio>
#include <cstdlib>
#include <filesystem>

namespace moegrad::test {

inline ModelConfig tiny_config(ModelFamily family, Index experts = 8) {
    auto config = family_defaults(family);
    config.hidden_size = 16;
    config.intermediate_size = 12;
    config.num_hidden_layers = 2;
    config.num_attention_heads = 2;
    config.num_key_value_heads = 1;
    config.head_dim = 8;
    config.vocab_size = 40;
    config.initializer_range = 0.3;
    if (family == ModelFamily::mixtral) {
        config.num_local_experts = experts;
        config.num_experts_per_tok = 2;
    }
    return config;
}

/// The layers of Llama-2-7B over few tokens: for counts of parameters, under Planning.
inline ModelConfig llama_2_7b_layers() {
    auto config = family_defaults(ModelFamily::llama);
    config.hidden_size = 4096;
    config.intermediate_size = 11008;
    config.num_hidden_layers = 32;
    config.num_attention_heads = config.num_key_value_heads = 32;
    config.head_dim = 128;
    config.vocab_size = 64;
    return config;
}

/// Both start from the same weights for the same seed, in every number type up to rounding.
template <class Real>
Mixtral<Real> tiny_mixtral(Index experts = 8, std::uint64_t seed = 1) {
    Mixtral<Real> model(tiny_config(ModelFamily::mixtral, experts));
    model.initialize(seed);
    return model;
}
template <class Real>
Llama<Real> tiny_llama(std::uint64_t seed = 1) {
    Llama<Real> model(tiny_config(ModelFamily::llama));
    model.initialize(seed);
    return model;
}

struct TokenBatch {
    Tensor<std::int32_t> token, target;
    Segments segments;
};

inline TokenBatch random_tokens(const std::vector<Index>& lengths, Index vocabulary, std::uint64_t seed) {
    TokenBatch batch;
    batch.segments = Segments::of_lengths(lengths);
    const Index T = batch.segments.tokens();
    batch.token = Tensor<std::int32_t>::zeros({T});
    batch.target = Tensor<std::int32_t>::zeros({T});
    Random random(seed);
    for (Index t = 0; t < T; ++t) {
        batch.token.data()[t] =
            static_cast<std::int32_t>(random.next_below(static_cast<std::uint64_t>(vocabulary)));
        batch.target.data()[t] =
            static_cast<std::int32_t>(random.next_below(static_cast<std::uint64_t>(vocabulary)));
    }
    return batch;
}

template <class Real>
Tensor<Real> model_logits(Decoder<Real>& model, const TokenBatch& batch, RoutingTotals* totals = nullptr) {
    Tape tape(routing_context(), Mode::inference);
    Forward<Real> forward{tape, batch.token, batch.segments};
    const auto logits = copy_of(model.logits(forward, model.hidden(forward)).value());
    for (const auto& record : forward.routings) {
        if (totals) totals->add(record.routing.stats);
    }
    return logits;
}

/// The objective of a step: mean cross entropy + coefficient * sum of the balance losses.
class Objective {
public:
    Objective(Decoder<double>& model, TokenBatch batch, double coefficient)
        : model_(model), batch_(std::move(batch)), coefficient_(coefficient) {
        Tape tape(routing_context(), Mode::inference);
        tape.set_selections(&held_);
        run(tape);
    }

    /// By the tape, with the selection of the start.
    void backward() {
        for (auto* parameter : trainable_parameters(model_)) parameter->forget_gradients();
        auto& scalars = routing_context().scalars();
        scalars.coefficient[0] = 1.0 / static_cast<double>(batch_.token.size());
        scalars.coefficient[1] = coefficient_;
        Tape tape(routing_context());
        held_.rewind();
        tape.set_selections(&held_);
        const std::vector<std::string> names{"balance"};
        Forward<double> forward{tape, batch_.token, batch_.segments, {}, &names};
        const auto nll = model_.loss(forward, model_.hidden(forward), batch_.target);
        seed(tape, nll, 0);
        if (coefficient_ != 0) seed_penalties(forward);
        tape.backward();
    }

    double value() {
        Tape tape(routing_context(), Mode::inference);
        held_.rewind();
        tape.set_selections(&held_);
        return run(tape);
    }

    /// The central difference in one number.
    double numeric(double& number) {
        constexpr double h = 1e-5;
        const double kept = number;
        number = kept + h;
        const double above = value();
        number = kept - h;
        const double below = value();
        number = kept;
        return (above - below) / (2 * h);
    }

    /// The largest |tape - numeric| over (1e-7 + 1e-6 |numeric|), over every `stride`-th number that trains.
    double worst(std::size_t stride) {
        backward();
        double worst = 0;
        for (auto* parameter : trainable_parameters(model_)) {
            const auto gradient = total_gradient(*parameter);
            for (std::size_t i = 0; i < gradient.values().size(); i += stride) {
                const double expected = numeric(parameter->value().values()[i]);
                const double difference = std::abs(gradient.values()[i] - expected);
                worst = std::max(worst, difference / (1e-7 + 1e-6 * std::abs(expected)));
            }
        }
        return worst;
    }

private:
    double run(Tape& tape) {
        Forward<double> forward{tape, batch_.token, batch_.segments};
        const auto nll = model_.loss(forward, model_.hidden(forward), batch_.target);
        double sum = 0, balance = 0;
        for (double value : nll.value().values()) sum += value;
        for (const auto& record : forward.routings) {
            for (const auto& penalty : record.routing.penalties) {
                if (penalty.name != "balance") continue;
                for (double value : penalty.value.value().values()) balance += value;
            }
        }
        return sum / static_cast<double>(batch_.token.size()) + coefficient_ * balance;
    }

    Decoder<double>& model_;
    TokenBatch batch_;
    double coefficient_;
    Selections held_;
};

/// A parameter of the adapter by the end of its name.
template <class Real>
Parameter<Real>& parameter_named(Decoder<Real>& model, const std::string& ending) {
    for (auto* parameter : trainable_parameters(model)) {
        if (parameter->name().ends_with(ending)) return *parameter;
    }
    throw Error{ErrorCode::state, "trainable parameters", "one that ends in " + ending, "none"};
}

/// Every trainable number moved a little, so that nothing (B of a LoRA, a main router) is at its zero start.
inline void disturb(Decoder<double>& model, double deviation, std::uint64_t seed) {
    Random random(seed, 5);
    for (auto* parameter : trainable_parameters(model)) {
        for (double& value : parameter->value().values()) value += deviation * random.next_normal();
    }
}

/// A real input below MOEGRAD_SHARED (default: beside the tree); empty when absent. Says what it found.
inline std::string shared_input(const std::string& name) {
    const char* root = std::getenv("MOEGRAD_SHARED");
    const std::string path =
        (root ? std::string(root) : std::string(MOEGRAD_SOURCE_DIR "/../shared")) + "/" + name;
    const bool present = std::filesystem::exists(path);
    std::printf("[inputs] %d present, %d absent: %s\n", present, !present, present ? "none" : name.c_str());
    return present ? path : std::string();
}

}  // namespace moegrad::test
