#include <doctest/doctest.h>

#include <string>
#include <utility>
#include <vector>

#include <moegrad/io/generation_config.hpp>
#include <moegrad/io/model_config_json.hpp>
#include <moegrad/io/model_config_writer.hpp>

#include "support.hpp"

using namespace moegrad;
using io_test::expect_error;
using io_test::TemporaryFolder;

namespace {

/// The sizes that a config must have, then `more` keys, which may not repeat one of them.
std::string small(const std::string& family, const std::string& more = "") {
    const std::string mixture =
        family == "mixtral" ? R"(,"num_local_experts":8,"num_experts_per_tok":2)" : "";
    return R"({"model_type":")" + family +
           R"(","hidden_size":64,"intermediate_size":96,"num_hidden_layers":2,"vocab_size":272)" +
           R"(,"num_attention_heads":16)" + mixture + (more.empty() ? "" : "," + more) + "}";
}

ModelConfig parse(const std::string& text) {
    return parse_model_config(parse_json(text, "config.json"), "config.json");
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
    const std::size_t at = text.find(from);
    REQUIRE(at != std::string::npos);
    return text.replace(at, from.size(), to);
}

}  // namespace

TEST_CASE("model config: class defaults of transformers where keys are absent") {
    const ModelConfig llama = parse(small("llama"));
    CHECK(llama.num_key_value_heads == 16);
    CHECK(llama.head_dim == 4);
    CHECK(llama.rms_norm_eps == 1e-6);
    CHECK(llama.rope.theta == 1e4);
    CHECK(llama.max_position_embeddings == 2048);
    CHECK_FALSE(llama.sliding_window);
    CHECK_FALSE(llama.tie_word_embeddings);
    CHECK(llama.initializer_range == 0.02);
    CHECK(llama.bos_token_id == 1);
    CHECK(llama.eos_token_ids == std::vector<std::int32_t>{2});
    const ModelConfig mistral = parse(small("mistral"));
    CHECK(mistral.num_key_value_heads == 8);
    CHECK(mistral.sliding_window == 4096);
    CHECK(mistral.rms_norm_eps == 1e-6);
    CHECK(mistral.rope.theta == 1e4);
    CHECK(mistral.max_position_embeddings == 131072);
    const ModelConfig mixtral = parse(small("mixtral"));
    CHECK(mixtral.num_key_value_heads == 8);
    CHECK_FALSE(mixtral.sliding_window);
    CHECK(mixtral.rms_norm_eps == 1e-5);
    CHECK(mixtral.rope.theta == 1e6);
    CHECK(mixtral.router_aux_loss_coef == 0.001);
    CHECK(mixtral.num_local_experts == 8);
    CHECK(mixtral.is_mixture());
}

TEST_CASE("model config: null is not absent") {
    CHECK(parse(small("mistral", R"("sliding_window":null,"num_key_value_heads":null,"head_dim":null)")) ==
          [] {
              ModelConfig config = parse(small("mistral"));
              config.sliding_window.reset();
              config.num_key_value_heads = 16;
              return config;
          }());
    CHECK_FALSE(parse(small("llama", R"("bos_token_id":null)")).bos_token_id);
    CHECK(parse(small("llama", R"("eos_token_id":null)")).eos_token_ids.empty());
    CHECK(parse(small("llama", R"("eos_token_id":[5,7,5])")).eos_token_ids ==
          std::vector<std::int32_t>{5, 7});
}

TEST_CASE("model config: rotary settings in the old and the new spelling") {
    const char* llama3 = R"({"KEY":"llama3","factor":8,"low_freq_factor":1.0,"high_freq_factor":4.0,
                             "original_max_position_embeddings":8192THETA})";
    const RopeConfig expected{RopeType::llama3, 5e5, 8, 1, 4, 8192};
    const std::string text = llama3;
    CHECK(parse(small("llama", R"("rope_theta":500000.0,"rope_scaling":)" +
                                   replaced(replaced(text, "KEY", "rope_type"), "THETA", "")))
              .rope == expected);
    CHECK(parse(small("llama", R"("rope_theta":500000.0,"rope_scaling":)" +
                                   replaced(replaced(text, "KEY", "type"), "THETA", "")))
              .rope == expected);
    CHECK(parse(small("llama", R"("rope_parameters":)" + replaced(replaced(text, "KEY", "rope_type"), "THETA",
                                                                  ",\"rope_theta\":500000")))
              .rope == expected);
    const RopeConfig linear = parse(small("llama", R"("rope_scaling":{"type":"linear","factor":2.5})")).rope;
    CHECK(linear.type == RopeType::linear);
    CHECK(linear.factor == 2.5);
    CHECK(linear.theta == 1e4);
    CHECK(parse(small("llama", R"("rope_scaling":null,"rope_theta":100)")).rope.theta == 100);
    CHECK(
        parse(small("mixtral", R"("rope_parameters":{"rope_type":"default","rope_theta":300})")).rope.theta ==
        300);
    CHECK(parse(small("llama", R"("rope_theta":7,"rope_parameters":{"rope_theta":7})")).rope.theta == 7);
}

