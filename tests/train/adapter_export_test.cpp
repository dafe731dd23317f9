// Adapters in the form that PEFT reads, and PEFT's patterns read back.

#include <doctest/doctest.h>

#include <moegrad/train/adapter_export.hpp>
#include <moegrad/train/merged_checkpoint.hpp>

#include "io/support.hpp"
#include "support/model_adapted.hpp"

using namespace moegrad;
using io_test::read_text;

TEST_CASE("export: single expert modules go to PEFT as fused ones of twice the rank") {
    const ModelConfig config = test::small_config(ModelFamily::mixtral);
    const io_test::TemporaryFolder home;
    save_model(*test::small_model<float>(config), home.file("base"));
    AdapterSpec spec = test::adapted_spec({"q_proj", "w1", "w2", "w3"}, GateMode::full);
    spec.lora.scale = LoraOptions::Scale::alpha_over_sqrt_rank;
    test::write_adapter(config, spec, home.file("adapter"));
    export_adapter({.model = home.file("base"),
                    .adapter = home.file("adapter"),
                    .out = home.file("peft"),
                    .base_name = "someone/base"});
    const Json json = parse_json_file(home.file("peft/adapter_config.json"));
    CHECK(*json.find("base_model_name_or_path")->string() == "someone/base");
    CHECK(json.find("rank_pattern")->find(".*\\.gate_up_proj")->integer() == 6);
    CHECK(*json.find("alpha_pattern")->find(".*\\.gate_up_proj")->number() ==
          doctest::Approx(7 * 1.4142135623730951));
    CHECK(json.find("target_modules")->array()->size() == 1);
    CHECK(json.find("target_parameters")->array()->size() == 2);

    const SafetensorsFile file(home.file("peft/adapter_model.safetensors")),
        single(home.file("adapter/adapter_model.safetensors"));
    const std::string mlp = "base_model.model.model.layers.1.mlp.",
                      old = "base_model.model.model.layers.1.block_sparse_moe.";
    const Index E = 4, R = 6, D = 16, F = 24;
    CHECK(file.at(mlp + "gate.weight").shape == std::vector<Index>{E, D});
    CHECK(file.at(mlp + "experts.lora_A.weight").shape == std::vector<Index>{E * 3, F});
    const auto read = [](const SafetensorsFile& from, const std::string& name) {
        std::vector<float> values(static_cast<std::size_t>(from.at(name).count));
        from.read(from.at(name), std::span<float>(values));
        return values;
    };
    const auto A = read(file, mlp + "experts.base_layer.lora_A.weight"),
               B = read(file, mlp + "experts.base_layer.lora_B.weight");
    REQUIRE(A.size() == static_cast<std::size_t>(E * R * D));
    REQUIRE(B.size() == static_cast<std::size_t>(2 * F * R * E));
    const auto b = [&](Index row, Index r, Index e) {
        return B[static_cast<std::size_t>(row * R * E + r * E + e)];
    };
    for (Index e = 0; e < E; ++e) {
        const std::string expert = old + "experts." + std::to_string(e);
        const auto a1 = read(single, expert + ".w1.lora_A.weight"),
                   a3 = read(single, expert + ".w3.lora_A.weight");
        const auto b1 = read(single, expert + ".w1.lora_B.weight"),
                   b3 = read(single, expert + ".w3.lora_B.weight");
        const auto begin = A.begin() + static_cast<std::ptrdiff_t>(e * R * D);
        CHECK(std::equal(a1.begin(), a1.end(), begin));
        CHECK(std::equal(a3.begin(), a3.end(), begin + static_cast<std::ptrdiff_t>(3 * D)));
        for (Index row = 0; row < F; ++row) {
            for (Index r = 0; r < 3; ++r) {
                const auto at = static_cast<std::size_t>(row * 3 + r);
                REQUIRE(b(row, r, e) == b1[at]);
                REQUIRE(b(F + row, 3 + r, e) == b3[at]);
                REQUIRE(b(row, 3 + r, e) == 0);
                REQUIRE(b(F + row, r, e) == 0);
            }
        }
    }
}

TEST_CASE("export: single expert modules exported as fused ones are the same function here too") {
    const ModelConfig config = test::small_config(ModelFamily::mixtral);
    for (const auto scale : {LoraOptions::Scale::alpha_over_rank, LoraOptions::Scale::alpha_over_sqrt_rank}) {
        for (const auto& targets :
             {std::vector<std::string>{"w1", "w3"}, {"o_proj", "w1", "w2", "w3"}, {"w2"}}) {
            const io_test::TemporaryFolder home;
            save_model(*test::small_model<float>(config), home.file("base"));
            AdapterSpec spec = test::adapted_spec(targets, GateMode::lora);
            spec.lora.scale = scale;
            test::write_adapter(config, spec, home.file("adapter"));
            export_adapter({.model = home.file("base"),
                            .adapter = home.file("adapter"),
                            .out = home.file("peft"),
                            .base_name = ""});
            Context context({.device = Device::cpu, .threads = 1});
            const auto run = [&](const char* adapter) {
                const auto model = load_model<double>(home.file("base"));
                load_adapter(*model, home.file(adapter));
                return moegrad::detail::probe_logits(context, *model, 3);
            };
            CHECK(moegrad::detail::largest_difference(run("adapter"), run("peft")) < 1e-12);
            const AdapterSpec read = load_adapter_config(home.file("peft"), config);
            const bool up = targets.size() > 1;
            CHECK(read.gate_up_rank == (up ? 6 : 0));
            CHECK(read.gate_up_lora().factor() == doctest::Approx(spec.lora.factor()));
            CHECK((parse_json_file(home.file("peft/adapter_config.json")).find("rank_pattern") != nullptr) ==
                  up);
        }
    }
}

