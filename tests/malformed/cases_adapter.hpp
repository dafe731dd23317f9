#pragma once
// K01 to K06: adapters for a small Llama (2 layers, hidden 16) and a small Mixtral (4 experts of width 24).

#include <malformed/case.hpp>
#include <moegrad/core/format.hpp>

namespace malformed {

struct StoredF32 {
    std::string name;
    std::vector<std::int64_t> shape;
};

inline std::string f32_file(const std::vector<StoredF32>& tensors, const std::string& data = {}) {
    std::string header = "{";
    std::int64_t at = 0;
    for (const StoredF32& tensor : tensors) {
        std::string shape;
        std::int64_t bytes = 4;
        for (const std::int64_t extent : tensor.shape) {
            shape += moegrad::format("{}{}", shape.empty() ? "" : ",", extent);
            bytes *= extent;
        }
        header += moegrad::format(R"({}"{}":{{"dtype":"F32","shape":[{}],"data_offsets":[{},{}]}})",
                                  at > 0 ? "," : "", tensor.name, shape, at, at + bytes);
        at += bytes;
    }
    return whole(header + "}", data.empty() ? zeros(static_cast<std::size_t>(at)) : data);
}

/// q_proj of both layers of the Llama.
inline std::vector<StoredF32> lora_tensors(std::int64_t rank = 2) {
    std::vector<StoredF32> all;
    for (int layer = 0; layer < 2; ++layer) {
        const std::string name =
            moegrad::format("base_model.model.model.layers.{}.self_attn.q_proj.lora_", layer);
        all.push_back({name + "A.weight", {rank, 16}});
        all.push_back({name + "B.weight", {16, rank}});
    }
    return all;
}

inline std::string lora_config(const std::string& changes = {}, const std::string& rank = "2",
                               const std::string& alpha = "4", const std::string& targets = R"(["q_proj"])") {
    return moegrad::format(
        R"({{"peft_type":"LORA","r":{},"lora_alpha":{},"lora_dropout":0.0,"bias":"none","target_modules":{}{}}})",
        rank, alpha, targets, changes);
}

inline Files adapter_files(std::string config, std::string weights) {
    return {{"adapter_config.json", std::move(config)}, {"adapter_model.safetensors", std::move(weights)}};
}

/// down_proj of all experts of the Mixtral, as PEFT packs them: A [E r, F], B [D, r E].
inline Files fused_files(const std::string& changes, std::int64_t rank = 2, std::int64_t a = 24,
                         std::int64_t b = 16) {
    std::vector<StoredF32> all;
    for (int layer = 0; layer < 2; ++layer) {
        const std::string name = moegrad::format("base_model.model.model.layers.{}.mlp.experts.lora_", layer);
        all.push_back({name + "A.weight", {4 * rank, a}});
        all.push_back({name + "B.weight", {b, 4 * rank}});
    }
    return adapter_files(lora_config(R"(,"target_parameters":["mlp.experts.down_proj"])" + changes,
                                     moegrad::format("{}", rank), "4", "null"),
                         f32_file(all));
}

inline void add_adapter_configs(Cases& cases) {
    const Files good = adapter_files(lora_config(), f32_file(lora_tensors()));
    const auto bad = [&](const char* id, const char* what, const std::string& config, const char* key,
                         const char* words, ErrorCode code = ErrorCode::config) {
        Files files = good;
        files[0].content = config;
        cases.push_back(
            {id, what, Reader::adapter, files, good, code, std::string("adapter_config.json") + key, words});
    };
    const ErrorCode unsupported = ErrorCode::unsupported, format = ErrorCode::format;
    bad("K01", "rank 0", lora_config("", "0"), ": r", "an integer in 1..65536");
    bad("K01b", "negative rank", lora_config("", "-2"), ": r", "an integer in 1..65536");
    bad("K01c", "rank 2^31", lora_config("", "2147483648"), ": r", "an integer in 1..65536");
    bad("K01d", "rank 2.0", lora_config("", "2.0"), ": r", "an integer in 1..65536");
    bad("K02", "lora_alpha NaN", lora_config("", "2", "NaN"), "", "valid JSON", format);
    bad("K02b", "lora_alpha as text", lora_config("", "2", "\"NaN\""), ": lora_alpha", "a number in");
    bad("K02c", "lora_alpha 1e300", lora_config("", "2", "1e300"), ": lora_alpha", "a number in");
    bad("K03b", "dropout 2",
        lora_config(R"(,"lora_alpha_2":null)").replace(lora_config().find("0.0"), 3, "2.0"), ": lora_dropout",
        "a number in 0..1");
    bad("K13", "another peft_type", R"({"peft_type":"IA3","r":2,"lora_alpha":4})", ": peft_type",
        "LORA or MOLORA", unsupported);
    Files dora = good;
    dora[0].content = lora_config(R"(,"use_dora":true)");
    cases.push_back({"K14", "DoRA without its magnitudes", Reader::adapter, dora, good, format,
                     "adapter_model.safetensors", "lora_magnitude_vector"});
    bad("K15", "an unknown key that is on", lora_config(R"(,"magic":1)"), ": magic", "a feature that is off",
        unsupported);
    bad("K16", "biases",
        lora_config(R"(,"magic":null)").replace(lora_config().find("\"none\""), 6, "\"all\""), ": bias",
        "none", unsupported);
    bad("K17", "a start that rewrites the base", lora_config(R"(,"init_lora_weights":"pissa")"),
        ": init_lora_weights", "leaves the base as it is", unsupported);
    bad("K18", "no target", lora_config("", "2", "4", "[\"nothing\"]"), ": target_modules", "nothing");
    bad("K19", "MixLoRA of another program", lora_config(R"(,"routing_strategy":"mixlora")"), "", "MoE-PEFT",
        unsupported);
    bad("K20", "the root is an array", "[]", "", "an object");
    bad("K21", "empty file", "", "", "valid JSON", format);
    Files pickled = good;
    pickled[1].name = "adapter_model.bin";
    cases.push_back({"K22", "pickled weights", Reader::adapter, pickled, good, ErrorCode::file,
                     "adapter_model.safetensors", "a pickled file can run code"});
}

inline void add_adapter_weights(Cases& cases) {
    const Files good = adapter_files(lora_config(), f32_file(lora_tensors()));
    const auto bad = [&](const char* id, const char* what, std::vector<StoredF32> tensors, const char* words,
                         ErrorCode code) {
        cases.push_back({id, what, Reader::adapter, adapter_files(lora_config(), f32_file(tensors)), good,
                         code, "adapter_model.safetensors", words});
    };
    auto tensors = lora_tensors();
    tensors[0].shape = {3, 16};
    bad("K03", "A of another rank than B", tensors, "got:      [3, 16]", ErrorCode::shape);
    tensors = lora_tensors();
    tensors[1].shape = {12, 2};
    bad("K03c", "B of another width than the base", tensors, "expected: [16, 2]", ErrorCode::shape);
    bad("K03d", "all of another rank than the config", lora_tensors(4), "got:      [4, 16]",
        ErrorCode::shape);
    tensors = lora_tensors();
    tensors.pop_back();
    bad("K05", "a tensor is missing", tensors, "1 missing", ErrorCode::format);
    tensors = lora_tensors();
    tensors.push_back({"base_model.model.model.layers.0.self_attn.k_proj.lora_A.weight", {2, 16}});
    bad("K05b", "a tensor that the config does not explain", tensors, "1 not asked for", ErrorCode::format);
    tensors = lora_tensors();
    tensors[0].name = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.default.weight";
    bad("K05c", "a name of another spelling", tensors, "1 missing", ErrorCode::format);
    bad("K05d", "no tensors", {}, "at least one tensor", ErrorCode::format);
    Files nan = good;
    nan[1].content.replace(nan[1].content.size() - 4, 4, std::string("\0\0\xC0\x7F", 4));
    cases.push_back({"G19", "NaN among the weights", Reader::adapter, nan, good, ErrorCode::value,
                     "adapter_model.safetensors: base_model", "finite numbers"});
    // The rank is taken at its word only as far as the file has numbers for it.
    cases.push_back({"K01e", "rank 65,536 of a small file", Reader::adapter,
                     adapter_files(lora_config("", "65536"), f32_file(lora_tensors())), good,
                     ErrorCode::shape, "adapter_config.json: r", "65536"});
    const Files fused = fused_files(R"(,"peft_version":"0.19.1")");
    cases.push_back({"K06", "fused experts that Unsloth may have trained: two readings", Reader::adapter,
                     fused_files(R"(,"peft_version":"0.19.1","base_model_name_or_path":"unsloth/x")"), fused,
                     ErrorCode::config, "adapter_model.safetensors", "--peft-layout"});
    cases.push_back({"K06b", "fused experts of as many ranks as experts: two readings", Reader::adapter,
                     fused_files(R"(,"peft_version":"0.19.1")", 4), fused, ErrorCode::config,
                     "adapter_model.safetensors", "--peft-layout"});
    cases.push_back({"K06c", "fused experts of another width", Reader::adapter,
                     fused_files(R"(,"peft_version":"0.19.1")", 2, 20, 16), fused, ErrorCode::shape,
                     "adapter_model.safetensors", "[8, 20]"});
}

inline Cases adapter_cases() {
    Cases cases;
    add_adapter_configs(cases);
    add_adapter_weights(cases);
    return cases;
}

}  // namespace malformed
