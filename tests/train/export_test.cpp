// Export: the layout, files and bits of the base.

#include <doctest/doctest.h>

#include <moegrad/train/merged_checkpoint.hpp>

#include "io/support.hpp"
#include "support/model_adapted.hpp"

using namespace moegrad;
using io_test::read_text;

namespace {

/// A folder like a user's: weights, and everything that comes with them.
void write_export_base(const ModelConfig& config, const std::string& folder,
                       StoredType type = StoredType::f32) {
    save_model(*test::small_model<float>(config), folder, type);
    for (const char* name :
         {"tokenizer.json", "tokenizer_config.json", "generation_config.json", "tokenizer.model",
          "chat_template.jinja", "special_tokens_map.json", "LICENSE"}) {
        write_file_atomically(folder + "/" + name, std::string("the base's ") + name);
    }
    for (const char* name : {"README.md", "pytorch_model.bin", "optimizer.pt", "adapter_config.json"}) {
        write_file_atomically(folder + "/" + name, "not for export");
    }
}

/// The same weights in two shards and an index.
void split_in_shards(const std::string& folder) {
    {
        const SafetensorsFile whole(folder + "/model.safetensors");
        SafetensorsWriter shard[2];
        const char* file[2] = {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"};
        Json map = Json::object();
        std::size_t n = 0;
        for (const auto& info : whole.tensors()) {
            shard[n % 3 == 0].add_bytes(info.name, info.type, info.shape, whole.bytes(info));
            map.add(info.name, file[n % 3 == 0]);
            ++n;
        }
        for (int i = 0; i < 2; ++i) shard[i].save(folder + "/" + file[i]);
        Json index = Json::object();
        index.add("metadata", Json::object());
        index.add("weight_map", map);
        write_file_atomically(folder + "/model.safetensors.index.json", write_json(index));
    }
    std::filesystem::remove(folder + "/model.safetensors");
}

std::set<std::string> names_in(const std::string& folder) {
    std::set<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
        names.insert(entry.path().filename().string());
    }
    return names;
}

/// Where every tensor lies and its bytes.
std::map<std::string, std::string> tensors_in(const std::string& folder) {
    std::map<std::string, std::string> all;
    for (const std::string& name : weight_files(folder)) {
        const SafetensorsFile file(folder + "/" + name);
        for (const auto& info : file.tensors()) {
            const auto bytes = file.bytes(info);
            all[name + ":" + info.name + shape_text(info.shape)] =
                std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
        }
    }
    return all;
}

}  // namespace

TEST_CASE("export: a copy has the base's files, shards, names and bits") {
    ModelConfig tied = test::small_config(ModelFamily::llama);
    tied.tie_word_embeddings = true;
    for (const auto& config :
         {test::small_config(ModelFamily::llama), tied, test::small_config(ModelFamily::mixtral)}) {
        for (const bool sharded : {false, true}) {
            for (const StoredType type : {StoredType::f32, StoredType::bf16}) {
                const io_test::TemporaryFolder home;
                const std::string base = home.file("base"), out = home.file("out");
                write_export_base(config, base, type);
                if (sharded) split_in_shards(base);
                copy_checkpoint(base, out, {});
                CHECK(tensors_in(out) == tensors_in(base));
                auto want = names_in(base);
                for (const char* other :
                     {"README.md", "pytorch_model.bin", "optimizer.pt", "adapter_config.json"}) {
                    want.erase(other);
                }
                CHECK(names_in(out) == want);
                for (const char* same :
                     {"config.json", "tokenizer.json", "generation_config.json", "LICENSE"}) {
                    CHECK(read_text(out + "/" + same) == read_text(base + "/" + same));
                }
            }
        }
    }
}

TEST_CASE("export: fused experts stay fused, merged or not") {
    const ModelConfig config = test::small_config(ModelFamily::mixtral);
    const io_test::TemporaryFolder home;
    auto model = test::small_model<float>(config);
    dynamic_cast<Mixtral<float>&>(*model).layout = ExpertLayout::fused;
    save_model(*model, home.file("base"));
    test::write_adapter(config, test::adapted_spec({"w1", "w2", "w3"}, GateMode::lora), home.file("adapter"));
    merge_checkpoint(
        {.model = home.file("base"), .adapter = home.file("adapter"), .out = home.file("out"), .type = {}});
    const auto before = tensors_in(home.file("base")), after = tensors_in(home.file("out"));
    CHECK(before.size() == after.size());
    for (const auto& [name, bytes] : before) {
        REQUIRE(after.contains(name));
        const bool changes = name.find(".experts.") != name.npos || name.find("mlp.gate") != name.npos;
        CHECK((after.at(name) != bytes) == changes);
    }
}

TEST_CASE("export: another type changes config.json and the size in the index, nothing else of them") {
    const io_test::TemporaryFolder home;
    const std::string base = home.file("base"), out = home.file("out");
    write_export_base(test::small_config(ModelFamily::mixtral), base);
    split_in_shards(base);
    const std::string config = read_text(base + "/config.json");
    const auto key = config.find("\"torch_dtype\"");
    REQUIRE(key != std::string::npos);
    for (const char* spelling : {"\"dtype\"", "\"torch_dtype\""}) {  // the newer one, the older one
        const std::string there = std::string(config).replace(key, 13, spelling);
        write_file_atomically(base + "/config.json", there);
        std::filesystem::remove_all(out);
        copy_checkpoint(base, out, StoredType::bf16);
        const auto value = there.find("\"float32\"");
        CHECK(read_text(out + "/config.json") == std::string(there).replace(value, 9, "\"bfloat16\""));
    }
    std::size_t bytes = 0;
    for (const auto& [name, content] : tensors_in(out)) bytes += content.size();
    const Json index = parse_json_file(out + "/model.safetensors.index.json");
    CHECK(index.find("metadata")->find("total_size")->integer() == static_cast<std::int64_t>(bytes));
    CHECK(weight_files(out) == weight_files(base));
    // bf16 of float32 and back is what the library's own rounding gives.
    const auto wide = load_model<float>(base), narrow = load_model<float>(out);
    const auto a = test::values_of(wide->base_parameters()), b = test::values_of(narrow->base_parameters());
    for (std::size_t i = 0; i < a.size(); ++i) REQUIRE(b[i] == float_from_bf16(bf16_from_float(a[i])));
}
