#pragma once
// PretrainConfig: what a pretraining run can be told, and the table of its keys. Model keys are those of config.json,
// but for the short ones: layers, heads, kv_heads, experts, top_k.

#include <string>

#include <moegrad/core/model_config.hpp>
#include <moegrad/data/world.hpp>
#include <moegrad/ops/adamw.hpp>
#include <moegrad/train/config_table.hpp>
#include <moegrad/train/schedule.hpp>

namespace moegrad {

struct PretrainConfig {
    std::string family = "mixtral";
    Index hidden_size = 64, intermediate_size = 64, layers = 4, heads = 2, kv_heads = 2;
    Index experts = 8, top_k = 2;
    bool tied = false;
    double rope_theta = 1e4, initializer_range = 0.06, embedding_range = 0.2;
    std::string text, tokenizer;  // empty: the small world and its tokenizer
    std::string mix, folder;      // sources of data/mix.hpp, and where their files are
    double holdout = 0.05;        // of a text
    Index max_length = 80;
    WorldOptions world{};
    double balance = 0.01;  // coefficient of the Switch load balance of a mixture
    AdamWOptions adamw{.beta2 = 0.98, .weight_decay = 0.01};
    double clip = 1.0;
    LearningRate rate{.peak = 6e-3, .warmup = 100, .shape = LearningRate::Shape::cosine, .floor = 0.02};
    std::string shape = "cosine";
    Index steps = 3000, batch = 32, micro_batch = 0;
    std::uint64_t seed = 0;
    int threads = 0;
    std::string device = "cpu", dtype = "float32";
    bool graphs = true;  // on a GPU: steps are recorded once and replayed
    Index eval_documents = 400, eval_every = 0, log_every = 100;
    Index checkpoint_every = 0, checkpoint_keep = 2;
    std::string stored = "bfloat16";
    std::string output = "runs/pretrain";

    Device place() const { return device == "cuda" ? Device::cuda : Device::cpu; }
    Number number() const { return dtype == "bfloat16" ? Number::bfloat16 : Number::float32; }