TEST_CASE("model config: harmless keys pass, unknown ones do not") {
    CHECK_NOTHROW(parse(
        small("llama", R"("architectures":["LlamaForCausalLM"],"use_cache":true,"torch_dtype":"bfloat16",
        "attention_bias":false,"mlp_bias":false,"attention_dropout":0.0,"pretraining_tp":1,"transformers_version":"5.17.0",
        "pad_token_id":null,"quantization_config":null,"hidden_act":"silu","auto_map":{}, "_name_or_path":"x")")));
    CHECK(parse(small("llama", R"("dtype":"float32")")).dtype == "float32");
    expect_error(ErrorCode::config, "config.json: qk_norm",
                 [] { parse(small("llama", R"("qk_norm":true)")); });
    // A key of the mixture in a dense model would be ignored, so it is unknown there.
    expect_error(ErrorCode::config, "num_experts_per_tok",
                 [] { parse(small("llama", R"("num_experts_per_tok":2)")); });
}

TEST_CASE("model config: refused values") {
    struct Case {
        ErrorCode code;
        const char* family;
        const char* more;
        const char* words;
    };
    const Case cases[] = {
        {ErrorCode::unsupported, "qwen3_moe", "", "llama, mistral or mixtral"},
        {ErrorCode::unsupported, "llama", R"("hidden_act":"gelu")", "hidden_act"},
        {ErrorCode::unsupported, "llama", R"("attention_bias":true)", "attention_bias"},
        {ErrorCode::unsupported, "llama", R"("mlp_bias":true)", "mlp_bias"},
        {ErrorCode::unsupported, "llama", R"("attention_dropout":0.1)", "attention_dropout"},
        {ErrorCode::unsupported, "mixtral", R"("router_jitter_noise":0.01)", "router_jitter_noise"},
        {ErrorCode::unsupported, "llama", R"("sliding_window":128)", "sliding_window"},
        {ErrorCode::unsupported, "llama", R"("quantization_config":{"quant_method":"mxfp4"})",
         "quantization_config"},
        {ErrorCode::unsupported, "llama", R"("rope_scaling":{"rope_type":"yarn","factor":4})",
         "rope_scaling.rope_type"},
        {ErrorCode::unsupported, "llama", R"("rope_parameters":{"partial_rotary_factor":0.5})",
         "partial_rotary_factor"},
        {ErrorCode::unsupported, "mistral", R"("layer_types":["sliding_attention","full_attention"])",
         "layer_types[1]"},
        {ErrorCode::config, "mistral", R"("layer_types":["sliding_attention"])", "2 entries"},
        {ErrorCode::config, "llama", R"("rope_theta":0)", "rope_theta"},
        {ErrorCode::config, "llama", R"("rope_theta":"NaN")", "rope_theta"},
        {ErrorCode::config, "llama", R"("rope_theta":-1)", "rope_theta"},
        {ErrorCode::config, "llama", R"("rope_theta":5,"rope_parameters":{"rope_theta":6})",
         "the other rope_theta"},
        {ErrorCode::config, "llama", R"("rope_scaling":{"type":"linear"})", "rope_scaling.factor"},
        {ErrorCode::config, "llama", R"("rope_scaling":{"type":"linear","factor":0.5})", "factor"},
        {ErrorCode::config, "llama", R"("rope_scaling":{"type":"linear","rope_type":"llama3","factor":2})",
         "the same as"},
        {ErrorCode::config, "llama", R"("rope_scaling":{"factor":2})", "rope_scaling.factor"},
        {ErrorCode::config, "llama", R"("rope_scaling":{"type":"linear","factor":2,"beta_fast":32})",
         "beta_fast"},
        {ErrorCode::config, "llama",
         R"("rope_scaling":{"type":"llama3","factor":8,"low_freq_factor":4,"high_freq_factor":4,
            "original_max_position_embeddings":64})",
         "high_freq_factor above"},
        {ErrorCode::config, "llama", R"("rope_scaling":{"type":"llama3","factor":8,"low_freq_factor":1,
            "high_freq_factor":4})",
         "original_max_position_embeddings"},
        {ErrorCode::config, "llama", R"("rms_norm_eps":0)", "rms_norm_eps"},
        {ErrorCode::config, "llama", R"("rms_norm_eps":1e9)", "rms_norm_eps"},
        {ErrorCode::config, "llama", R"("num_key_value_heads":3)", "a divisor of num_attention_heads = 16"},
        {ErrorCode::config, "llama", R"("num_key_value_heads":0)", "num_key_value_heads"},
        {ErrorCode::config, "llama", R"("head_dim":7)", "an even number"},
        {ErrorCode::config, "llama", R"("head_dim":100000)", "head_dim"},
        {ErrorCode::config, "llama", R"("max_position_embeddings":1099511627776)", "max_position_embeddings"},
        {ErrorCode::config, "llama", R"("eos_token_id":272)", "eos_token_id"},
        {ErrorCode::config, "llama", R"("eos_token_id":[1,-1])", "eos_token_id[1]"},
        {ErrorCode::config, "llama", R"("bos_token_id":"<s>")", "bos_token_id"},
        {ErrorCode::config, "llama", R"("torch_dtype":"int8")", "torch_dtype"},
        {ErrorCode::config, "llama", R"("torch_dtype":"float32","dtype":"bfloat16")", "dtype"},
        {ErrorCode::config, "llama", R"("tie_word_embeddings":1)", "true or false"},
        {ErrorCode::config, "mistral", R"("sliding_window":0)", "sliding_window"},
        {ErrorCode::config, "mixtral", R"("num_experts":4)", "num_experts"},
        {ErrorCode::config, "mixtral", R"("router_aux_loss_coef":-0.1)", "router_aux_loss_coef"},
    };
    for (const Case& bad : cases) {
        CAPTURE(std::string(bad.family));
        CAPTURE(std::string(bad.more));
        expect_error(bad.code, bad.words, [&] { parse(small(bad.family, bad.more)); });
    }
}

