#pragma once
// The one table of a RunConfig's keys. It drives the TOML reader, the flags, the help, the resolved file and the error
// for a key that nobody reads.

#include <string>
#include <vector>

#include <moegrad/io/json_writer.hpp>
#include <moegrad/train/config_text.hpp>
#include <moegrad/train/run_config.hpp>

namespace moegrad {

/// One key: how it is read from text and written back. Lists are comma-separated.
struct ConfigField {
    const char* key;
    const char* help;
    void (*set)(RunConfig&, const std::string&);
    std::string (*get)(const RunConfig&);
};

/// A field whose member parses with `parse` and prints with fmt.
#define MOEGRAD_FIELD(key, member, parse, help)                               \
    ConfigField {                                                             \
        key, help,                                                            \
            [](RunConfig& c, const std::string& v) {                          \
                c.member = static_cast<decltype(c.member)>(detail::parse(v)); \
            },                                                                \
            [](const RunConfig& c) { return format("{}", c.member); }         \
    }
#define MOEGRAD_TEXT_FIELD(key, member, help)                                \
    ConfigField {                                                            \
        key, help, [](RunConfig& c, const std::string& v) { c.member = v; }, \
            [](const RunConfig& c) { return c.member; }                      \
    }
#define MOEGRAD_CHOICE_FIELD(key, member, help, ...)                                                \
    ConfigField {                                                                                   \
        key, help,                                                                                  \
            [](RunConfig& c, const std::string& v) {                                                \
                c.member = static_cast<decltype(c.member)>(detail::parse_choice(v, {__VA_ARGS__})); \
            },                                                                                      \
            [](const RunConfig& c) {                                                                \
                constexpr const char* names[] = {__VA_ARGS__};                                      \
                return std::string(names[static_cast<int>(c.member)]);                              \
            }                                                                                       \
    }

namespace detail {

/// Of every method in this program.
inline const char* method_help() {
    static const std::string help = "what is added to the base: " + method_list();
    return help.c_str();
}

}  // namespace detail

inline const std::vector<ConfigField>& config_fields() {
    static const std::vector<ConfigField> fields{
        MOEGRAD_TEXT_FIELD("model.path", model, "folder of the base checkpoint (Hugging Face layout)"),
        ConfigField{
            "model.dtype", "number type of the run; on a GPU, left out: as the checkpoint is stored",
            [](RunConfig& c, const std::string& v) {
                c.dtype = static_cast<Number>(detail::parse_choice(v, {"float32", "float64", "bfloat16"}));
                c.dtype_given = true;
            },
            [](const RunConfig& c) { return std::string(name(c.dtype)); }},
        MOEGRAD_CHOICE_FIELD("model.quantise", quantise,
                             "how frozen weights of attention, feed-forward and experts are kept: none as "
                             "stored, nf4 in four bits (docs/nf4.md)",
                             "none", "nf4"),
        MOEGRAD_FIELD("model.allow_nonfinite", allow_nonfinite, parse_flag,
                      "train on a base with weights that are NaN or infinite"),
        MOEGRAD_TEXT_FIELD("data.train", train_data, "what to train on: JSONL, TSV or plain text"),
        MOEGRAD_TEXT_FIELD("data.eval", eval_data,
                           "the same to evaluate on; empty: data.holdout of the training file"),
        MOEGRAD_FIELD("data.holdout", holdout, parse_number,
                      "share of the training file's end kept for evaluation"),
        MOEGRAD_FIELD("data.max_length", max_length, parse_count, "tokens per sample"),
        MOEGRAD_FIELD("data.bos", bos, parse_flag, "start every sample with BOS"),
        MOEGRAD_FIELD("data.packing", packing, parse_flag,
                      "fill each of train.batch packs with whole samples up to data.max_length tokens"),
        MOEGRAD_TEXT_FIELD("data.format", data_format,
                           "auto, text, completion, alpaca, instruct, qa, messages, choice or tsv"),
        MOEGRAD_TEXT_FIELD(
            "data.template", chat_template,
            "of messages: auto (the model's own), llama-2, llama-3, mistral, chatml, .. (docs/data.md)"),
        MOEGRAD_TEXT_FIELD("data.train_on", train_on, "answer, or all: what is supervised"),
        MOEGRAD_TEXT_FIELD("data.overlong", overlong, "a sample over data.max_length: error, drop or cut"),
        MOEGRAD_TEXT_FIELD("data.unsupervised", unsupervised,
                           "a sample with nothing to learn: error or drop"),
        MOEGRAD_TEXT_FIELD("data.columns", columns, "of a TSV: text=3, label=1"),
        MOEGRAD_TEXT_FIELD("data.tasks", tasks,
                           "names of a record's \"task\", which routers know by number: cola, rte"),
        MOEGRAD_TEXT_FIELD("data.labels", labels, "of a TSV: 0=unacceptable, 1=acceptable"),
        MOEGRAD_TEXT_FIELD("data.prompt", prompt,
                           "of a TSV: a text with {text} and other columns; of choice: an eval format"),
        ConfigField{"adapter.method", detail::method_help(),
                    [](RunConfig& c, const std::string& v) { c.adapter.set_method(v); },
                    [](const RunConfig& c) { return c.adapter.method_name(); }},
        MOEGRAD_FIELD("adapter.r", adapter.lora.rank, parse_count, "rank"),
        MOEGRAD_FIELD("adapter.lora_alpha", adapter.lora.alpha, parse_number, "scale is lora_alpha / r"),
        MOEGRAD_FIELD("adapter.lora_dropout", adapter.lora.dropout, parse_number, "dropout before A"),
        ConfigField{"adapter.use_rslora", "scale is lora_alpha / sqrt(r)",
                    [](RunConfig& c, const std::string& v) {
                        c.adapter.lora.scale = detail::parse_flag(v)
                                                   ? LoraOptions::Scale::alpha_over_sqrt_rank
                                                   : LoraOptions::Scale::alpha_over_rank;
                    },
                    [](const RunConfig& c) {
                        return std::string(detail::flag_text(c.adapter.lora.scale ==
                                                             LoraOptions::Scale::alpha_over_sqrt_rank));
                    }},
        ConfigField{"adapter.target",
                    "attention, mlp, experts, all, or names (q_proj, w1, ..); by default attention and the "
                    "feed-forwards",
                    [](RunConfig& c, const std::string& v) { c.adapter.targets = detail::parse_list(v); },
                    [](const RunConfig& c) { return detail::join(c.adapter.targets); }},
        MOEGRAD_CHOICE_FIELD("router.mode", adapter.gate, "what trains of a checkpoint's gate", "by_method",
                             "freeze", "lora", "full"),
        MOEGRAD_FIELD("router.top_k", adapter.top_k, parse_count, "slots per token; 0: the method's"),
        MOEGRAD_FIELD("router.experts", adapter.experts, parse_count,
                      "LoRA experts per Linear on a dense model"),
        ConfigField{"router.experts_per_layer",
                    "the same by equal groups of layers, first to last: 2, 4, 6, 8; empty: router.experts",
                    [](RunConfig& c, const std::string& v) {
                        c.adapter.experts_per_layer.clear();
                        for (const auto& item : detail::parse_list(v)) {
                            c.adapter.experts_per_layer.push_back(detail::parse_count(item));
                        }
                    },
                    [](const RunConfig& c) { return detail::join(c.adapter.experts_per_layer); }},
        MOEGRAD_FIELD("router.null_experts", adapter.null_experts, parse_count,
                      "adamoe: nulls, 0: as many as experts; mor: nulls of every sub-router"),
        MOEGRAD_CHOICE_FIELD("router.null_weights", adapter.null_weights,
                             "with nulls: weights over the true experts or all", "true", "all"),
        MOEGRAD_CHOICE_FIELD("router.null_map", adapter.null_map, "with nulls: what a null expert computes",
                             "zero", "identity"),
        MOEGRAD_CHOICE_FIELD("router.mixture", adapter.mixture, "mor: how sub-routers are combined", "A", "B",
                             "C", "D"),
        MOEGRAD_FIELD("router.routers", adapter.routers, parse_count, "mor: number of sub-routers"),
        MOEGRAD_TEXT_FIELD("router.options", adapter.options,
                           "a router of your own: what it reads, as key=value, key=value"),
        ConfigField{"router.aux", "balance loss, by its definition (docs/methods.md)",
                    [](RunConfig& c, const std::string& v) { c.adapter.balance = balance_loss_named(v); },
                    [](const RunConfig& c) {
                        return std::string(kBalanceLossNames[static_cast<int>(c.adapter.balance)]);
                    }},
        ConfigField{"router.aux_coef", "its coefficient, per epoch; the last one is held",
                    [](RunConfig& c, const std::string& v) {
                        c.aux_coefficient.clear();
                        for (const auto& item : detail::parse_list(v)) {
                            c.aux_coefficient.push_back(detail::parse_number(item));
                        }
                    },
                    [](const RunConfig& c) {  // nothing where it is the routers' to say
                        const bool by_router = c.adapter.balance_loss() == BalanceLoss::by_method;
                        return by_router ? detail::join(c.aux_coefficient)
                                         : detail::join(c.balance_coefficient().per_epoch);
                    }},
        MOEGRAD_CHOICE_FIELD("router.aux_scope", adapter.balance_scope, "what the balance loss looks at",
                             "sequence", "micro"),
        MOEGRAD_FIELD("router.z_coef", z_coefficient, parse_number, "coefficient of the router z-loss"),
        MOEGRAD_TEXT_FIELD("router.coefs", coefficients,
                           "coefficients of a method's other penalties: entropy=0.01, pa=0.05"),
        MOEGRAD_FIELD("optim.lr", rate.peak, parse_number, "learning rate"),
        MOEGRAD_FIELD("optim.beta1", adamw.beta1, parse_number, "AdamW"),
        MOEGRAD_FIELD("optim.beta2", adamw.beta2, parse_number, "AdamW"),
        MOEGRAD_FIELD("optim.eps", adamw.epsilon, parse_number, "AdamW"),
        MOEGRAD_FIELD("optim.weight_decay", adamw.weight_decay, parse_number, "AdamW, decoupled"),
        MOEGRAD_TEXT_FIELD("optim.rates", rates, "factors on optim.lr by group: router=0.1, lora_B=16"),
        MOEGRAD_FIELD("optim.clip", clip, parse_number, "largest global gradient norm; 0: no clipping"),
        MOEGRAD_CHOICE_FIELD("schedule.shape", rate.shape, "learning rate after warm-up", "constant",
                             "linear", "cosine", "wsd", "inv_sqrt"),
        MOEGRAD_FIELD("schedule.warmup", rate.warmup, parse_count, "steps of the linear rise"),
        MOEGRAD_FIELD("schedule.decay", rate.decay, parse_count,
                      "of wsd: steps of the final decay; 0: a tenth of the run"),
        MOEGRAD_FIELD("schedule.floor", rate.floor, parse_number, "end of a decay, share of optim.lr"),
        MOEGRAD_FIELD("train.steps", steps, parse_count, "optimiser steps; 0: train.epochs decides"),
        MOEGRAD_FIELD("train.epochs", epochs, parse_number, "passes over the data when train.steps is 0"),
        MOEGRAD_FIELD("train.batch", batch, parse_count, "samples per optimiser step"),
        MOEGRAD_FIELD("train.micro_batch", micro_batch, parse_count, "samples per forward; 0: train.batch"),
        MOEGRAD_FIELD("train.accumulate", accumulate, parse_count,
                      "micro-batches per step, in place of train.micro_batch; 0: that decides"),
        MOEGRAD_FIELD("train.seed", seed, parse_count, "of start, order and dropout"),
        MOEGRAD_CHOICE_FIELD("train.device", device, "where the model is computed", "cpu", "cuda"),
        MOEGRAD_FIELD("train.graphs", graphs, parse_flag,
                      "on a GPU: record steps once and replay them; the same bits without"),
        MOEGRAD_FIELD("train.threads", threads, parse_threads, "0: MOEGRAD_THREADS, else all cores"),
        MOEGRAD_FIELD("train.checkpointing", checkpointing, parse_flag, "recompute each layer in backward"),
        MOEGRAD_FIELD("eval.every", eval_every, parse_count,
                      "steps between evaluations; 0: first and last only"),
        MOEGRAD_FIELD("eval.samples", eval_samples, parse_count,
                      "first samples of the evaluation text; 0: all"),
        MOEGRAD_FIELD("eval.patience", patience, parse_count,
                      "stop after so many evaluations without a new best; 0: never"),
        MOEGRAD_FIELD("eval.min_delta", min_delta, parse_number,
                      "a best is new when lower by more than this"),
        MOEGRAD_FIELD("checkpoint.every", checkpoint_every, parse_count,
                      "steps between checkpoints; 0: only when interrupted"),
        MOEGRAD_FIELD("checkpoint.keep", checkpoint_keep, parse_count, "newest checkpoints kept, at least 2"),
        MOEGRAD_FIELD("checkpoint.best", keep_best, parse_flag, "keep the best adapter in adapter-best/"),
        MOEGRAD_FIELD("log.every", log_every, parse_count, "steps between progress lines"),
        MOEGRAD_FIELD("log.tensorboard", tensorboard, parse_flag, "write TensorBoard events"),
        MOEGRAD_TEXT_FIELD("output.dir", output, "folder of the run"),
    };
    return fields;
}

/// Every key with its value, a line each, as a configuration file.
inline std::string resolved_config(const RunConfig& config) {
    std::string text;
    for (const auto& field : config_fields()) {
        text += std::string(field.key) + " = ";
        append_json_string(text, field.get(config));  // TOML's basic strings have JSON's escapes
        text += '\n';
    }
    return text;
}

#undef MOEGRAD_FIELD
#undef MOEGRAD_TEXT_FIELD
#undef MOEGRAD_CHOICE_FIELD

}  // namespace moegrad
