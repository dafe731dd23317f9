#pragma once
// RunConfig: everything a training run can be told, and the one table of its fields. The table drives the TOML reader,
// the flags, the help and the error for a key that nobody reads. Keys are those of the configuration file.

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <string>
#include <vector>

#include <moegrad/core/device.hpp>
#include <moegrad/core/model_config.hpp>
#include <moegrad/methods/adapter_spec.hpp>
#include <moegrad/ops/adamw.hpp>
#include <moegrad/train/schedule.hpp>

namespace moegrad {

struct RunConfig {
    std::string model;
    Number dtype = Number::float32;
    std::string train_data, eval_data;
    double holdout = 0.1;
    Index max_length = 256;
    bool bos = false;
    AdapterSpec adapter = without_targets();
    std::vector<double> aux_coefficient{};  // per epoch; empty: the method's
    double z_coefficient = 0;
    AdamWOptions adamw{.weight_decay = 0};
    double clip = 1.0;
    LearningRate rate{.peak = 2e-4};
    Index steps = 0;
    double epochs = 1;
    Index batch = 8, micro_batch = 0;
    std::uint64_t seed = 0;
    int threads = 0;
    bool checkpointing = false;
    Index eval_every = 0, eval_samples = 0, log_every = 10;
    std::string output = "runs/train";

    /// The adapter for a model: targets not given are attention and experts, or attention and mlp on a dense model.
    AdapterSpec adapter_for(const ModelConfig& config) const {
        AdapterSpec spec = adapter;
        spec.seed = seed;
        spec.z_loss = z_coefficient != 0;
        refuse_unread(spec, config);
        if (spec.targets.empty()) spec.targets = {"attention", config.is_mixture() ? "experts" : "mlp"};
        return spec;
    }

