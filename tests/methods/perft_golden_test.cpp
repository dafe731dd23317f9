// PERFT: parameter counts as the reference has them, on the shapes of OLMoE-1B-7B and Mixtral-8x7B.

#include <moegrad/methods/attach.hpp>
#include <moegrad/methods/perft.hpp>
#include <moegrad/models/mixtral.hpp>

#include <doctest/doctest.h>

using namespace moegrad;

namespace {

AdapterSpec perft_counted(const std::string& method, Index r, const std::string& options = "") {
    AdapterSpec spec;
    spec.set_method(method);
    spec.options = options;
    spec.targets = {};
    spec.lora = {.rank = r, .alpha = 2.0 * static_cast<double>(r)};
    return spec;
}

/// Of the shapes of section 18 of the reference; nothing is computed.
ModelConfig perft_shape(Index layers, Index D, Index E, Index heads, Index kv_heads) {
    auto config = family_defaults(ModelFamily::mixtral);
    config.hidden_size = D;
    config.intermediate_size = 64;  // of the base's experts: nothing of PERFT looks at it
    config.num_hidden_layers = layers;
    config.num_attention_heads = heads;
    config.num_key_value_heads = kv_heads;
    config.head_dim = D / heads;
    config.vocab_size = 64;
    config.num_local_experts = E;
    config.num_experts_per_tok = 2;
    return config;
}
const ModelConfig kPerftOlmoe = perft_shape(16, 2048, 64, 16, 16);
const ModelConfig kPerftMixtral = perft_shape(32, 4096, 8, 32, 8);

Index perft_count(const ModelConfig& shape, const AdapterSpec& spec) {
    const Planning planning;
    Mixtral<float> model(shape);
    attach(model, spec);
    Index count = 0;
    for (auto* parameter : trainable_parameters(model)) count += parameter->size();
    return count;
}

}  // namespace

TEST_CASE("perft golden: parameter counts of the reference's table, section 18") {
    const auto r = [](Index N, Index rank) {
        return perft_counted("perft_r", rank, format("experts={}, top_k=1", N));
    };
    CHECK(perft_count(kPerftOlmoe, r(2, 4)) == 589824);
    CHECK(perft_count(kPerftOlmoe, r(4, 4)) == 1179648);
    CHECK(perft_count(kPerftOlmoe, r(4, 16)) == 4325376);
    CHECK(perft_count(kPerftOlmoe, r(8, 32)) == 17039360);
    CHECK(perft_count(kPerftMixtral, r(2, 8)) == 4456448);
    CHECK(perft_count(kPerftMixtral, r(8, 8)) == 17825792);
    const std::pair<Index, Index> embedded[] = {
        {4, 16777216}, {8, 33554432}, {16, 67108864}, {32, 134217728}};
    for (const auto& [rank, count] : embedded) {
        CHECK(perft_count(kPerftOlmoe, perft_counted("perft_e", rank)) == count);
        CHECK(perft_count(kPerftOlmoe, perft_counted("perft_e", rank, "expert=adapter")) == count);
    }
    CHECK(perft_count(kPerftMixtral, perft_counted("perft_e", 8)) == 16777216);
    CHECK(perft_count(kPerftOlmoe, perft_counted("perft_s", 4)) == 262144);
    CHECK(perft_count(kPerftOlmoe, perft_counted("perft_s", 16)) == 1048576);
    CHECK(perft_count(kPerftMixtral, perft_counted("perft_s", 8)) == 2097152);
    CHECK(perft_count(kPerftMixtral, perft_counted("perft_d", 8, "experts=4")) == 4 * 2097152);
    AdapterSpec baseline{.lora = {.rank = 8}, .targets = {"q_proj", "v_proj"}};
    CHECK(perft_count(kPerftOlmoe, baseline) == 1048576);
    CHECK(perft_count(kPerftMixtral, baseline) == 3407872);
}
