// Adapters that are damaged or belong elsewhere: rows K01 to K06 and what the catalogue implies. Each has a code, a place
// and a twin that loads: the folder as PEFT 0.21 saved it.

#include <moegrad/train/adapter_files.hpp>
#include <moegrad/train/model_files.hpp>

#include "io/support.hpp"

using namespace moegrad;
using io_test::expect_error;
using io_test::TemporaryFolder;

namespace {

struct AdapterTensorFile {
    std::string name;
    std::vector<Index> shape;
    std::vector<float> values;
};

/// The golden adapter, taken apart to be changed.
struct AdapterParts {
    std::string config;
    std::vector<AdapterTensorFile> tensors;

    explicit AdapterParts(const std::string& name = "peft_021_plain") {
        const std::string folder = std::string(MOEGRAD_SOURCE_DIR) + "/tests/golden/adapters/" + name;
        config = io_test::read_text(folder + "/adapter_config.json");
        const SafetensorsFile file(folder + "/adapter_model.safetensors");
        for (const auto& info : file.tensors()) {
            tensors.push_back(
                {info.name, info.shape, std::vector<float>(static_cast<std::size_t>(info.count))});
            file.read(info, std::span<float>(tensors.back().values));
        }
    }

    AdapterTensorFile& tensor(const std::string& end) {
        for (auto& one : tensors) {
            if (one.name.ends_with(end)) return one;
        }
        throw Error{ErrorCode::state, "AdapterParts", "a tensor " + end, "none"};
    }
    void change(const std::string& from, const std::string& to) {
        const auto at = config.find(from);
        REQUIRE(at != std::string::npos);
        config.replace(at, from.size(), to);
    }
    void load(ModelConfig model, StoredType type = StoredType::f32) const {
        const TemporaryFolder folder;
        folder.write("adapter_config.json", config);
        SafetensorsWriter writer;
        for (const auto& one : tensors)
            writer.add<float>(one.name, type, one.shape, std::span<const float>(one.values));
        writer.save(folder.file("adapter_model.safetensors"));
        load_adapter(*make_model<float>(model), folder.path());
    }
};

ModelConfig malformed_base() {
    ModelConfig config = family_defaults(ModelFamily::mixtral);
    config.hidden_size = 8;
    config.intermediate_size = 6;
    config.num_hidden_layers = config.num_attention_heads = config.num_experts_per_tok = 2;
    config.num_key_value_heads = 1;
    config.head_dim = 4;
    config.vocab_size = 16;
    config.num_local_experts = 3;
    return config;
}

template <class Change>
void refuse_adapter(ErrorCode code, const std::string& words, const Change& change) {
    AdapterParts parts;
    change(parts);
    expect_error(code, words, [&] { parts.load(malformed_base()); });
}

}  // namespace

TEST_CASE("malformed adapters: the twin loads, in every float type") {
    for (const StoredType type : {StoredType::f32, StoredType::f16, StoredType::bf16, StoredType::f64})
        CHECK_NOTHROW(AdapterParts().load(malformed_base(), type));
    CHECK_NOTHROW(AdapterParts("modules_all").load(malformed_base()));
}

TEST_CASE("malformed adapters: K01, K02: ranks and alphas that are no numbers of theirs") {
    for (const char* r : {"0", "-1", "2147483648", "1e3", "2.0", "null", "true", "\"2\"", "[2]"}) {
        CAPTURE(r);
        refuse_adapter(ErrorCode::config, "adapter_config.json: r",
                       [&](AdapterParts& a) { a.change("\"r\": 2", std::string("\"r\": ") + r); });
    }
    for (const char* alpha : {"\"NaN\"", "null", "1e300", "-1e7", "\"4\"", "[]"}) {
        CAPTURE(alpha);
        refuse_adapter(ErrorCode::config, "adapter_config.json: lora_alpha", [&](AdapterParts& a) {
            a.change("\"lora_alpha\": 4", std::string("\"lora_alpha\": ") + alpha);
        });
    }
    for (const char* alpha : {"NaN", "Infinity", "1e999", "0x4"}) {
        CAPTURE(alpha);
        refuse_adapter(ErrorCode::format, "adapter_config.json", [&](AdapterParts& a) {
            a.change("\"lora_alpha\": 4", std::string("\"lora_alpha\": ") + alpha);
        });
    }
    refuse_adapter(ErrorCode::shape, "q_proj.lora_A.weight", [](AdapterParts& a) {
        a.change("\"rank_pattern\": {}", "\"rank_pattern\": {\"q_proj\": 3}");
    });
    refuse_adapter(ErrorCode::shape, "base_layer.lora_A.weight",
                   [](AdapterParts& a) { a.change("\"r\": 2", "\"r\": 3"); });
}

TEST_CASE("malformed adapters: K03: inner sizes that do not meet") {
    refuse_adapter(ErrorCode::shape, "layers.1.self_attn.q_proj.lora_B.weight", [](AdapterParts& a) {
        auto& b = a.tensor("layers.1.self_attn.q_proj.lora_B.weight");
        b.shape = {8, 3};
        b.values.resize(24);
    });
    refuse_adapter(ErrorCode::shape, "layers.0.self_attn.q_proj.lora_A.weight", [](AdapterParts& a) {
        a.tensor("layers.0.self_attn.q_proj.lora_A.weight").shape = {8, 2};
    });
    refuse_adapter(ErrorCode::shape, "layers.0.self_attn.q_proj.lora_A.weight",
                   [](AdapterParts& a) { a.tensor("layers.0.self_attn.q_proj.lora_A.weight").shape = {16}; });
    // A of one expert's rank less; B of one layer with the roles of the other packing.
    refuse_adapter(ErrorCode::shape, "layers.1.mlp.experts.lora_A.weight", [](AdapterParts& a) {
        auto& A = a.tensor("layers.1.mlp.experts.lora_A.weight");
        A.shape = {5, 6};
        A.values.resize(30);
    });
    refuse_adapter(ErrorCode::shape, "layers.1.mlp.experts", [](AdapterParts& a) {
        std::swap(a.tensor("layers.1.mlp.experts.lora_B.weight").shape,
                  a.tensor("layers.1.mlp.experts.base_layer.lora_B.weight").shape);
        std::swap(a.tensor("layers.1.mlp.experts.lora_B.weight").values,
                  a.tensor("layers.1.mlp.experts.base_layer.lora_B.weight").values);
    });
}

