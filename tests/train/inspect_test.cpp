#include <moegrad/io/json_writer.hpp>
#include <moegrad/train/inspect.hpp>
#include <moegrad/train/model_saver.hpp>

#include <algorithm>
#include <array>
#include <filesystem>

#include "io/support.hpp"
#include "support/model_small.hpp"

using namespace moegrad;
using io_test::expect_error;
using io_test::TemporaryFolder;

namespace {

const std::string kGoldenFolder = MOEGRAD_SOURCE_DIR "/tests/golden/";

/// A value of the JSON by its path, as text.
std::string inspected_fact(const Inspection& inspection, std::initializer_list<const char*> path) {
    const Json all = inspection_json(inspection);
    const Json* at = &all;
    for (const char* key : path) {
        at = at ? at->find(key) : nullptr;
    }
    return at ? write_json(*at) : "absent";
}

/// The row of a table whose first cell is `name`.
std::string table_row(const Inspection& inspection, const char* table, const std::string& name) {
    const Json* rows = inspection.json.find(table);
    if (!rows || !rows->array()) return "absent";
    for (const Json& one : *rows->array()) {
        if (*one.members()->front().value.string() == name) return write_json(one);
    }
    return "no row";
}

bool inspection_says(const std::vector<std::string>& lines, const std::string& words) {
    return std::any_of(lines.begin(), lines.end(),
                       [&](const std::string& line) { return line.find(words) != std::string::npos; });
}

Inspection inspect_path(const std::string& path, const std::string& base = "") {
    return inspect({.path = path, .base = base});
}

}  // namespace

TEST_CASE("inspect: a model, its experts, its parameters, from the headers alone") {
    const auto found = inspect_path(kGoldenFolder + "mixtral_tiny");
    CHECK(inspected_fact(found, {"kind"}) == "\"model\"");
    CHECK(inspected_fact(found, {"family"}) == "\"mixtral\"");
    CHECK(inspected_fact(found, {"experts", "experts"}) == "4");
    CHECK(inspected_fact(found, {"experts", "chosen"}) == "2");
    CHECK(inspected_fact(found, {"experts", "stored"}) == "\"one by one (transformers 4)\"");
    CHECK(inspected_fact(found, {"files"}) == "2");
    // D 32, F 24, V 96, E 4, L 2: embeddings 2 V D, experts L E 3 D F, router L E D; per token half of the experts.
    CHECK(inspected_fact(found, {"parameters", "experts"}) == "18432");
    CHECK(inspected_fact(found, {"parameters", "router"}) == "256");
    CHECK(inspected_fact(found, {"parameters", "embedding"}) == "6144");
    const auto total = std::stol(inspected_fact(found, {"parameters", "total"}));
    CHECK(std::stol(inspected_fact(found, {"parameters", "active"})) == total - 9216);
    CHECK(inspected_fact(found, {"bytes"}) == std::to_string(4 * total));
    CHECK(table_row(found, "types", "F32").find("\"numbers\":" + std::to_string(total)) != std::string::npos);
    CHECK(table_row(found, "groups", "model.layers.*.block_sparse_moe.experts.*.w2.weight")
              .find("\"count\":8") != std::string::npos);
    CHECK(inspected_fact(found, {"warnings"}) == "[]");
    CHECK(inspected_fact(inspect_path(kGoldenFolder + "llama_tied_rope3/config.json"), {"rope", "type"}) ==
          "\"llama3\"");
}

TEST_CASE("inspect: what does not fit is a warning, not an end") {
    const TemporaryFolder folder;
    save_model(*test::small_model<float>(test::small_config(ModelFamily::mixtral)), folder.file("m"));
    std::string text = io_test::read_text(folder.file("m/config.json"));
    const auto with = [&](const std::string& from, const std::string& to) {
        std::string changed = text;
        const auto at = changed.find(from);
        REQUIRE(at != std::string::npos);
        folder.write("m/config.json", changed.replace(at, from.size(), to));
        return inspect_path(folder.file("m"));
    };
    CHECK(with("{", "{").warnings.empty());
    const auto router =
        with("{", R"({"norm_topk_prob": false, "n_group": 4, "auto_map": {"AutoModel": "x.py--M"},)");
    CHECK(inspected_fact(router, {"unknown_keys"}) == R"(["norm_topk_prob","n_group"])");
    CHECK(inspection_says(router.warnings, "norm_topk_prob"));
    CHECK(inspection_says(router.notes, "auto_map is ignored"));
    CHECK(inspection_says(with("{", R"({"quantization_config": {"quant_method": "bnb"},)").warnings,
                          "not quantised"));
    CHECK(inspection_says(with("\"mixtral\"", "\"qwen3_moe\"").warnings, "llama, mistral or mixtral"));
    CHECK(inspection_says(with("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3").warnings,
                          "tensors missing: model.layers.2."));
    CHECK(inspection_says(with("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1").warnings,
                          "no use for: model.layers.1."));
    CHECK(inspection_says(with("\"intermediate_size\": 24", "\"intermediate_size\": 23").warnings,
                          "[24, 16], not [23, 16]"));
    CHECK(inspection_says(with("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 4096").warnings,
                          "tensors missing"));
    CHECK(inspection_says(with("\"torch_dtype\": \"float32\"", "\"torch_dtype\": \"bfloat16\"").notes,
                          "no tensor is stored so"));
    std::filesystem::copy_file(kGoldenFolder + "eval/tokenizer.json", folder.file("m/tokenizer.json"));
    CHECK(inspection_says(with("{", "{").warnings, "the model rows for 48"));
    std::filesystem::remove(folder.file("m/model.safetensors"));
    CHECK(inspection_says(with("{", "{").warnings, "no weights to read"));
}

