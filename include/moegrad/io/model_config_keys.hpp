#pragma once
// The keys of config.json that the loader knows, in three lists. Any other key is an error.

#include <algorithm>
#include <span>
#include <string_view>

namespace moegrad {

// clang-format off
/// Keys that change no number this library computes: bookkeeping, generation settings of old files (the command line
/// and generation_config.json decide those), and switches about what a Python model returns.
inline constexpr std::string_view kHarmlessConfigKeys[] = {
    "_attn_implementation_autoset", "_name_or_path", "architectures", "attn_implementation", "auto_map",
    "bad_words_ids", "begin_suppress_tokens", "chunk_size_feed_forward", "decoder_start_token_id",
    "diversity_penalty", "do_sample", "early_stopping", "encoder_no_repeat_ngram_size",
    "exponential_decay_length_penalty", "finetuning_task", "forced_bos_token_id", "forced_eos_token_id",
    "id2label", "is_decoder", "label2id", "length_penalty", "max_length", "max_sequence_length", "min_length",
    "name_or_path", "no_repeat_ngram_size", "num_beam_groups", "num_beams", "num_return_sequences",
    "output_attentions", "output_hidden_states", "output_router_logits", "output_scores", "pad_token_id",
    "prefix", "pretraining_tp", "problem_type", "remove_invalid_values", "repetition_penalty", "return_dict",
    "return_dict_in_generate", "sep_token_id", "suppress_tokens", "task_specific_params", "temperature",
    "tokenizer_class", "top_k", "top_p", "torchscript", "transformers_version", "typical_p", "unk_token_id",
    "unsloth_fixed", "unsloth_version", "use_bfloat16", "use_cache",
};

/// Keys that this file reads or checks.
inline constexpr std::string_view kReadConfigKeys[] = {
    "attention_bias", "attention_dropout", "bos_token_id", "dtype", "eos_token_id", "head_dim", "hidden_act",
    "hidden_size", "initializer_range", "intermediate_size", "is_encoder_decoder", "layer_types",
    "max_position_embeddings", "mlp_bias", "model_type", "num_attention_heads", "num_hidden_layers",
    "num_key_value_heads", "quantization_config", "rms_norm_eps", "rope_parameters", "rope_scaling",
    "rope_theta", "sliding_window", "tie_word_embeddings", "torch_dtype", "vocab_size",
};
inline constexpr std::string_view kReadMixtralKeys[] = {
    "num_experts", "num_experts_per_tok", "num_local_experts", "router_aux_loss_coef", "router_jitter_noise",
};
// clang-format on

inline bool is_listed(std::span<const std::string_view> keys, std::string_view key) {
    return std::find(keys.begin(), keys.end(), key) != keys.end();
}

}  // namespace moegrad