TEST_CASE("malformed adapters: K04: of another base") {
    const AdapterParts parts;
    const auto refuse_base = [&](ErrorCode code, const std::string& words, const auto& change) {
        ModelConfig config = malformed_base();
        change(config);
        expect_error(code, words, [&] { parts.load(config); });
    };
    refuse_base(ErrorCode::shape, "lora_A.weight", [](ModelConfig& c) { c.hidden_size = 12; });
    refuse_base(ErrorCode::shape, "lora_A.weight", [](ModelConfig& c) { c.intermediate_size = 5; });
    refuse_base(ErrorCode::shape, "lora_A.weight", [](ModelConfig& c) { c.num_local_experts = 4; });
    refuse_base(ErrorCode::shape, "q_proj.lora_B.weight", [](ModelConfig& c) { c.head_dim = 6; });
    refuse_base(ErrorCode::format,
                "6 missing: base_model.model.model.layers.2.self_attn.q_proj.lora_A.weight",
                [](ModelConfig& c) { c.num_hidden_layers = 3; });
    refuse_base(ErrorCode::format, "6 not asked for: ", [](ModelConfig& c) { c.num_hidden_layers = 1; });
    refuse_base(ErrorCode::config, "target_parameters[0]",
                [](ModelConfig& c) { c.model_type = ModelFamily::llama; });
}

TEST_CASE(
    "malformed adapters: K05: tensors that are missing or in excess are listed, both ways, eight at most") {
    refuse_adapter(ErrorCode::format, "1 missing: base_model.model.model.layers.1.mlp.experts.lora_B.weight",
                   [](AdapterParts& a) {
                       std::erase_if(a.tensors, [](const auto& t) {
                           return t.name.ends_with("layers.1.mlp.experts.lora_B.weight");
                       });
                   });
    refuse_adapter(ErrorCode::format,
                   "1 not asked for: base_model.model.model.layers.0.self_attn.k_proj.lora_A.weight",
                   [](AdapterParts& a) {
                       a.tensors.push_back({"base_model.model.model.layers.0.self_attn.k_proj.lora_A.weight",
                                            {2, 8},
                                            std::vector<float>(16)});
                   });
    refuse_adapter(
        ErrorCode::format,
        "1 missing: base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight; 1 not asked for: q",
        [](AdapterParts& a) { a.tensor("layers.0.self_attn.q_proj.lora_A.weight").name = "q"; });
    refuse_adapter(ErrorCode::format, "12 missing", [](AdapterParts& a) {
        for (auto& one : a.tensors) one.name = "default." + one.name;
    });
    refuse_adapter(ErrorCode::format, " and 4 more; 12 not asked for", [](AdapterParts& a) {
        for (auto& one : a.tensors) one.name = "default." + one.name;
    });
    // Half of a gate: the configuration names it, the file has no B.
    refuse_adapter(ErrorCode::format, "gate.lora_B.weight", [](AdapterParts& a) {
        a.change("\"q_proj\"", "\"q_proj\", \"gate\"");
        for (const char* layer : {"0", "1"})
            a.tensors.push_back(
                {std::string("base_model.model.model.layers.") + layer + ".mlp.gate.lora_A.weight",
                 {2, 8},
                 std::vector<float>(16)});
    });
}

TEST_CASE("malformed adapters: K06: a gate may have the name of either transformers") {
    for (const std::string block : {"mlp", "block_sparse_moe"}) {
        AdapterParts parts;
        parts.change("\"q_proj\"", "\"q_proj\", \"gate\"");
        for (const char* layer : {"0", "1"}) {
            const std::string name =
                std::string("base_model.model.model.layers.") + layer + "." + block + ".gate.lora_";
            parts.tensors.push_back({name + "A.weight", {2, 8}, std::vector<float>(16)});
            parts.tensors.push_back({name + "B.weight", {3, 2}, std::vector<float>(6)});
        }
        CHECK_NOTHROW(parts.load(malformed_base()));
    }
}

TEST_CASE("malformed adapters: values that are no numbers, files that are not there") {
    for (const float value :
         {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
        refuse_adapter(ErrorCode::value, "layers.1.mlp.experts.lora_B.weight", [&](AdapterParts& a) {
            a.tensor("layers.1.mlp.experts.lora_B.weight").values[7] = value;
        });
    }
    const TemporaryFolder folder;
    const auto load = [&] { load_adapter(*make_model<float>(malformed_base()), folder.path()); };
    expect_error(ErrorCode::file, "adapter_config.json", load);
    folder.write("adapter_config.json", AdapterParts().config);
    expect_error(ErrorCode::file, "adapter_model.safetensors", load);
    folder.write("adapter_model.bin", "PK");
    expect_error(ErrorCode::file, "save it again as safetensors", load);
    folder.write("adapter_config.json", R"({"peft_type": "MIXLORA"})");
    expect_error(ErrorCode::unsupported, "MoE-PEFT", load);
    folder.write("adapter_model.safetensors", "PK");
    folder.write("adapter_config.json", AdapterParts().config);
    expect_error(ErrorCode::format, "adapter_model.safetensors", load);
}