TEST_CASE("export: a pattern that means gate_up of every layer is its own rank and alpha") {
    const ModelConfig mixtral = test::small_config(ModelFamily::mixtral),
                      llama = test::small_config(ModelFamily::llama);
    const io_test::TemporaryFolder home;
    const auto read = [&](const std::string& patterns, const ModelConfig& config) {
        const std::string targets = config.is_mixture()
                                        ? R"("target_parameters": ["mlp.experts.gate_up_proj"])"
                                        : R"("target_modules": ["q_proj"])";
        home.write("adapter_config.json",
                   R"({"peft_type": "LORA", "r": 3, "lora_alpha": 7, )" + patterns + ", " + targets + "}");
        return load_adapter_config(home.path(), config);
    };
    for (const char* key : {".*\\\\.gate_up_proj", "gate_up_proj", "mlp.experts.gate_up_proj"}) {
        const std::string pattern = std::string("{\"") + key + "\": 5}";
        const auto both = read("\"rank_pattern\": " + pattern + ", \"alpha_pattern\": " + pattern, mixtral);
        CHECK(both.gate_up_lora().rank == 5);
        CHECK(both.gate_up_lora().alpha == 5);
        CHECK(both.lora.rank == 3);
        CHECK(read("\"alpha_pattern\": " + pattern, mixtral).gate_up_lora().rank == 3);
        CHECK(read("\"rank_pattern\": " + pattern, mixtral).gate_up_lora().alpha == 7);
    }
    for (const char* key : {"rank_pattern", "alpha_pattern"}) {
        const auto with = [&](const char* pattern) {
            return read(std::string("\"") + key + "\": " + pattern, mixtral);
        };
        // What is no module of the adapter is a slip; one layer alone makes places.
        for (const char* other : {R"({"down_proj": 5})", R"({"gate_up_proj": 5, "q_proj": 4})"})
            io_test::expect_error(ErrorCode::config, key, [&] { with(other); });
        CHECK(with(R"({".*": 5})").gate_up_rank > 0);
        CHECK(with(R"({"model.layers.0.mlp.experts.gate_up_proj": 5})").places.size() == 2);
    }
    io_test::expect_error(ErrorCode::config, "rank_pattern",
                          [&] { read(R"("rank_pattern": {"gate_up_proj": 5})", llama); });
    CHECK(read(R"("rank_pattern": {}, "alpha_pattern": {})", llama).gate_up_rank == 0);
}

TEST_CASE("export: an adapter of fused or dense targets reads back to the same bits") {
    const ModelConfig mixtral = test::small_config(ModelFamily::mixtral),
                      llama = test::small_config(ModelFamily::llama);
    for (const auto& [config, spec] : std::vector<std::pair<ModelConfig, AdapterSpec>>{
             {mixtral, test::adapted_spec({"all"}, GateMode::lora)},
             {mixtral, test::adapted_spec({"experts.gate_up"}, GateMode::full)},
             {llama, test::adapted_spec({"all"})}}) {
        const io_test::TemporaryFolder home;
        save_model(*test::small_model<float>(config), home.file("base"));
        test::write_adapter(config, spec, home.file("adapter"));
        export_adapter({.model = home.file("base"),
                        .adapter = home.file("adapter"),
                        .out = home.file("peft"),
                        .base_name = ""});
        CHECK(read_text(home.file("peft/adapter_model.safetensors")) ==
              read_text(home.file("adapter/adapter_model.safetensors")));
        const auto model = load_model<float>(home.file("base"));
        CHECK_NOTHROW(load_adapter(*model, home.file("peft")));
        // The form of transformers 4 is what the run wrote, whatever the targets.
        export_adapter({.model = home.file("base"),
                        .adapter = home.file("adapter"),
                        .out = home.file("old"),
                        .base_name = "",
                        .single_modules = true});
        CHECK(read_text(home.file("old/adapter_model.safetensors")) ==
              read_text(home.file("adapter/adapter_model.safetensors")));
    }
}

TEST_CASE("export: routers that PEFT does not know are refused") {
    for (const Method method : {Method::adamoe, Method::mor}) {
        for (const ModelFamily family : {ModelFamily::mixtral, ModelFamily::llama}) {
            const ModelConfig config = test::small_config(family);
            const io_test::TemporaryFolder home;
            save_model(*test::small_model<float>(config), home.file("base"));
            AdapterSpec spec = test::adapted_spec({"attention"});
            spec.method = method;
            test::write_adapter(config, spec, home.file("adapter"));
            io_test::expect_error(ErrorCode::unsupported, name(method), [&] {
                export_adapter({.model = home.file("base"),
                                .adapter = home.file("adapter"),
                                .out = home.file("peft"),
                                .base_name = ""});
            });
            CHECK_FALSE(std::filesystem::exists(home.file("peft")));
        }
    }
}
