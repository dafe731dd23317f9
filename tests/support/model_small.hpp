#pragma once
// Small models and ragged data for training tests, and the hash that says whether two runs ended in the same
// bits.

#include <memory>
#include <vector>

#include <moegrad/core/philox.hpp>
#include <moegrad/train/model_files.hpp>
#include <moegrad/train/trainer.hpp>

namespace moegrad::test {

inline ModelConfig small_config(ModelFamily family, Index D = 16, Index F = 24) {
    ModelConfig config = family_defaults(family);
    config.hidden_size = D;
    config.intermediate_size = F;
    config.num_hidden_layers = 2;
    config.num_attention_heads = 4;
    config.num_key_value_heads = 2;
    config.head_dim = D / 4;
    config.vocab_size = 48;
    config.sliding_window = std::nullopt;
    config.initializer_range = 0.15;  // large enough that routers have opinions
    if (config.is_mixture()) {
        config.num_local_experts = 4;
        config.num_experts_per_tok = 2;
    }
    validate(config);
    return config;
}

template <class Real>
std::unique_ptr<Decoder<Real>> small_model(const ModelConfig& config, std::uint64_t seed = 11) {
    auto model = make_model<Real>(config);
    model->initialize(seed);
    return model;
}

/// Samples of `shortest` to `longest` tokens in which an id mostly follows from the one before it; every third
/// sample supervises only its second half, as instruction data does.
inline Dataset ragged_samples(std::size_t count, Index vocabulary, Index shortest = 3, Index longest = 33,
                              std::uint64_t seed = 5) {
    Random random(seed);
    Dataset data;
    const auto below = [&](Index bound) {
        return static_cast<Index>(random.next_below(static_cast<std::uint64_t>(bound)));
    };
    for (std::size_t i = 0; i < count; ++i) {
        const Index length = shortest + below(longest - shortest + 1);
        std::vector<std::int32_t> token{static_cast<std::int32_t>(below(vocabulary))};
        while (static_cast<Index>(token.size()) < length) {
            const Index next = below(8) == 0 ? below(vocabulary) : (token.back() * 5 + 3) % vocabulary;
            token.push_back(static_cast<std::int32_t>(next));
        }
        data.push_back(language_sample(std::move(token)));
        if (i % 3 == 2) std::fill_n(data.back().target.begin(), length / 2, kIgnoreTarget);
    }
    return data;
}

/// FNV-1a over the bytes of the values, parameter after parameter.
template <class Real>
std::uint64_t hash_of(const std::vector<Parameter<Real>*>& parameters) {
    std::uint64_t hash = 0xcbf29ce484222325ull;
    for (const auto* parameter : parameters) {
        for (const std::byte byte : std::as_bytes(parameter->value().values())) {
            hash = (hash ^ static_cast<std::uint64_t>(byte)) * 0x100000001b3ull;
        }
    }
    return hash;
}

/// All values of all parameters, to look at how far two runs lie apart or whether one was left alone.
template <class Real>
std::vector<Real> values_of(const std::vector<Parameter<Real>*>& parameters) {
    std::vector<Real> all;
    for (const auto* parameter : parameters) {
        all.insert(all.end(), parameter->value().values().begin(), parameter->value().values().end());
    }
    return all;
}

}  // namespace moegrad::test