TEST_CASE("model config: sizes are required and in range, never guessed") {
    for (const char* key : {"hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
                            "vocab_size", "num_local_experts", "num_experts_per_tok"}) {
        CAPTURE(std::string(key));
        const std::string good = small("mixtral");
        const std::size_t begin = good.find(std::string("\"") + key), end = good.find_first_of(",}", begin);
        for (const char* value : {"0", "-1", "4294967296", "1e3", "\"4096\"", "null", "true", "2.0"}) {
            CAPTURE(std::string(value));
            const std::string text = good.substr(0, begin) + "\"" + key + "\":" + value + good.substr(end);
            expect_error(ErrorCode::config, key, [&] { parse(text); });
        }
        const std::size_t comma = begin - 1;  // every one of them stands behind another key
        expect_error(ErrorCode::config, std::string(key) + "\n  expected: this key",
                     [&] { parse(good.substr(0, comma) + good.substr(end)); });
    }
    expect_error(ErrorCode::config, "num_experts_per_tok",
                 [] { parse(replaced(small("mixtral"), "per_tok\":2", "per_tok\":9")); });
    expect_error(ErrorCode::config, "a multiple of the 16 heads",
                 [] { parse(replaced(small("llama"), "hidden_size\":64", "hidden_size\":72")); });
    expect_error(ErrorCode::config, "weights of all experts", [] {
        parse(
            R"({"model_type":"mixtral","hidden_size":1048576,"intermediate_size":4194304,"num_hidden_layers":4096,
                  "num_attention_heads":1024,"vocab_size":100,"num_local_experts":65536,"num_experts_per_tok":1})");
    });
}

TEST_CASE("model config: num_experts is another name of num_local_experts") {
    const std::string text = replaced(small("mixtral"), "num_local_experts", "num_experts");
    CHECK(parse(text).num_local_experts == 8);
    CHECK(parse(small("mixtral", R"("num_experts":8)")).num_local_experts == 8);
}