    /// Coefficient of the balance loss: as configured, else AdaMoE's 0.02 then 0.0001, else 0.01 where one is asked for.
    EpochCoefficient balance_coefficient() const {
        if (!aux_coefficient.empty()) return {aux_coefficient};
        if (adapter.balance_loss() == BalanceLoss::none) return {{0}};
        if (adapter.method == Method::adamoe) return {{0.02, 0.0001}};
        return {{0.01}};
    }

private:
    /// A setting that the method or the model does not read is a mistake, not a wish.
    static void refuse_unread(const AdapterSpec& spec, const ModelConfig& config) {
        const AdapterSpec usual;
        const auto refuse = [&](bool set, const char* key, const char* reader) {
            if (!set) return;
            throw Error{ErrorCode::config, key, reader,
                        format("method {} on {}", spec.method_name(), name(config.model_type)),
                        "nobody would read it; leave it out"};
        };
        const bool nulls = spec.method == Method::adamoe, mixture = spec.method == Method::mor;
        refuse(!nulls && spec.null_experts != usual.null_experts, "router.null_experts", "method adamoe");
        refuse(!nulls && spec.null_weights != usual.null_weights, "router.null_weights", "method adamoe");
        refuse(!nulls && spec.null_map != usual.null_map, "router.null_map", "method adamoe");
        refuse(!mixture && spec.mixture != usual.mixture, "router.mixture", "method mor");
        refuse(!mixture && spec.routers != usual.routers, "router.routers", "method mor");
        refuse(spec.method != Method::registered && !spec.options.empty(), "router.options",
               "a router of your own");
        const bool has_experts = config.is_mixture() || spec.method == Method::lora;
        refuse(has_experts && spec.experts != usual.experts, "router.experts", "Mo-LoRA on a dense model");
    }
    static AdapterSpec without_targets() {
        AdapterSpec spec;
        spec.targets.clear();
        return spec;
    }
};

/// One key: how it is read from text and written back. Lists are comma-separated.
struct ConfigField {
    const char* key;
    const char* help;
    void (*set)(RunConfig&, const std::string&);
    std::string (*get)(const RunConfig&);
};

namespace detail {

[[noreturn]] inline void refuse_value(const std::string& expected, const std::string& text) {
    throw Error{ErrorCode::config, "value", expected, "\"" + text + "\""};
}

inline double parse_number(const std::string& text) {
    char* end = nullptr;
    const double value = std::strtod(text.c_str(), &end);
    if (text.empty() || *end != '\0' || !std::isfinite(value)) refuse_value("a finite number", text);
    return value;
}

inline Index parse_count(const std::string& text) {
    const double value = parse_number(text);
    if (value < 0 || value > 9e15 || value != static_cast<double>(static_cast<Index>(value))) {
        refuse_value("a whole number from 0", text);
    }
    return static_cast<Index>(value);
}

/// Fits an int whatever is typed; the range is checked when the run starts.
inline Index parse_threads(const std::string& text) {
    return std::min<Index>(parse_count(text), 1 << 20);
}

inline bool parse_flag(const std::string& text) {
    if (text == "true" || text == "1") return true;
    if (text == "false" || text == "0") return false;
    refuse_value("true or false", text);
}

inline std::vector<std::string> parse_list(const std::string& text) {
    if (text.empty()) return {};
    std::vector<std::string> items(1);
    for (char c : text) {
        if (c == ',') {
            items.emplace_back();
        } else if (c != ' ') {
            items.back() += c;
        }
    }
    return items;
}

/// The index of `text` among `names`.
inline int parse_choice(const std::string& text, std::initializer_list<const char*> names) {
    int i = 0;
    std::string all;
    for (const char* one : names) {
        if (text == one) return i;
        all += (i++ ? ", " : "") + std::string(one);
    }
    refuse_value("one of " + all, text);
}

template <class Items>
std::string join(const Items& items) {
    std::string text;
    for (const auto& item : items) text += (text.empty() ? "" : ",") + format("{}", item);
    return text;
}

inline const char* flag_text(bool value) {
    return value ? "true" : "false";
}

}  // namespace detail

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

inline const std::vector<ConfigField>& config_fields() {
    static const std::vector<ConfigField> fields{
        MOEGRAD_TEXT_FIELD("model.path", model, "folder of the base checkpoint (Hugging Face layout)"),
        MOEGRAD_CHOICE_FIELD("model.dtype", dtype, "number type of the run", "float32", "float64"),
        MOEGRAD_TEXT_FIELD("data.train", train_data, "text file, or .jsonl of records, to train on"),
        MOEGRAD_TEXT_FIELD("data.eval", eval_data,
                           "the same to evaluate on; empty: data.holdout of the training file"),
        MOEGRAD_FIELD("data.holdout", holdout, parse_number,
                      "share of the training file's end kept for evaluation"),
        MOEGRAD_FIELD("data.max_length", max_length, parse_count, "tokens per sample"),
        MOEGRAD_FIELD("data.bos", bos, parse_flag, "start every sample with BOS"),
        ConfigField{"adapter.method",
                    "what is added to the base: lora, molora, adamoe, mor, random_drop, or a router of "
                    "your own by its name",
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
        MOEGRAD_FIELD("router.null_experts", adapter.null_experts, parse_count,
                      "adamoe: nulls; 0: as many as experts"),
        MOEGRAD_CHOICE_FIELD("router.null_weights", adapter.null_weights,
                             "adamoe: weights over the true experts or all", "true", "all"),
        MOEGRAD_CHOICE_FIELD("router.null_map", adapter.null_map, "adamoe: what a null expert computes",
                             "zero", "identity"),
        MOEGRAD_CHOICE_FIELD("router.mixture", adapter.mixture, "mor: how sub-routers are combined", "A", "B",
                             "C", "D"),
        MOEGRAD_FIELD("router.routers", adapter.routers, parse_count, "mor: number of sub-routers"),
        MOEGRAD_TEXT_FIELD("router.options", adapter.options,
                           "a router of your own: what it reads, as key=value, key=value"),
        MOEGRAD_CHOICE_FIELD("router.aux", adapter.balance, "balance loss", "by_method", "none", "switch",
                             "adamoe_eq3", "adamoe_eq6"),
        ConfigField{"router.aux_coef", "its coefficient, per epoch; the last one is held",
                    [](RunConfig& c, const std::string& v) {
                        c.aux_coefficient.clear();
                        for (const auto& item : detail::parse_list(v)) {
                            c.aux_coefficient.push_back(detail::parse_number(item));
                        }
                    },
                    [](const RunConfig& c) { return detail::join(c.balance_coefficient().per_epoch); }},
        MOEGRAD_CHOICE_FIELD("router.aux_scope", adapter.balance_scope, "what the balance loss looks at",
                             "sequence", "micro"),
        MOEGRAD_FIELD("router.z_coef", z_coefficient, parse_number, "coefficient of the router z-loss"),
        MOEGRAD_FIELD("optim.lr", rate.peak, parse_number, "learning rate"),
        MOEGRAD_FIELD("optim.beta1", adamw.beta1, parse_number, "AdamW"),
        MOEGRAD_FIELD("optim.beta2", adamw.beta2, parse_number, "AdamW"),
        MOEGRAD_FIELD("optim.eps", adamw.epsilon, parse_number, "AdamW"),
        MOEGRAD_FIELD("optim.weight_decay", adamw.weight_decay, parse_number, "AdamW, decoupled"),
        MOEGRAD_FIELD("optim.clip", clip, parse_number, "largest global gradient norm; 0: no clipping"),
        MOEGRAD_CHOICE_FIELD("schedule.shape", rate.shape, "learning rate after warm-up", "constant",
                             "linear", "cosine"),
        MOEGRAD_FIELD("schedule.warmup", rate.warmup, parse_count, "steps of the linear rise"),
        MOEGRAD_FIELD("schedule.floor", rate.floor, parse_number, "end of a decay, share of optim.lr"),
        MOEGRAD_FIELD("train.steps", steps, parse_count, "optimiser steps; 0: train.epochs decides"),
        MOEGRAD_FIELD("train.epochs", epochs, parse_number, "passes over the data when train.steps is 0"),
        MOEGRAD_FIELD("train.batch", batch, parse_count, "samples per optimiser step"),
        MOEGRAD_FIELD("train.micro_batch", micro_batch, parse_count, "samples per forward; 0: train.batch"),
        MOEGRAD_FIELD("train.seed", seed, parse_count, "of start, order and dropout"),
        MOEGRAD_FIELD("train.threads", threads, parse_threads, "0: MOEGRAD_THREADS, else all cores"),
        MOEGRAD_FIELD("train.checkpointing", checkpointing, parse_flag, "recompute each layer in backward"),
        MOEGRAD_FIELD("eval.every", eval_every, parse_count,
                      "steps between evaluations; 0: first and last only"),
        MOEGRAD_FIELD("eval.samples", eval_samples, parse_count,
                      "first samples of the evaluation text; 0: all"),
        MOEGRAD_FIELD("log.every", log_every, parse_count, "steps between progress lines"),
        MOEGRAD_TEXT_FIELD("output.dir", output, "folder of the run"),
    };
    return fields;
}

#undef MOEGRAD_FIELD
#undef MOEGRAD_TEXT_FIELD
#undef MOEGRAD_CHOICE_FIELD

}  // namespace moegrad
