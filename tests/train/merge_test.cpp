// Merging: the merged model is the live adapter, a wrong byte is caught, what is no weight is refused, and nothing is
// left behind when it fails.

#include <doctest/doctest.h>

#include <moegrad/train/merged_checkpoint.hpp>

#include "io/support.hpp"
#include "support/model_adapted.hpp"
#include "support/op_check.hpp"

using namespace moegrad;

namespace {

/// A base folder and an adapter folder in one that vanishes.
struct MergeFolders {
    io_test::TemporaryFolder home;
    std::string base = home.file("base"), adapter = home.file("adapter"), out = home.file("out");

    MergeFolders(const ModelConfig& config, const AdapterSpec& spec, StoredType type = StoredType::f32) {
        save_model(*test::small_model<float>(config), base, type);
        test::write_adapter(config, spec, adapter);
    }
    MergeOptions options() const {
        return {.model = base, .adapter = adapter, .out = out, .type = {}, .threads = 1};
    }
    bool nothing_left() const {
        for (const auto& entry : std::filesystem::directory_iterator(home.path())) {
            const std::string name = entry.path().filename().string();
            if (name != "base" && name != "adapter") return false;
        }
        return true;
    }
};

ModelConfig tied_llama() {
    ModelConfig config = test::small_config(ModelFamily::llama);
    config.tie_word_embeddings = true;
    return config;
}

const std::vector<std::pair<ModelConfig, AdapterSpec>>& merge_cases() {
    static const std::vector<std::pair<ModelConfig, AdapterSpec>> cases = [] {
        const ModelConfig llama = test::small_config(ModelFamily::llama),
                          mixtral = test::small_config(ModelFamily::mixtral);
        std::vector<std::pair<ModelConfig, AdapterSpec>> all{{llama, test::adapted_spec({"attention"})},
                                                             {llama, test::adapted_spec({"mlp"})},
                                                             {tied_llama(), test::adapted_spec({"all"})}};
        for (const GateMode gate : {GateMode::frozen, GateMode::lora, GateMode::full}) {
            for (const auto& targets : {std::vector<std::string>{"all"},
                                        {"experts.down"},
                                        {"w1", "w3"},
                                        {"v_proj", "w1", "w2", "w3"}}) {
                all.emplace_back(mixtral, test::adapted_spec(targets, gate));
            }
        }
        return all;
    }();
    return cases;
}

}  // namespace

TEST_CASE("merge: in double the merged model is the live adapter") {
    for (const auto& [config, spec] : merge_cases()) {
        CAPTURE(spec.targets.front());
        CAPTURE(static_cast<int>(spec.gate));
        const auto model = test::adapted_model<double>(config, spec);
        const auto live = moegrad::detail::probe_logits(test::context(), *model, 3);
        const auto bare =
            moegrad::detail::probe_logits(test::context(), *test::small_model<double>(config), 3);
        const auto updates = merge_lora(*model, spec);
        CHECK(lora_updates(*model).empty());
        const auto merged = moegrad::detail::probe_logits(test::context(), *model, 3);
        CHECK(moegrad::detail::largest_difference(live, merged) < 1e-12);
        CHECK(moegrad::detail::largest_difference(live, bare) > 0.01);
        for (const auto& update : updates) CHECK(update.lora.defined());
    }
}

TEST_CASE("merge: the folder is the live adapter, read back and checked") {
    for (const auto& [config, spec] : merge_cases()) {
        CAPTURE(spec.targets.front());
        CAPTURE(static_cast<int>(spec.gate));
        const MergeFolders folders(config, spec);
        const auto report = merge_checkpoint(folders.options());
        CHECK(report.merged < 1e-4);
        CHECK(report.stored == report.merged);  // float32 is what was computed
        CHECK(report.moved > 0.01);
        CHECK(report.check.norm_gap < 1e-5);
        CHECK(report.check.kept() == doctest::Approx(1).epsilon(1e-5));
        CHECK(report.check.changed > 0);
        CHECK(report.check.changed < report.check.tensors);
    }
}

TEST_CASE("merge: one wrong value in any tensor is caught and nothing is left behind") {
    const auto spec = test::adapted_spec({"all"}, GateMode::full);
    const MergeFolders folders(test::small_config(ModelFamily::mixtral), spec);
    for (const char* name :
         {"model.layers.0.self_attn.q_proj.weight", "model.layers.1.block_sparse_moe.experts.2.w1.weight",
          "model.layers.1.block_sparse_moe.experts.0.w3.weight",
          "model.layers.0.block_sparse_moe.experts.3.w2.weight",
          "model.layers.1.block_sparse_moe.gate.weight", "model.embed_tokens.weight", "model.norm.weight"}) {
        CAPTURE(name);
        const auto flip = [&](const std::string& folder) {
            const std::string path = folder + "/model.safetensors";
            std::size_t at = 0;
            {
                const SafetensorsFile file(path);
                at = file.at(name).offset + 4 * 5;
            }
            std::string bytes = io_test::read_text(path);
            float value;
            std::memcpy(&value, bytes.data() + at, 4);
            value += 1e-4f;
            std::memcpy(bytes.data() + at, &value, 4);
            write_file_atomically(path, bytes);
        };
        io_test::expect_error(ErrorCode::value, name, [&] { merge_checkpoint(folders.options(), flip); });
        CHECK(folders.nothing_left());
    }
}

