#include <moegrad/methods/attach.hpp>
#include <moegrad/train/adapter_config.hpp>

#include "io/support.hpp"
#include "support/model_small.hpp"

using namespace moegrad;
using namespace moegrad::test;
using io_test::expect_error;

namespace {

const ModelConfig kMixtral = small_config(ModelFamily::mixtral);
const ModelConfig kLlama = small_config(ModelFamily::llama);

/// adapter_config.json as PEFT writes it, with one more or another entry.
AdapterSpec load_with(const std::string& entry, const ModelConfig& config = kMixtral,
                      const std::string& targets = R"("target_modules": ["q_proj", "v_proj"])") {
    const io_test::TemporaryFolder folder;
    folder.write("adapter_config.json",
                 R"({"peft_type": "LORA", "r": 8, "lora_alpha": 16, "bias": "none", )" + targets +
                     (entry.empty() ? "" : ", " + entry) + "}");
    return load_adapter_config(folder.path(), config);
}

AdapterSpec load_targets(const std::string& targets, const ModelConfig& config = kMixtral) {
    return load_with("", config, targets);
}

}  // namespace

TEST_CASE("adapter config: what PEFT writes for plain LoRA") {
    // Keys and values of an adapter_config.json of PEFT 0.21.
    const AdapterSpec spec =
        load_with(R"("lora_dropout": 0.05, "use_rslora": true, "use_dora": false, "rank_pattern": {},
        "alpha_pattern": {}, "layers_to_transform": null, "loftq_config": {}, "init_lora_weights": true,
        "fan_in_fan_out": false, "modules_to_save": null, "megatron_core": "megatron.core", "qalora_group_size": 16,
        "task_type": "CAUSAL_LM", "inference_mode": true, "target_parameters": ["mlp.experts.gate_up_proj"])");
    CHECK(spec.method == Method::lora);
    CHECK(spec.lora.rank == 8);
    CHECK(spec.lora.alpha == 16);
    CHECK(spec.lora.dropout == 0.05);
    CHECK(spec.lora.scale == LoraOptions::Scale::alpha_over_sqrt_rank);
    CHECK(spec.targets == std::vector<std::string>{"q_proj", "v_proj", "experts.gate_up"});
    CHECK(spec.gate_mode() == GateMode::frozen);
    CHECK(load_with(R"("modules_to_save": ["gate"])").gate_mode() == GateMode::full);
    CHECK(load_targets(R"("target_modules": ["q_proj", "gate"])").gate_mode() == GateMode::lora);
}

TEST_CASE("adapter config: a feature that changes the maths is refused by name") {
    struct Case {
        std::string entry, word;
    };
    for (const auto& one : std::vector<Case>{{R"("use_qalora": true)", "use_qalora"},
                                             {R"("layers_pattern": "blocks")", "layers_pattern"},
                                             {R"("rank_pattern": {"(?=q_)q_proj": 4})", "rank_pattern"},
                                             {R"("fan_in_fan_out": true)", "fan_in_fan_out"},
                                             {R"("lora_bias": true)", "lora_bias"},
                                             {R"("trainable_token_indices": [1])", "trainable_token_indices"},
                                             {R"("a_key_of_next_year": 1)", "a_key_of_next_year"},
                                             {R"("modules_to_save": ["lm_head"])", "modules_to_save"}}) {
        CAPTURE(one.entry);
        expect_error(ErrorCode::unsupported, one.word, [&] { load_with(one.entry); });
    }
}

TEST_CASE("adapter config: a name or pattern that means nothing here is refused") {
    for (const char* entry :
         {R"("target_parameters": ["mlp.experts.other"])", R"("rank_pattern": {"k_proj": 4})",
          R"("alpha_pattern": {"q_proj": 4, "proj": 5, "up": 6})", R"("layers_to_transform": [2])",
          R"("rank_pattern": {"q_proj": 0})", R"("alpha_pattern": {"q_proj": "4"})"}) {
        CAPTURE(entry);
        expect_error(ErrorCode::config, "adapter_config.json", [&] { load_with(entry); });
    }
    expect_error(ErrorCode::unsupported, "lm_head",
                 [] { load_targets(R"("target_modules": ["q_proj", "lm_head"])"); });
    expect_error(ErrorCode::config, "proj_q",
                 [] { load_targets(R"("target_modules": ["q_proj", "proj_q"])"); });
}