    /// The model for a vocabulary of this size.
    ModelConfig model(Index vocabulary) const {
        ModelConfig config = family_defaults(family == "mixtral" ? ModelFamily::mixtral : ModelFamily::llama);
        config.hidden_size = hidden_size;
        config.intermediate_size = intermediate_size;
        config.num_hidden_layers = layers;
        config.num_attention_heads = heads;
        config.num_key_value_heads = kv_heads;
        config.head_dim = heads > 0 ? hidden_size / heads : 0;
        config.vocab_size = vocabulary;
        config.max_position_embeddings = 1024;
        config.rope.theta = rope_theta;
        config.tie_word_embeddings = tied;
        config.initializer_range = initializer_range;
        if (config.is_mixture()) {
            config.num_local_experts = experts;
            config.num_experts_per_tok = top_k;
            config.router_aux_loss_coef = balance;
        }
        validate(config);
        if (config.head_dim * heads != hidden_size) {
            throw Error{ErrorCode::config, "model.hidden_size",
                        format("a multiple of model.heads = {}", heads), format("{}", hidden_size)};
        }
        return config;
    }
};

inline const ConfigTable<PretrainConfig>& pretrain_table() {
    using C = PretrainConfig;
    static const ConfigTable<C> table(
        "pretrain",
        {
            {"model.family", "mixtral or llama", [](C& c) { return &c.family; }, {"mixtral", "llama"}},
            {"model.hidden_size", "D", [](C& c) { return &c.hidden_size; }},
            {"model.intermediate_size", "F, of one expert in a mixture",
             [](C& c) { return &c.intermediate_size; }},
            {"model.layers", "decoder layers", [](C& c) { return &c.layers; }},
            {"model.heads", "attention heads", [](C& c) { return &c.heads; }},
            {"model.kv_heads", "key and value heads", [](C& c) { return &c.kv_heads; }},
            {"model.experts", "E of a mixture", [](C& c) { return &c.experts; }},
            {"model.top_k", "experts per token of a mixture", [](C& c) { return &c.top_k; }},
            {"model.tied", "the embedding is the output matrix too", [](C& c) { return &c.tied; }},
            {"model.rope_theta", "base of the rotary frequencies", [](C& c) { return &c.rope_theta; }},
            {"model.initializer_range", "standard deviation of the start",
             [](C& c) { return &c.initializer_range; }},
            {"model.embedding_range", "the same of the embedding, where it is not tied",
             [](C& c) { return &c.embedding_range; }},
            {"data.text", "text file to train on; empty: the small world", [](C& c) { return &c.text; }},
            {"data.mix", "instead: sources, each a domain, its share, and files, or none for the small world",
             [](C& c) { return &c.mix; }},
            {"data.folder", "where the files of data.mix are", [](C& c) { return &c.folder; }},
            {"data.tokenizer", "folder of the text's tokenizer.json", [](C& c) { return &c.tokenizer; }},
            {"data.holdout", "share kept for evaluation: of the text's end; of every file of a mix",
             [](C& c) { return &c.holdout; }},
            {"data.max_length", "tokens per sample", [](C& c) { return &c.max_length; }},
            {"world.seed", "of the small world", [](C& c) { return &c.world.seed; }},
            {"world.people", "people, twelve facts each", [](C& c) { return &c.world.people; }},
            {"world.people_share", "of the documents", [](C& c) { return &c.world.people_share; }},
            {"world.towns_share", "of the documents", [](C& c) { return &c.world.towns_share; }},
            {"world.arithmetic_share", "of the documents", [](C& c) { return &c.world.arithmetic_share; }},
            {"world.sequences_share", "of the documents; the rest are stories",
             [](C& c) { return &c.world.sequences_share; }},
            {"world.sentences_least", "facts in a document about a person",
             [](C& c) { return &c.world.sentences_least; }},
            {"world.sentences_most", "facts in a document about a person",
             [](C& c) { return &c.world.sentences_most; }},
            {"world.card_share", "of a person's documents that are cards instead of sentences",
             [](C& c) { return &c.world.card_share; }},
            {"world.two_step_share", "of those documents that state a two-step fact",
             [](C& c) { return &c.world.two_step_share; }},
            {"router.aux_coef", "coefficient of the Switch load balance", [](C& c) { return &c.balance; }},
            {"optim.lr", "peak learning rate", [](C& c) { return &c.rate.peak; }},
            {"optim.beta1", "AdamW", [](C& c) { return &c.adamw.beta1; }},
            {"optim.beta2", "AdamW", [](C& c) { return &c.adamw.beta2; }},
            {"optim.eps", "AdamW", [](C& c) { return &c.adamw.epsilon; }},
            {"optim.weight_decay", "AdamW, decoupled", [](C& c) { return &c.adamw.weight_decay; }},
            {"optim.clip", "largest global gradient norm; 0: no clipping", [](C& c) { return &c.clip; }},
            {"schedule.shape",
             "learning rate after warm-up",
             [](C& c) { return &c.shape; },
             {"constant", "linear", "cosine", "wsd", "inv_sqrt"}},
            {"schedule.warmup", "steps of the linear rise", [](C& c) { return &c.rate.warmup; }},
            {"schedule.decay", "of wsd: steps of the final decay; 0: a tenth of the run",
             [](C& c) { return &c.rate.decay; }},
            {"schedule.floor", "end of a decay, share of optim.lr", [](C& c) { return &c.rate.floor; }},
            {"train.steps", "optimiser steps", [](C& c) { return &c.steps; }},
            {"train.batch", "samples per optimiser step", [](C& c) { return &c.batch; }},
            {"train.micro_batch", "samples per forward; 0: train.batch", [](C& c) { return &c.micro_batch; }},
            {"train.seed", "of the start", [](C& c) { return &c.seed; }},
            {"train.device", "where the model is computed", [](C& c) { return &c.device; }, {"cpu", "cuda"}},
            {"train.dtype",
             "number type of the run; bfloat16 on a GPU",
             [](C& c) { return &c.dtype; },
             {"float32", "bfloat16"}},
            {"train.graphs", "on a GPU: record steps once and replay them; the same bits without",
             [](C& c) { return &c.graphs; }},
            {"train.threads", "0: MOEGRAD_THREADS, else all cores", [](C& c) { return &c.threads; }},
            {"eval.documents", "held-out documents of the small world",
             [](C& c) { return &c.eval_documents; }},
            {"eval.every", "steps between evaluations; 0: first and last only",
             [](C& c) { return &c.eval_every; }},
            {"checkpoint.every", "steps between checkpoints; 0: only when interrupted",
             [](C& c) { return &c.checkpoint_every; }},
            {"checkpoint.keep", "newest checkpoints kept, at least 2",
             [](C& c) { return &c.checkpoint_keep; }},
            {"log.every", "steps between progress lines", [](C& c) { return &c.log_every; }},
            {"output.stored",
             "number type of the checkpoint",
             [](C& c) { return &c.stored; },
             {"float32", "bfloat16"}},
            {"output.dir", "folder of the run; the checkpoint is in model/", [](C& c) { return &c.output; }},
        });
    return table;
}

inline void set_config(PretrainConfig& config, const std::string& key, const std::string& value,
                       const std::string& place) {
    pretrain_table().set(config, key, value, place);
}

}  // namespace moegrad