TEST_CASE("merge: updates that went to the wrong expert or in the wrong order are caught") {
    const auto spec = test::adapted_spec({"experts"});
    const ModelConfig config = test::small_config(ModelFamily::mixtral);
    const MergeFolders folders(config, spec);
    const auto model = load_model<float>(folders.base);
    load_adapter(*model, folders.adapter);
    auto updates = merge_lora(*model, spec);
    ExportChanges changes;
    for (const auto& update : updates) changes.weights.insert(update.weight);
    std::filesystem::create_directories(folders.out);
    export_checkpoint(*model, folders.base, folders.out, changes);
    CHECK_NOTHROW(check_merge(*model, updates, {}, folders.base, folders.out));
    auto swap = [&](Tensor<float> first, Tensor<float> second) {
        std::swap_ranges(first.values().begin(), first.values().end(), second.values().begin());
        CHECK_THROWS_AS(check_merge(*model, updates, {}, folders.base, folders.out), Error);
        std::swap_ranges(first.values().begin(), first.values().end(), second.values().begin());
    };
    const auto B = updates.front().lora.B.value();
    swap(B.slice(0), B.slice(1));
    swap(B.slice(2).rows(0, 1), B.slice(2).rows(1, 2));
    updates.front().lora.scale *= 1.001;
    CHECK_THROWS_AS(check_merge(*model, updates, {}, folders.base, folders.out), Error);
    updates.erase(updates.begin());  // an expert's change that no update explains
    CHECK_THROWS_AS(check_merge(*model, updates, {}, folders.base, folders.out), Error);
}

TEST_CASE("merge: what depends on the token is refused, with what to do instead") {
    const ModelConfig llama = test::small_config(ModelFamily::llama),
                      mixtral = test::small_config(ModelFamily::mixtral);
    for (const Method method : {Method::molora, Method::adamoe, Method::mor}) {
        for (const auto* config : {&llama, &mixtral}) {
            if (method == Method::molora && config->is_mixture()) continue;
            AdapterSpec spec = test::adapted_spec({"attention"});
            spec.method = method;
            const MergeFolders folders(*config, spec);
            CAPTURE(name(method));
            io_test::expect_error(ErrorCode::unsupported, "--adapter",
                                  [&] { merge_checkpoint(folders.options()); });
            io_test::expect_error(ErrorCode::unsupported, name(method),
                                  [&] { merge_checkpoint(folders.options()); });
            CHECK(folders.nothing_left());
        }
    }
}

TEST_CASE("merge: bfloat16 says how much of the update survived, float32 on request keeps all") {
    const MergeFolders folders(test::small_config(ModelFamily::llama), test::adapted_spec({"all"}),
                               StoredType::bf16);
    const auto narrow = merge_checkpoint(folders.options());
    CHECK(narrow.check.narrow);
    CHECK(narrow.check.kept() > 0.95);
    CHECK(narrow.check.kept() < 1.05);
    CHECK(narrow.check.worst_kept < 1);
    CHECK(narrow.stored > narrow.merged);
    MergeOptions wide = folders.options();
    wide.out = folders.home.file("wide");
    wide.type = StoredType::f32;
    const auto whole = merge_checkpoint(wide);
    CHECK_FALSE(whole.check.narrow);
    CHECK(whole.check.kept() == doctest::Approx(1).epsilon(1e-5));
    CHECK(whole.stored == whole.merged);
    CHECK(io_test::read_text(wide.out + "/config.json").find("\"float32\"") != std::string::npos);
}

TEST_CASE("merge: an update below the steps of bfloat16 is lost there, and that is said") {
    AdapterSpec spec = test::adapted_spec({"attention"});
    spec.lora.alpha = 0.002;
    const MergeFolders folders(test::small_config(ModelFamily::llama), spec, StoredType::bf16);
    const auto lost = merge_checkpoint(folders.options()).check;
    CHECK(lost.kept() < 0.7);
    CHECK(lost.worst_kept <= lost.kept());
    CHECK(lost.worst.find("self_attn") != std::string::npos);
    MergeOptions wide = folders.options();
    wide.out = folders.home.file("wide");
    wide.type = StoredType::f32;
    CHECK(merge_checkpoint(wide).check.kept() == doctest::Approx(1).epsilon(1e-3));
}

TEST_CASE("merge: an adapter's own top_k goes to config.json") {
    AdapterSpec spec = test::adapted_spec({"attention"});
    spec.top_k = 3;
    const MergeFolders folders(test::small_config(ModelFamily::mixtral), spec);
    const auto report = merge_checkpoint(folders.options());
    CHECK(report.experts_per_token == 3);
    CHECK(load_model_config(folders.out).num_experts_per_tok == 3);
    CHECK(load_model_config(folders.base).num_experts_per_tok == 2);
}

TEST_CASE("merge: a folder with something in it is left alone") {
    const MergeFolders folders(test::small_config(ModelFamily::llama), test::adapted_spec({"q_proj"}));
    std::filesystem::create_directories(folders.out);
    write_file_atomically(folders.out + "/mine.txt", "mine");
    io_test::expect_error(ErrorCode::file, "new or empty", [&] { merge_checkpoint(folders.options()); });
    CHECK(io_test::read_text(folders.out + "/mine.txt") == "mine");
    std::filesystem::remove(folders.out + "/mine.txt");
    CHECK_NOTHROW(merge_checkpoint(folders.options()));
}
