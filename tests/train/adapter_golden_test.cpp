// Adapters that PEFT 0.21.2 and 0.18.1 saved, and what Unsloth's reading of the same files means: the update of every
// weight, number by number (tests/golden/make_adapters.py).

#include <moegrad/train/adapter_export.hpp>
#include <moegrad/train/adapter_files.hpp>
#include <moegrad/train/merge.hpp>
#include <moegrad/train/model_files.hpp>
#include <moegrad/train/model_saver.hpp>

#include <array>
#include <map>

#include "io/support.hpp"

using namespace moegrad;
using io_test::expect_error;
using io_test::TemporaryFolder;

namespace {

const std::string kAdapters = MOEGRAD_SOURCE_DIR "/tests/golden/adapters/";

using Updates = std::map<std::string, std::vector<double>>;

ModelConfig adapter_model_config(const SafetensorsFile& delta) {
    ModelConfig config = family_defaults(ModelFamily::mixtral);
    config.num_hidden_layers = 2;
    config.num_attention_heads = 2;
    config.num_key_value_heads = 1;
    config.head_dim = 4;
    config.vocab_size = 16;
    config.num_experts_per_tok = 2;
    for (const auto& [key, value] : delta.metadata()) {
        if (key == "experts") config.num_local_experts = std::stol(value);
        if (key == "hidden") config.hidden_size = std::stol(value);
        if (key == "width") config.intermediate_size = std::stol(value);
    }
    validate(config);
    return config;
}

Updates updates_of(Decoder<float>& model) {
    Updates all;
    for (const auto& update : lora_updates(model)) {
        std::vector<double>& values = all[update.weight->name()];
        std::vector<double> row(static_cast<std::size_t>(update.columns()));
        for (Index e = 0; e < update.matrices(); ++e) {
            for (Index o = 0; o < update.rows(); ++o) {
                update.delta_row(e, o, row);
                values.insert(values.end(), row.begin(), row.end());
            }
        }
    }
    return all;
}

Updates expected_updates(const SafetensorsFile& delta) {
    Updates all;
    for (const auto& info : delta.tensors()) {
        all[info.name].resize(static_cast<std::size_t>(info.count));
        delta.read(info, std::span<double>(all[info.name]));
    }
    return all;
}

struct Golden {
    explicit Golden(const std::string& name)
        : folder(kAdapters + name),
          delta(folder + "/delta.safetensors"),
          config(adapter_model_config(delta)) {}

    std::string folder;
    SafetensorsFile delta;
    ModelConfig config;
};

Updates load_golden(const Golden& golden, PeftLayout layout, std::string folder = "") {
    const auto model = make_model<float>(golden.config);
    load_adapter(*model, folder.empty() ? golden.folder : folder, {layout});
    return updates_of(*model);
}

}  // namespace

TEST_CASE("adapters in the wild: every update is the one that its program means") {
    struct Case {
        std::string name;
        PeftLayout layout = PeftLayout::automatic;
    };
    using enum PeftLayout;
    for (const Case& one : std::vector<Case>{{"peft_021_plain"},
                                             {"peft_021_square"},
                                             {"peft_021_square_up"},
                                             {"peft_021_down"},
                                             {"peft_021_e_is_r", peft_0_19},
                                             {"peft_018_plain"},
                                             {"peft_018_square"},
                                             {"peft_018_square_up"},
                                             {"peft_018_down"},
                                             {"peft_018_e_is_r", peft_0_17},
                                             {"unsloth_plain", unsloth},
                                             {"unsloth_square", unsloth},
                                             {"unsloth_e_is_r", unsloth},
                                             {"unsloth_017_plain", unsloth_0_17},
                                             {"unsloth_017_square", unsloth_0_17},
                                             {"unsloth_017_e_is_r", unsloth_0_17},
                                             {"modules_all"},
                                             {"modules_layer"},
                                             {"modules_ranks"},
                                             {"modules_linear"},
                                             {"fused_ranks"}}) {
        CAPTURE(one.name);
        const Golden golden(one.name);
        const Updates got = load_golden(golden, one.layout), want = expected_updates(golden.delta);
        CHECK(got.size() == want.size());
        for (const auto& [name, values] : want) {
            CAPTURE(name);
            REQUIRE(got.contains(name));
            CHECK(got.at(name) == values);
        }
    }
}

TEST_CASE("adapters in the wild: what has two readings is refused with both") {
    struct Case {
        std::string name, first, second;
    };
    for (const Case& one : std::vector<Case>{{"peft_021_e_is_r", "peft-0.19", "unsloth"},
                                             {"peft_018_e_is_r", "peft-0.17", "unsloth-0.17"},
                                             {"unsloth_plain", "peft-0.19", "unsloth"},
                                             {"unsloth_square", "peft-0.19", "unsloth"},
                                             {"unsloth_017_plain", "peft-0.17", "unsloth-0.17"}}) {
        CAPTURE(one.name);
        const Golden golden(one.name);
        try {
            load_golden(golden, PeftLayout::automatic);
            FAIL("no error");
        } catch (const Error& error) {
            CHECK(error.code == ErrorCode::config);
            CHECK(error.got.find(one.first + ": lora_A") != std::string::npos);
            CHECK(error.got.find(one.second + ": lora_A") != std::string::npos);
            CHECK(error.hint ==
                  "pass --peft-layout " + one.first + " or " + one.second + ", whichever trained it");
        }
    }
}