TEST_CASE("adapter config: an adapter that is not alike in every layer has places") {
    const auto paths = [](const AdapterSpec& spec) {
        std::vector<std::string> out;
        for (const auto& place : spec.places)
            out.push_back(format("{} {} {}", place.path, place.rank, place.alpha));
        return out;
    };
    using Paths = std::vector<std::string>;
    const std::string q0 = "model.layers.0.self_attn.q_proj", q1 = "model.layers.1.self_attn.q_proj",
                      v0 = "model.layers.0.self_attn.v_proj", v1 = "model.layers.1.self_attn.v_proj";
    CHECK(paths(load_with(R"("exclude_modules": ["k_proj"])")).empty());
    CHECK(load_with(R"("exclude_modules": "model.*v_proj")").targets == Paths{"q_proj"});
    CHECK(paths(load_with(R"("layers_to_transform": [1])")) == Paths{q1 + " 8 16", v1 + " 8 16"});
    CHECK(paths(load_with(R"("layers_to_transform": 0, "layers_pattern": ["layers"])")) ==
          Paths{q0 + " 8 16", v0 + " 8 16"});
    CHECK(load_with(R"("layers_to_transform": [0, 1])").targets == Paths{"q_proj", "v_proj"});
    CHECK(paths(load_with(R"("rank_pattern": {"q_proj": 4}, "alpha_pattern": {"layers.1.*.v_proj": 2.5})")) ==
          Paths{q0 + " 4 16", q1 + " 4 16", v0 + " 8 16", v1 + " 8 2.5"});
    // The first key that fits wins.
    CHECK(paths(load_with(R"("rank_pattern": {"layers\\.0\\..*q_proj": 2, "q_proj": 4})"))[0] ==
          q0 + " 2 16");
    CHECK(paths(load_targets(R"("target_modules": ["layers.0.self_attn.q_proj", "w2"])")) ==
          Paths{q0 + " 8 16", "model.layers.0.mlp.experts.w2 8 16", "model.layers.1.mlp.experts.w2 8 16"});
    const std::string experts = R"("target_parameters": ["layers.1.mlp.experts.gate_up_proj"])";
    CHECK(paths(load_targets(experts)) == Paths{"model.layers.1.mlp.experts.gate_up_proj 8 16"});
}

TEST_CASE("adapter config: what places cannot say is refused") {
    for (const char* targets :
         {R"("target_modules": ["experts.0.w2"])", R"("target_modules": ["layers.0.block_sparse_moe.gate"])",
          R"("target_modules": ["w1", "w3"], "rank_pattern": {"w1": 4})",
          R"("target_modules": ["w2"], "rank_pattern": {"experts.0.w2": 4})",
          R"("target_modules": ["gate"], "alpha_pattern": {"gate": 4})",
          R"("target_modules": ["w1"], "layers_to_transform": [0])"}) {
        CAPTURE(targets);
        expect_error(ErrorCode::unsupported, "adapter_config.json", [&] { load_targets(targets); });
    }
}

TEST_CASE("adapter config: places survive being written, ranks and alphas included") {
    for (
        const char* targets :
        {R"("target_modules": ["q_proj", "w1", "w2", "w3"], "rank_pattern": {"layers.1.*.w[13]": 3, "q_proj": 5},
             "alpha_pattern": {"w2": 7.5})",
         R"("target_modules": ["v_proj"], "layers_to_transform": [1],
             "target_parameters": ["mlp.experts.gate_up_proj", "layers.0.mlp.experts.down_proj"])"}) {
        const AdapterSpec spec = load_targets(targets);
        CHECK(spec.places.size() >= 4);
        const io_test::TemporaryFolder folder;
        folder.write("adapter_config.json", write_json(to_json(spec, kMixtral)));
        CHECK(load_adapter_config(folder.path(), kMixtral).places == spec.places);
    }
}