TEST_CASE("inspect: an adapter, what it covers, how it is packed and why") {
    const std::string base = kGoldenFolder + "mixtral_tiny", adapter = kGoldenFolder + "mixtral_tiny_peft";
    const auto found = inspect_path(adapter, base);
    CHECK(inspected_fact(found, {"layout"}) == "\"peft-0.19 (by its shapes, no sign of Unsloth)\"");
    CHECK(inspected_fact(found, {"fits_base"}) == "true");
    CHECK(inspected_fact(found, {"warnings"}) == "[]");
    CHECK(table_row(found, "coverage", "mlp.experts.base_layer (gate_up_proj)") ==
          R"x({"adapted":"mlp.experts.base_layer (gate_up_proj)","layers":"0-1","experts":"all",)x"
          R"("lora_A":"[12, 32]","lora_B":"[48, 12]","numbers":1920})");
    CHECK(inspection_says(inspect_path(adapter).notes, "pass --model"));
    CHECK(inspection_says(inspect_path(adapter, kGoldenFolder + "llama_tiny").warnings, "does not load"));
    const auto ranks = inspect_path(kGoldenFolder + "adapters/modules_ranks");
    CHECK(table_row(ranks, "coverage", "block_sparse_moe.experts.*.w2")
              .find(R"("experts":"0-2","lora_A":"[1, 6] [2, 6]")") != std::string::npos);
    const auto down = inspect_path(kGoldenFolder + "adapters/peft_018_down");
    CHECK(table_row(down, "coverage", "mlp.experts (down_proj)").find("[6, 8]") != std::string::npos);

    const TemporaryFolder folder;
    folder.write("adapter_config.json", R"({"peft_type": "MIXLORA", "r": 8, "use_qalora": true})");
    SafetensorsWriter writer;
    const std::vector<float> values(4);
    for (const char* name : {"base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight",
                             "base_model.model.model.layers.4.block_sparse_moe.experts.1.w1.lora_A.weight",
                             "base_model.model.model.layers.4.block_sparse_moe.experts.1.w1.lora_B.weight",
                             "base_model.model.model.layers.5.block_sparse_moe.experts.0.w1.lora_A.weight"})
        writer.add<float>(name, StoredType::f32, std::array<Index, 2>{2, 2}, std::span<const float>(values));
    writer.save(folder.file("adapter_model.safetensors"));
    const auto foreign = inspect_path(folder.path());
    CHECK(inspection_says(foreign.warnings, "MoE-PEFT"));
    CHECK(inspection_says(foreign.warnings, "self_attn.q_proj: 1 places have one of lora_A and lora_B"));
    CHECK(inspection_says(foreign.warnings, "block_sparse_moe.experts.*.w1: 2 of 4 places"));
    CHECK(inspected_fact(foreign, {"unknown_keys"}) == R"(["use_qalora"])");
}

TEST_CASE("inspect: a value of an adapter that is no number is named, in every stored type") {
    const TemporaryFolder folder;
    folder.write("adapter_config.json", R"({"peft_type": "LORA", "r": 1})");
    const auto finite = [&](StoredType type, float value) {
        std::vector<float> values(5000, 0.5f);
        values[4999] = value;
        SafetensorsWriter writer;
        writer.add<float>("a.lora_A.weight", type, std::array<Index, 2>{1, 5000},
                          std::span<const float>(values));
        writer.save(folder.file("adapter_model.safetensors"));
        const auto found = inspect_path(folder.path());
        const bool named = inspection_says(found.warnings, "a.lora_A.weight, element 4999");
        CHECK(named == (inspected_fact(found, {"finite"}) == "false"));
        return !named;
    };
    for (const StoredType type : {StoredType::f32, StoredType::bf16, StoredType::f16}) {
        CHECK(finite(type, 2));
        CHECK_FALSE(finite(type, std::numeric_limits<float>::quiet_NaN()));
        CHECK_FALSE(finite(type, -std::numeric_limits<float>::infinity()));
    }
}