TEST_CASE("adapters in the wild: shapes, versions and the caller's word must agree") {
    const auto with_version = [](const std::string& name, const std::string& version) {
        const Golden golden(name);
        const TemporaryFolder folder;
        std::string text = io_test::read_text(golden.folder + "/adapter_config.json");
        const auto at = text.find("\"peft_version\": \"") + 17;
        text.replace(at, text.find('"', at) - at, version);
        folder.write("adapter_config.json", text);
        folder.write("adapter_model.safetensors",
                     io_test::read_text(golden.folder + "/adapter_model.safetensors"));
        return load_golden(golden, PeftLayout::automatic, folder.path());
    };
    // Width in = width out of gate_up: only the version tells, and 0.19.0 still packed as 0.17 did.
    const auto plain = with_version("peft_021_square_up", "0.19.1");
    CHECK(plain == expected_updates(Golden("peft_021_square_up").delta));
    CHECK(with_version("peft_021_square_up", "0.20.1.dev0") == plain);
    CHECK(with_version("peft_021_square_up", "0.19.0") != plain);
    CHECK(with_version("peft_018_square_up", "0.19.0") ==
          expected_updates(Golden("peft_018_square_up").delta));
    for (const char* unknown : {"", "main"}) {
        expect_error(ErrorCode::config, "same width", [&] { with_version("peft_021_square_up", unknown); });
        CHECK_NOTHROW(with_version("peft_021_plain", unknown));
        CHECK_NOTHROW(with_version("peft_018_plain", unknown));
    }
    expect_error(ErrorCode::config, "peft_version 0.18.1", [&] { with_version("peft_021_plain", "0.18.1"); });
    expect_error(ErrorCode::config, "peft_version 0.19.1", [&] { with_version("peft_018_plain", "0.19.1"); });
    expect_error(ErrorCode::shape, "lora_A.weight",
                 [] { load_golden(Golden("peft_021_plain"), PeftLayout::peft_0_17); });
    expect_error(ErrorCode::shape, "lora_A.weight",
                 [] { load_golden(Golden("peft_018_plain"), PeftLayout::unsloth); });
    CHECK(load_golden(Golden("peft_021_plain"), PeftLayout::unsloth) ==
          load_golden(Golden("unsloth_plain"), PeftLayout::unsloth));
}

TEST_CASE(
    "adapters in the wild: written in every layout and read back, whole numbers that are all different") {
    for (const auto& [experts, rank, hidden, width] : std::vector<std::array<Index, 4>>{
             {3, 2, 8, 6}, {3, 3, 8, 6}, {3, 2, 8, 4}, {4, 4, 8, 4}, {1, 2, 8, 6}, {5, 1, 8, 4}}) {
        ModelConfig config = Golden("peft_021_plain").config;
        config.num_local_experts = experts;
        config.num_experts_per_tok = 1;
        config.hidden_size = hidden;
        config.intermediate_size = width;
        for (const PeftLayout layout : kPeftLayouts) {
            CAPTURE(name(layout));
            AdapterSpec spec;
            spec.lora.rank = rank;
            spec.targets = {"experts"};
            const auto model = make_model<float>(config);
            attach(*model, spec);
            float next = 1;
            for (auto* parameter : trainable_parameters(*model)) {
                for (float& value : parameter->value().values()) value = next++;
            }
            const TemporaryFolder folder;
            save_adapter(*model, spec, folder.path());
            save_adapter_tensors(*model, folder.path(), layout);
            const auto read = make_model<float>(config);
            load_adapter(*read, folder.path());
            const auto want = trainable_parameters(*model), got = trainable_parameters(*read);
            REQUIRE(want.size() == got.size());
            for (std::size_t i = 0; i < want.size(); ++i) {
                const auto a = want[i]->value().values(), b = got[i]->value().values();
                CHECK(std::equal(a.begin(), a.end(), b.begin(), b.end()));
            }
        }
    }
}

TEST_CASE("adapters in the wild: exported for PEFT 0.19.1 and later they mean the same") {
    for (const auto& [name, layout] :
         std::vector<std::pair<std::string, PeftLayout>>{{"modules_ranks", PeftLayout::automatic},
                                                         {"modules_layer", PeftLayout::automatic},
                                                         {"fused_ranks", PeftLayout::automatic},
                                                         {"peft_018_plain", PeftLayout::automatic},
                                                         {"unsloth_e_is_r", PeftLayout::unsloth},
                                                         {"unsloth_017_square", PeftLayout::unsloth_0_17}}) {
        CAPTURE(name);
        const Golden golden(name);
        const TemporaryFolder folder;
        save_model(*make_model<float>(golden.config), folder.file("base"));
        export_adapter({.model = folder.file("base"),
                        .adapter = golden.folder,
                        .out = folder.file("peft"),
                        .base_name = "",
                        .single_modules = false,
                        .reading = {layout}});
        CHECK(load_golden(golden, PeftLayout::automatic, folder.file("peft")) == load_golden(golden, layout));
        // What PEFT itself would make of the file: its own order, whatever the mark says.
        CHECK(load_golden(golden, PeftLayout::peft_0_19, folder.file("peft")) ==
              expected_updates(golden.delta));
    }
}