TEST_CASE("adapter config: folders of MoE-PEFT are named") {
    for (const char* text : {R"({"peft_type": "MIXLORA", "routing_strategy": "mixlora", "num_experts": 8})",
                             R"({"peft_type": "LORA", "r": 8, "routing_strategy": "mixlora-dynamic"})",
                             R"({"peft_type": "LORAMOE", "r": 8})", R"({"peft_type": "MOLA", "r": 8})"}) {
        const io_test::TemporaryFolder folder;
        folder.write("adapter_config.json", text);
        expect_error(ErrorCode::unsupported, "MoE-PEFT",
                     [&] { load_adapter_config(folder.path(), kMixtral); });
    }
}

TEST_CASE("adapter config: modules of single experts are targets, and what patterns allow") {
    CHECK(load_targets(R"("target_modules": ["q_proj", "w1", "w2", "w3"])").targets ==
          std::vector<std::string>{"q_proj", "w1", "w2", "w3"});
    CHECK(load_targets(R"("target_modules": "all-linear")", kLlama).targets ==
          std::vector<std::string>{"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj",
                                   "down_proj"});
    CHECK(load_targets(R"("target_modules": ".*\\.(q|v)_proj")").targets ==
          std::vector<std::string>{"q_proj", "v_proj"});
}

TEST_CASE("adapter config: values outside their range are refused") {
    const auto load_text = [](const std::string& text) {
        const io_test::TemporaryFolder folder;
        folder.write("adapter_config.json", text);
        load_adapter_config(folder.path(), kMixtral);
    };
    const std::string targets = R"("target_modules": ["q_proj"])";
    expect_error(ErrorCode::unsupported, "bias", [&] {
        load_text(R"({"peft_type": "LORA", "r": 8, "lora_alpha": 16, "bias": "all", )" + targets + "}");
    });
    expect_error(ErrorCode::unsupported, "peft_type",
                 [&] { load_text(R"({"peft_type": "LOHA", "r": 8, "lora_alpha": 16, )" + targets + "}"); });
    for (const std::string r : {"0", "-1", "2.5", "\"8\"", "99999999999"}) {
        expect_error(ErrorCode::config, "r",
                     [&] { load_text("{\"peft_type\": \"LORA\", \"lora_alpha\": 16, \"r\": " + r + "}"); });
    }
    expect_error(ErrorCode::config, "lora_dropout", [] { load_with(R"("lora_dropout": 1.5)"); });
    expect_error(ErrorCode::config, "moegrad",
                 [&] { load_text(R"({"peft_type": "MOLORA", "r": 8, "lora_alpha": 16, )" + targets + "}"); });
    expect_error(ErrorCode::config, "dense", [] { load_with(R"("modules_to_save": ["gate"])", kLlama); });
    expect_error(ErrorCode::format, "adapter_config.json", [&] { load_text("{\"peft_type\": "); });
}

TEST_CASE("adapter config: a router block survives, all of it") {
    AdapterSpec spec;
    spec.method = Method::adamoe;
    spec.targets = {"attention", "experts.down"};
    spec.seed = 123456789;
    spec.gate = GateMode::full;
    spec.top_k = 5;
    spec.experts = 6;
    spec.null_experts = 8;
    spec.null_weights = NullWeights::over_all;
    spec.null_map = NullMap::identity;
    spec.mixture = MixtureKind::vote;
    spec.routers = 7;
    spec.balance = BalanceLoss::adamoe_eq3;
    spec.balance_scope = BalanceOptions::Scope::micro;
    spec.z_loss = true;
    const io_test::TemporaryFolder folder;
    folder.write("adapter_config.json", write_json(to_json(spec, kMixtral)));
    const AdapterSpec got = load_adapter_config(folder.path(), kMixtral);
    CHECK(got.method == spec.method);
    CHECK(got.targets == spec.targets);
    CHECK(got.seed == spec.seed);
    CHECK(got.gate == spec.gate);
    CHECK(got.top_k == spec.top_k);
    CHECK(got.experts == spec.experts);
    CHECK(got.null_experts == spec.null_experts);
    CHECK(got.null_weights == spec.null_weights);
    CHECK(got.null_map == spec.null_map);
    CHECK(got.mixture == spec.mixture);
    CHECK(got.routers == spec.routers);
    CHECK(got.balance == spec.balance);
    CHECK(got.balance_scope == spec.balance_scope);
    CHECK(got.z_loss == spec.z_loss);
}

