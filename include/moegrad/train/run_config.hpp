#pragma once
// RunConfig: everything a training run can be told. Its keys, as files and flags spell them: run_fields.hpp.

#include <string>
#include <vector>

#include <moegrad/core/device.hpp>
#include <moegrad/core/model_config.hpp>
#include <moegrad/core/nf4.hpp>
#include <moegrad/methods/adapter_spec.hpp>
#include <moegrad/ops/adamw.hpp>
#include <moegrad/train/schedule.hpp>

namespace moegrad {

struct RunConfig {
    std::string model;
    Number dtype = Number::float32;
    bool dtype_given = false;  // by a key; else a verb may take what the checkpoint is stored in
    Quantisation quantise = Quantisation::none;
    bool allow_nonfinite = false;  // base weights that are NaN or infinite
    std::string train_data, eval_data;
    double holdout = 0.1;
    Index max_length = 256;
    bool bos = false, packing = false;
    // As words; data/ reads them: what the file holds, how turns are written, what is supervised, what is refused.
    std::string data_format = "auto", chat_template = "auto", train_on = "answer";
    std::string overlong = "error", unsupervised = "error";
    std::string columns, labels, prompt;  // of a TSV file
    std::string tasks;                    // names of tasks
    AdapterSpec adapter = without_targets();
    std::vector<double> aux_coefficient{};  // per epoch; empty: the method's
    double z_coefficient = 0;
    std::string coefficients;  // of other penalties: "entropy=0.01"
    AdamWOptions adamw{.weight_decay = 0};
    std::string rates;  // factors on the learning rate by group of parameters: "router=0.1, lora_B=16"
    double clip = 1.0;
    LearningRate rate{.peak = 2e-4};
    Index steps = 0;
    double epochs = 1;
    Index batch = 8, micro_batch = 0, accumulate = 0;
    std::uint64_t seed = 0;
    int threads = 0;
    Device device = Device::cpu;
    bool graphs = true;  // on a GPU: steps are recorded once and replayed
    bool checkpointing = false;
    Index eval_every = 0, eval_samples = 0, log_every = 10;
    Index patience = 0;    // evaluations without a new best before the run stops; 0: never
    double min_delta = 0;  // a best is new when it is lower by more than this
    bool tensorboard = false;
    Index checkpoint_every = 0, checkpoint_keep = 2;
    bool keep_best = false;  // adapter-best/ beside adapter/
    std::string output = "runs/train";

    /// The adapter for a model: targets not given are attention and experts, or attention and mlp on a dense model.
    AdapterSpec adapter_for(const ModelConfig& config) const {
        AdapterSpec spec = adapter;
        spec.seed = seed;
        spec.z_loss = z_coefficient != 0;
        refuse_unread(spec, config);
        refuse_pooled_when_recomputed();
        if (!spec.targets.empty()) return spec;
        const auto* method = spec.method == Method::model ? find_model_method(spec.router) : nullptr;
        if (method != nullptr && method->targets) {
            spec.targets = *method->targets;
        } else {
            spec.targets = {"attention", config.is_mixture() ? "experts" : "mlp"};
        }
        return spec;
    }

    /// Samples, or packs, of a forward: as configured, else a share of the step, else the whole step.
    Index per_micro_batch() const {
        if (micro_batch > 0) return micro_batch;
        return accumulate > 0 ? (batch + accumulate - 1) / accumulate : batch;
    }

    /// Coefficient of the balance loss: as configured, else AdaMoE's 0.02 then 0.0001, else 0.01 where one is asked for.
    EpochCoefficient balance_coefficient() const {
        if (!aux_coefficient.empty()) return {aux_coefficient};
        if (adapter.balance_loss() == BalanceLoss::none || adapter.balance_loss() == BalanceLoss::by_method)
            return {{0}};
        if (adapter.method == Method::adamoe) return {{0.02, 0.0001}};
        return {{0.01}};
    }

private:
    /// A layer that runs again in backward is over before a pooled loss could give it a gradient.
    void refuse_pooled_when_recomputed() const {
        if (!checkpointing || !is_pooled(adapter.balance)) return;
        throw Error{ErrorCode::unsupported, "router.aux",
                    "a balance loss of one router with train.checkpointing",
                    std::string(kBalanceLossNames[static_cast<int>(adapter.balance)]),
                    "it looks at several routers at once: set train.checkpointing = false"};
    }
    /// A setting that the method or the model does not read is a mistake, not a wish.
    static void refuse_unread(const AdapterSpec& spec, const ModelConfig& config) {
        const AdapterSpec usual;
        const auto refuse = [&](bool set, const char* key, const char* reader) {
            if (!set) return;
            throw Error{ErrorCode::config, key, reader,
                        format("method {} on {}", spec.method_name(), name(config.model_type)),
                        "nobody would read it; leave it out"};
        };
        const bool adamoe = spec.method == Method::adamoe, mixture = spec.method == Method::mor;
        const bool nulls = adamoe || (mixture && spec.null_experts > 0);
        const char* with_nulls = "method adamoe, or mor with router.null_experts";
        refuse(!adamoe && !mixture && spec.null_experts != usual.null_experts, "router.null_experts",
               "method adamoe or mor");
        refuse(!nulls && spec.null_weights != usual.null_weights, "router.null_weights", with_nulls);
        refuse(!nulls && spec.null_map != usual.null_map, "router.null_map", with_nulls);
        refuse(!mixture && spec.mixture != usual.mixture, "router.mixture", "method mor");
        refuse(!mixture && spec.routers != usual.routers, "router.routers", "method mor");
        refuse(spec.balance == BalanceLoss::seq && spec.balance_scope != usual.balance_scope,
               "router.aux_scope", "a balance loss that has a choice; seq is per sequence");
        refuse(!spec.by_name() && !spec.options.empty(), "router.options", "a method that has options");
        const auto* method = spec.method == Method::model ? find_model_method(spec.router) : nullptr;
        const bool routed =
            config.is_mixture() || (method != nullptr ? method->reads_top_k : spec.method != Method::lora);
        refuse(!routed && spec.top_k != usual.top_k, "router.top_k",
               "a method with routers of its own, or a mixture of experts");
        const bool lora = method == nullptr || method->reads_lora == nullptr || method->reads_lora(spec);
        const char* with_lora = "a method with LoRA, as it is set";
        refuse(!lora && spec.lora.rank != usual.lora.rank, "adapter.r", with_lora);
        refuse(!lora && spec.lora.alpha != usual.lora.alpha, "adapter.lora_alpha", with_lora);
        refuse(!lora && spec.lora.dropout != usual.lora.dropout, "adapter.lora_dropout", with_lora);
        const bool has_experts =
            config.is_mixture() || spec.method == Method::lora || spec.method == Method::model;
        refuse(has_experts && spec.experts != usual.experts, "router.experts", "Mo-LoRA on a dense model");
        refuse(has_experts && !spec.experts_per_layer.empty(), "router.experts_per_layer",
               "Mo-LoRA on a dense model");
    }
    static AdapterSpec without_targets() {
        AdapterSpec spec;
        spec.targets.clear();
        return spec;
    }
};

}  // namespace moegrad
