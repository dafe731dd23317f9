#pragma once
// inspect of a model folder: config.json, the headers of the weights, the MoE map. No weight is read.

#include <optional>
#include <set>
#include <string>
#include <vector>

#include <moegrad/io/model_config_json.hpp>
#include <moegrad/train/checkpoint_shapes.hpp>
#include <moegrad/train/inspect_tensors.hpp>

namespace moegrad {

namespace detail {

inline Json shape_facts(const ModelConfig& config) {
    Json shape = Json::object();
    shape.add("layers", config.num_hidden_layers);
    shape.add("hidden", config.hidden_size);
    shape.add("width", config.intermediate_size);
    shape.add("heads", config.num_attention_heads);
    shape.add("kv_heads", config.num_key_value_heads);
    shape.add("head_dim", config.head_dim);
    shape.add("vocabulary", config.vocab_size);
    shape.add("positions", config.max_position_embeddings);
    if (config.sliding_window) shape.add("window", *config.sliding_window);
    shape.add("tied_head", config.tie_word_embeddings);
    return shape;
}

inline Json rope_facts(const RopeConfig& rope) {
    Json facts = Json::object();
    facts.add("type", rope.type == RopeType::standard ? "default"
                      : rope.type == RopeType::linear ? "linear"
                                                      : "llama3");
    facts.add("theta", rope.theta);
    if (rope.type != RopeType::standard) facts.add("factor", rope.factor);
    return facts;
}

inline Json mixture_facts(const ModelConfig& config, const CheckpointIndex* files) {
    Json moe = Json::object();
    moe.add("layers", config.num_hidden_layers);
    moe.add("experts", config.num_local_experts);
    moe.add("width", config.intermediate_size);
    moe.add("chosen", config.num_experts_per_tok);
    moe.add("router", "softmax over all, top-k, renormalised");
    moe.add("router_aux_loss_coef", config.router_aux_loss_coef);
    if (files)
        moe.add("stored",
                has_fused_experts(*files) ? "fused (transformers 5)" : "one by one (transformers 4)");
    return moe;
}

/// Numbers by use; `active` is what one token meets.
inline Json parameter_facts(const ModelConfig& config) {
    std::int64_t attention = 0, experts = 0, dense = 0, router = 0, embedding = 0, norms = 0;
    each_expected_tensor(config, true, [&](const ExpectedTensor& one) {
        std::int64_t count = 1;
        for (const Index extent : one.shape) count *= extent;
        const auto has = [&](const char* word) { return one.name.find(word) != std::string::npos; };
        if (has(".self_attn."))
            attention += count;
        else if (has(".experts."))
            experts += count;
        else if (has(".mlp.gate.weight"))
            router += count;
        else if (has(".mlp."))
            dense += count;
        else if (has("norm"))
            norms += count;
        else
            embedding += count;
        return true;
    });
    const std::int64_t total = attention + experts + dense + router + embedding + norms;
    Json facts = Json::object();
    facts.add("total", total);
    if (config.is_mixture()) {
        facts.add("active",
                  total - experts + experts / config.num_local_experts * config.num_experts_per_tok);
        facts.add("experts", experts);
        facts.add("router", router);
    } else {
        facts.add("mlp", dense);
    }
    facts.add("attention", attention);
    facts.add("embedding", embedding);
    facts.add("norms", norms);
    return facts;
}

/// Keys that no reader knows: each may change what the model computes.
inline std::vector<std::string> unknown_config_keys(const JsonRef& root, ModelFamily family) {
    std::vector<std::string> unknown;
    for (const JsonMember& member : root.members()) {
        if (!is_known_config_key(family, member.key)) unknown.push_back(member.key);
    }
    return unknown;
}

/// What stands in config.json and is ignored, on purpose.
inline void note_ignored_keys(const JsonRef& root, Inspection& out) {
    if (root.find_value("auto_map"))
        out.notes.push_back("auto_map is ignored: code of a checkpoint is never run");
    if (const auto top_k = root.find_value("output_router_logits"); top_k && top_k->value().boolean() == true)
        out.notes.push_back(
            "output_router_logits is ignored: router.balance decides about the auxiliary loss");
}

inline std::string first_lines(const Error& error) {
    std::string text = error.place;
    if (!error.expected.empty()) text += "; expected " + error.expected;
    if (!error.got.empty()) text += "; got " + error.got;
    return text;
}

inline void inspect_config(const std::string& folder, Inspection& out, std::optional<ModelConfig>& config) {
    const std::string path = folder + "/config.json";
    const Json json = parse_json_file(path, {16, std::size_t{16} << 20, 1'000'000});
    const JsonRef root(json, path);
    const auto type = root.find_value("model_type");
    out.add("family", type && type->value().string() ? printable(type->string()) : "unknown");
    try {
        config = parse_model_config(json, path);
    } catch (const Error& error) {
        out.warnings.push_back("moegrad does not run this model: " + first_lines(error));
    }
    note_ignored_keys(root, out);
    for (const ModelFamily family : {ModelFamily::llama, ModelFamily::mistral, ModelFamily::mixtral}) {
        if (!type || !type->value().string() || type->string() != name(family)) continue;
        const auto unknown = unknown_config_keys(root, family);
        if (!unknown.empty()) out.add("unknown_keys", word_list(unknown));
    }
}

inline void inspect_weights(const CheckpointIndex& files, const std::optional<ModelConfig>& config,
                            Inspection& out) {
    TensorTables tables;
    for (const auto& tensor : files.names()) tables.add(files.info(tensor));
    out.add("files", static_cast<std::int64_t>(files.file_count()));
    out.add("tensors", static_cast<std::int64_t>(files.names().size()));
    out.add("bytes", tables.bytes());
    out.add("types", tables.types()).add("groups", tables.groups(out));
    if (!config) return;
    const CheckpointDifference difference = compare_checkpoint(*config, files);
    const auto warn = [&](const char* what, const std::vector<std::string>& names) {
        if (!names.empty())
            out.warnings.push_back(moegrad::format("{} {}: {}", names.size(), what, list_names(names)));
    };
    warn("tensors missing", difference.missing);
    warn("tensors that the model has no use for", difference.unused);
    if (difference.misshapen)
        out.warnings.push_back(moegrad::format("{} is {}, not {}", difference.misshapen->name,
                                               shape_text(files.info(difference.misshapen->name).shape),
                                               shape_text(difference.misshapen->shape)));
    if (tables.type_count() > 1)
        out.notes.push_back("weights are stored in more than one type; each is read as it is");
    const std::string word = config->dtype == "bfloat16"  ? "BF16"
                             : config->dtype == "float16" ? "F16"
                             : config->dtype == "float64" ? "F64"
                             : config->dtype == "float32" ? "F32"
                                                          : "";
    if (!word.empty() && !tables.has_type(word))
        out.notes.push_back(moegrad::format("config.json says {}, no tensor is stored so", config->dtype));
}

}  // namespace detail

/// A folder with config.json. Weights may be absent.
inline Inspection inspect_model(const std::string& folder) {
    Inspection out("model", folder);
    std::optional<ModelConfig> config;
    detail::inspect_config(folder, out, config);
    std::optional<CheckpointIndex> files;
    try {
        files.emplace(folder);
    } catch (const Error& error) {
        out.warnings.push_back("no weights to read: " + detail::first_lines(error));
    }
    if (config) {
        out.add("shape", detail::shape_facts(*config)).add("rope", detail::rope_facts(config->rope));
        if (config->is_mixture())
            out.add("experts", detail::mixture_facts(*config, files ? &*files : nullptr));
        // Counting walks over every tensor of the config, so the files must back its size.
        if (files) {
            const auto difference = compare_checkpoint(*config, *files);
            if (!difference.more_missing) out.add("parameters", detail::parameter_facts(*config));
        }
    }
    if (files) detail::inspect_weights(*files, config, out);
    std::vector<std::string> beside;
    for (const char* name :
         {"tokenizer.json", "tokenizer.model", "tokenizer_config.json", "generation_config.json"}) {
        if (file_exists(folder + "/" + name)) beside.emplace_back(name);
    }
    if (!beside.empty()) out.add("beside", detail::word_list(beside));
    return out;
}

}  // namespace moegrad