TEST_CASE("adapter config: a block with a wrong word is refused, not guessed") {
    AdapterSpec spec;
    spec.method = Method::adamoe;
    const std::string text = write_json(to_json(spec, kMixtral));
    struct Change {
        std::string from, to;
    };
    for (const auto& change :
         std::vector<Change>{{R"("null_weights":"true")", R"("null_weights":"treu")"},
                             {R"("null_map":"zero")", R"("null_map":"nil")"},
                             {R"("balance_scope":"sequence")", R"("balance_scope":"batch")"},
                             {R"("mixture":"A")", R"("mixture":"E")"},
                             {R"("method":"adamoe")", R"("method":"adam")"}}) {
        CAPTURE(change.to);
        std::string changed = text;
        const auto at = changed.find(change.from);
        REQUIRE(at != std::string::npos);
        const io_test::TemporaryFolder folder;
        folder.write("adapter_config.json", changed.replace(at, change.from.size(), change.to));
        CHECK_THROWS_AS(load_adapter_config(folder.path(), kMixtral), Error);
    }
}

TEST_CASE("attach: what matches nothing or contradicts itself is refused") {
    const auto refuse = [](const ModelConfig& config, const AdapterSpec& spec, const std::string& words) {
        const auto model = small_model<float>(config);
        expect_error(ErrorCode::config, words, [&] { attach(*model, spec); });
    };
    refuse(kMixtral, {.targets = {"attention", "gate_proj"}}, "gate_proj");
    refuse(kMixtral, {.targets = {"mlp"}}, "mlp");
    refuse(kLlama, {.targets = {"experts"}}, "experts");
    refuse(kLlama, {.targets = {"attention", "W1"}}, "W1");
    refuse(kMixtral, {.method = Method::molora}, "molora");
    refuse(kMixtral, {.top_k = 5}, "top_k");
    refuse(kMixtral, {.lora = {.rank = 0}}, "r >= 1");
    refuse(kMixtral, {.lora = {.dropout = 1}}, "lora_dropout");
    refuse(kMixtral, {.method = Method::adamoe, .null_experts = 3}, "null_experts");
    refuse(kMixtral, {.method = Method::adamoe, .null_map = NullMap::identity}, "identity");
    refuse(kMixtral, {.method = Method::mor, .routers = 0}, "routers");
    refuse(kLlama, {.targets = {"attention"}, .gate = GateMode::full}, "router.mode");
    refuse(kLlama, {.method = Method::molora, .targets = {"attention"}, .gate = GateMode::lora},
           "router.mode");
}

TEST_CASE("attach: freezes the base, and trains what the spec says and nothing else") {
    const auto count = [](const AdapterSpec& spec) {
        const auto model = small_model<float>(kMixtral);
        for (auto* parameter : model->base_parameters()) parameter->set_trainable(true);
        attach(*model, spec);
        Index values = 0;
        for (const auto* parameter : trainable_parameters(*model)) values += parameter->size();
        return values;
    };
    // D 16, F 24, 4 heads of 4 with 2 key heads, E 4, 2 layers. LoRA of R: q R(16+16), v R(16+8).
    CHECK(count({.lora = {.rank = 2}, .targets = {"q_proj", "v_proj"}}) == 2 * 2 * (32 + 24));
    // Fused experts: gate_up A [4, R, 16], B [4, 48, R]; down A [4, R, 24], B [4, 16, R].
    CHECK(count({.lora = {.rank = 2}, .targets = {"experts"}}) == 2 * 4 * 2 * (16 + 48 + 24 + 16));
    CHECK(count({.lora = {.rank = 2}, .targets = {"q_proj"}, .gate = GateMode::full}) ==
          2 * (2 * 32 + 4 * 16));
    CHECK(count({.lora = {.rank = 2}, .targets = {"q_proj"}, .gate = GateMode::lora}) ==
          2 * (2 * 32 + 2 * 20));
    // AdaMoE: LoRA on gate and gate2 unless said otherwise. MoR: two LoRAs on the gate, main [2, 16].
    CHECK(count({.method = Method::adamoe, .lora = {.rank = 2}, .targets = {"q_proj"}}) ==
          2 * (2 * 32 + 2 * 2 * 20));
    CHECK(count({.method = Method::mor, .lora = {.rank = 2}, .targets = {"q_proj"}}) ==
          2 * (2 * 32 + 2 * 2 * 20 + 32));
}