TEST_CASE("inspect: tokenizers, data, runs, files; and what is none of them") {
    CHECK(inspected_fact(inspect_path(kGoldenFolder + "eval/tokenizer.json"), {"model"}) == "\"BPE\"");
    const auto data = inspect_path(kGoldenFolder + "eval/items.jsonl");
    CHECK(inspected_fact(data, {"records"}) == "6");
    CHECK(inspected_fact(data, {"format"}) == "\"choice\"");
    CHECK(inspection_says(data.notes, "key fact is missing in 5 records"));
    CHECK(inspected_fact(inspect_path(kGoldenFolder + "mixtral_tiny_peft/adapter_model.safetensors"),
                         {"tensors"}) == "16");
    const TemporaryFolder folder;
    folder.write("metrics.jsonl", "{\"step\": 1}\n{\"step\": 12, \"ce\": 1.5}\n");
    folder.write("manifest.json", R"({"id": "ab", "sealed": true})");
    std::filesystem::create_directories(folder.file("checkpoints/step-000010"));
    const auto run = inspect_path(folder.path());
    CHECK(inspected_fact(run, {"kind"}) == "\"run\"");
    CHECK(inspected_fact(run, {"last_step"}) == "12");
    CHECK(inspected_fact(run, {"checkpoints_at_step"}) == "[10]");
    CHECK(inspected_fact(run, {"sealed"}) == "true");
    CHECK(run.notes.empty());
    folder.write("manifest.json",
                 R"({"sealed": true, "identity": {"config": {"train.steps": "150"}}, "results":
        {"exit_status": 130, "stopped": "interrupted", "steps": 45}})");
    const auto interrupted = inspect_path(folder.path());
    CHECK(inspected_fact(interrupted, {"exit_status"}) == "130");
    CHECK(inspection_says(interrupted.notes, "interrupted at step 45 of 150; `moegrad train --resume --out " +
                                                 folder.path() + "` goes on from step 10"));
    folder.write("manifest.json", R"({"sealed": false})");
    CHECK(inspection_says(inspect_path(folder.path()).notes, "killed, or still going"));
    folder.write("broken.jsonl", "{\"text\": \"a\"}\n{\"text\": }\n");
    CHECK(inspection_says(inspect_path(folder.file("broken.jsonl")).warnings, "broken.jsonl:2"));
    std::filesystem::create_directories(folder.file("empty"));
    expect_error(ErrorCode::file, "none of them", [&] { inspect_path(folder.file("empty")); });
    expect_error(ErrorCode::file, "nothing there", [&] { inspect_path(folder.file("nowhere")); });
    expect_error(ErrorCode::unsupported, "another file", [&] { inspect_path(folder.write("x.bin", "PK")); });
    expect_error(ErrorCode::unsupported, "moegrad data",
                 [&] { inspect_path(folder.write("x.tsv", "a\tb")); });
    expect_error(ErrorCode::unsupported, "moegrad inspect " + folder.path(),
                 [&] { inspect_path(folder.write("model.safetensors.index.json", "{}")); });
}

TEST_CASE("inspect: text has every fact of the JSON, hostile names are harmless") {
    const TemporaryFolder folder;
    SafetensorsWriter writer;
    const std::vector<float> values(2);
    for (int i = 0; i < 300; ++i)
        writer.add<float>(
            "a\x1b[31m" + std::string(1, static_cast<char>('a' + i % 26)) + "x" + std::to_string(i) + "y",
            StoredType::f32, std::array<Index, 1>{2}, std::span<const float>(values));
    writer.save(folder.file("x.safetensors"));
    const auto found = inspect_path(folder.file("x.safetensors"));
    const std::string text = inspection_text(found);
    CHECK(text.find('\x1b') == std::string::npos);
    CHECK(text.find("100 more kinds of tensors") != std::string::npos);
    CHECK(text.find("2.40 kB") != std::string::npos);
    CHECK_NOTHROW(parse_json(write_json(inspection_json(found), JsonStyle::indented), "json"));
    CHECK(moegrad::detail::grouped(46702792704) == "46,702,792,704");
    CHECK(moegrad::detail::grouped(-999) == "-999");
    CHECK(moegrad::detail::grouped(1000) == "1,000");
    CHECK(moegrad::detail::size_text(93405577216.0) == "93.4 GB");
    CHECK(moegrad::detail::size_text(999.6) == "1.00 kB");
    CHECK(moegrad::detail::size_text(12) == "12 B");
    CHECK(moegrad::detail::ranges_text({0, 1, 2, 5, 7, 8}) == "0-2, 5, 7-8");
}