TEST_CASE("model config: keys twice, not an object") {
    expect_error(ErrorCode::format, "twice", [] { parse(small("llama", R"("vocab_size":272)")); });
    expect_error(ErrorCode::config, "an object", [] { parse("[]"); });
}

TEST_CASE("model config: what to_json writes reads back equal") {
    std::vector<ModelConfig> configs;
    for (const char* family : {"llama", "mistral", "mixtral"}) configs.push_back(parse(small(family)));
    configs[0].rope = {RopeType::llama3, 5e5, 8, 1, 4, 8192};
    configs[0].eos_token_ids = {2, 5, 9};
    configs[0].bos_token_id.reset();
    configs[0].tie_word_embeddings = true;
    configs[0].dtype = "float32";
    configs[1].rope = {RopeType::linear, 1e4, 2.5};
    configs[1].sliding_window.reset();
    configs[1].eos_token_ids.clear();
    configs[2].head_dim = 12;
    configs[2].router_aux_loss_coef = 0.02;
    configs[2].num_key_value_heads = 4;
    for (const ModelConfig& config : configs) {
        const std::string text = write_json(to_json(config), JsonStyle::indented);
        CAPTURE(text);
        CHECK(parse(text) == config);
    }
    ModelConfig broken = configs[0];
    broken.hidden_size = 0;
    expect_error(ErrorCode::config, "hidden_size", [&] { to_json(broken); });
}

TEST_CASE("generation config: its file first, then config.json") {
    const TemporaryFolder folder;
    const ModelConfig model = parse(small("llama", R"("eos_token_id":7,"bos_token_id":3)"));
    CHECK(load_generation_config(folder.path(), model).eos_token_ids == std::vector<std::int32_t>{7});
    folder.write("generation_config.json", R"({"do_sample":true,"temperature":0.6,"eos_token_id":[1,2]})");
    const GenerationConfig config = load_generation_config(folder.path(), model);
    CHECK(config.eos_token_ids == std::vector<std::int32_t>{1, 2});
    CHECK(config.bos_token_id == 3);
    folder.write("generation_config.json", R"({"eos_token_id":null,"bos_token_id":null})");
    CHECK(load_generation_config(folder.path(), model).eos_token_ids.empty());
    CHECK_FALSE(load_generation_config(folder.path(), model).bos_token_id);
    folder.write("generation_config.json", R"({"eos_token_id":[272]})");
    expect_error(ErrorCode::config, "eos_token_id[0]", [&] { load_generation_config(folder.path(), model); });
}

TEST_CASE("model config: real files") {
    io_test::Inputs inputs;
    if (const std::string path = inputs.shared("golden/llama_tied_rope3"); !path.empty()) {
        const ModelConfig config = load_model_config(path);
        CHECK(config.rope == RopeConfig{RopeType::llama3, 5e5, 8, 1, 4, 32});
        CHECK(config.tie_word_embeddings);
        CHECK(config.num_key_value_heads == 2);
    }
    if (const std::string path = inputs.shared("golden/mistral_window"); !path.empty())
        CHECK(load_model_config(path).sliding_window == 7);
    if (const std::string path = inputs.shared("golden/mixtral"); !path.empty()) {
        const ModelConfig config = load_model_config(path);
        CHECK(config.head_dim == 16);
        CHECK(config.rope.theta == 1e6);
        CHECK(config.num_local_experts == 8);
        CHECK_FALSE(config.sliding_window);
        CHECK(load_generation_config(path, config).eos_token_ids == std::vector<std::int32_t>{2});
    }
    for (const char* name : {"golden/llama", "data/models/stories260K-llama",
                             "data/models/stories260K-llama-bf16", "data/models/stories260K-mixtral"})
        if (const std::string path = inputs.shared(name); !path.empty()) {
            const ModelConfig config = load_model_config(path);
            CHECK(parse(write_json(to_json(config))) == config);
        }
    if (const std::string path = inputs.shared("data/models/stories260K-llama"); !path.empty())
        CHECK(load_generation_config(path, load_model_config(path)).eos_token_ids ==
              std::vector<std::int32_t>{1, 2});
    for (const char* name : {"golden/olmoe", "golden/qwen3_moe", "golden/deepseek_v3", "golden/gpt_oss"})
        if (const std::string path = inputs.shared(name); !path.empty())
            expect_error(ErrorCode::unsupported, "model_type", [&] { load_model_config(path); });
}
