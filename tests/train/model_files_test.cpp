// What load_model refuses: tensors missing or in excess, a tied head of its own, links that lead out, weights that are
// no numbers for a run that trains.

#include <moegrad/train/model_files.hpp>
#include <moegrad/train/model_saver.hpp>

#include <filesystem>

#include "io/support.hpp"
#include "support/model_small.hpp"

using namespace moegrad;
using namespace moegrad::test;
using io_test::expect_error;
using io_test::TemporaryFolder;

namespace {

/// The model's folder with its list of tensors changed.
template <class Change>
void write_changed(Decoder<float>& model, const TemporaryFolder& folder, const Change& change) {
    folder.write("config.json", write_json(to_json(model.config())));
    SafetensorsWriter writer;
    for (const auto& tensor : model.stored_tensors()) {
        const auto value = tensor.value();
        std::vector<Index> shape;
        for (int axis = 0; axis < value.shape().rank(); ++axis) shape.push_back(value.shape()[axis]);
        std::string name = tensor.name;
        if (change(name, shape))
            writer.add(name, StoredType::f32, shape, std::span<const float>(value.values()));
    }
    writer.save(folder.file("model.safetensors"));
}

ModelConfig tied_config() {
    ModelConfig config = small_config(ModelFamily::llama);
    config.tie_word_embeddings = true;
    return config;
}

}  // namespace

TEST_CASE("model files: what is missing and what is unused is listed, both at once") {
    const auto model = small_model<float>(small_config(ModelFamily::mixtral));
    const auto load = [&](const auto& change) {
        const TemporaryFolder folder;
        write_changed(*model, folder, change);
        load_model<float>(folder.path());
    };
    CHECK_NOTHROW(load([](auto&, auto&) { return true; }));
    expect_error(ErrorCode::format, "1 missing: model.layers.1.block_sparse_moe.experts.3.w2.weight", [&] {
        load([](auto& name, auto&) { return !name.ends_with("1.block_sparse_moe.experts.3.w2.weight"); });
    });
    const auto rename = [](std::string& name, auto&) {
        if (name == "lm_head.weight") name = "head.weight";
        return true;
    };
    expect_error(ErrorCode::format, "1 missing: lm_head.weight; 1 unused: head.weight",
                 [&] { load(rename); });
    expect_error(ErrorCode::format, "24 missing", [&] {
        load([](auto& name, auto&) { return name.find(".experts.") == std::string::npos; });
    });
    expect_error(ErrorCode::format, "and 16 more", [&] {
        load([](auto& name, auto&) { return name.find(".experts.") == std::string::npos; });
    });
    expect_error(ErrorCode::shape, "tensor model.norm.weight", [&] {
        load([](auto& name, auto& shape) {
            if (name == "model.norm.weight") shape = {4, 4};
            return true;
        });
    });
    // A layer that is stored one by one among fused ones, and the reverse.
    expect_error(ErrorCode::format, "model.layers.0.mlp.gate.weight", [&] {
        load([](auto& name, auto&) {
            if (name == "model.layers.0.input_layernorm.weight")
                name = "model.layers.0.mlp.experts.gate_up_proj";
            return true;
        });
    });
}

TEST_CASE("model files: a configuration that the files do not back allocates nothing") {
    const auto model = small_model<float>(small_config(ModelFamily::mixtral));
    const TemporaryFolder folder;
    write_changed(*model, folder, [](auto&, auto&) { return true; });
    for (const auto& [key, value] :
         std::vector<std::pair<std::string, std::string>>{{"vocab_size", "16777216"},
                                                          {"num_hidden_layers", "4096"},
                                                          {"num_local_experts", "65536"},
                                                          {"intermediate_size", "4194304"},
                                                          {"head_dim", "4096"}}) {
        std::string text = write_json(to_json(model->config()));
        const auto at = text.find("\"" + key + "\":") + key.size() + 3;
        folder.write("config.json", text.replace(at, text.find_first_of(",}", at) - at, value));
        CAPTURE(key);
        CHECK_THROWS_AS(load_model<float>(folder.path()), Error);
        try {
            load_model<float>(folder.path());
        } catch (const Error& error) {
            const bool size_or_list = error.code == ErrorCode::shape || error.code == ErrorCode::format;
            CHECK(size_or_list);
        }
    }
}

TEST_CASE("model files: a tied head that is stored must be the embedding") {
    const auto tied = small_model<float>(tied_config());
    ModelConfig untied = tied_config();
    untied.tie_word_embeddings = false;
    const auto twice = small_model<float>(untied);
    const auto embedding = twice->stored_tensors().front().value().values();
    const auto head = twice->stored_tensors().back().value().values();
    REQUIRE(twice->stored_tensors().back().name == "lm_head.weight");
    const TemporaryFolder folder;
    const auto write = [&] {
        write_changed(*twice, folder, [](auto&, auto&) { return true; });
        folder.write("config.json", write_json(to_json(tied_config())));
    };
    std::copy(embedding.begin(), embedding.end(), head.begin());
    write();
    CHECK_NOTHROW(load_model<float>(folder.path()));
    CHECK_NOTHROW(load_model<double>(folder.path()));
    head[3 * 16 + 5] += 1e-6f;
    write();
    expect_error(ErrorCode::format, "row 3", [&] { load_model<float>(folder.path()); });
}

TEST_CASE("model files: a link that leads out of the folder is refused, the cache's layout is not") {
    const auto model = small_model<float>(small_config(ModelFamily::llama));
    const TemporaryFolder home;
    namespace fs = std::filesystem;
    save_model(*model, home.file("real"));
    const auto link = [&](const std::string& folder, const std::string& target) {
        fs::create_directories(home.file(folder));
        fs::copy_file(home.file("real/config.json"), home.file(folder + "/config.json"));
        fs::create_symlink(target, home.file(folder + "/model.safetensors"));
    };
    link("out", "../real/model.safetensors");
    expect_error(ErrorCode::file, "leads out", [&] { load_model<float>(home.file("out")); });
    fs::create_directories(home.file("repo/blobs"));
    fs::copy_file(home.file("real/model.safetensors"), home.file("repo/blobs/0a1b"));
    link("repo/snapshots/4c2d", "../../blobs/0a1b");
    CHECK_NOTHROW(load_model<float>(home.file("repo/snapshots/4c2d")));
    link("repo/snapshots/5e3f", "../../../real/model.safetensors");
    expect_error(ErrorCode::file, "leads out", [&] { load_model<float>(home.file("repo/snapshots/5e3f")); });
    fs::create_directory_symlink("real", home.file("whole"));
    CHECK_NOTHROW(load_model<float>(home.file("whole")));
    link("gone", "nothing.safetensors");
    expect_error(ErrorCode::file, "gone", [&] { load_model<float>(home.file("gone")); });
}

TEST_CASE("model files: a value that is no number is found wherever it stands") {
    const auto check = []<class T>(T) {
        const float big = std::numeric_limits<float>::max() / 2, inf = std::numeric_limits<float>::infinity();
        for (std::size_t n = 0; n < 13; ++n) {
            std::vector<T> values(n, T(-big));
            CHECK_FALSE(moegrad::detail::any_nonfinite(values.data(), n));
            for (std::size_t i = 0; i < n; ++i) {
                for (const float bad : {inf, -inf, std::numeric_limits<float>::quiet_NaN()}) {
                    values[i] = T(bad);
                    CHECK(moegrad::detail::any_nonfinite(values.data(), n));
                }
                values[i] = T(1e-39f);
            }
        }
    };
    check(float{});
    check(double{});
    check(bf16(0.0f));
}

TEST_CASE("model files: weights that are no numbers are counted, and refused for training") {
    for (const auto family : {ModelFamily::llama, ModelFamily::mixtral}) {
        const auto model = small_model<float>(small_config(family));
        CHECK(count_nonfinite(*model).total() == 0);
        CHECK(require_finite(*model, "here", false).total() == 0);
        auto stored = model->stored_tensors();
        stored[1].value().values()[2] = std::numeric_limits<float>::quiet_NaN();
        stored[4].value().values()[0] = -std::numeric_limits<float>::infinity();
        stored[4].value().values()[1] = std::numeric_limits<float>::infinity();
        const auto count = count_nonfinite(*model);
        CHECK(count.nan == 1);
        CHECK(count.infinite == 2);
        CHECK(count.tensors == std::vector<std::string>{stored[1].name, stored[4].name});
        expect_error(ErrorCode::value, "1 NaN and 2 infinite in 2 tensors",
                     [&] { require_finite(*model, "here", false); });
        CHECK(require_finite(*model, "here", true).total() == 3);
    }
}

TEST_CASE("model files: the names of a configuration are the names of its model") {
    for (const auto family : {ModelFamily::llama, ModelFamily::mistral, ModelFamily::mixtral}) {
        for (const bool tied : {false, true}) {
            for (const bool fused : {false, true}) {
                ModelConfig config = small_config(family);
                config.tie_word_embeddings = tied;
                const auto model = make_model<float>(config);
                if (auto* mixtral = dynamic_cast<Mixtral<float>*>(model.get()))
                    mixtral->layout = fused ? ExpertLayout::fused : ExpertLayout::one_by_one;
                std::map<std::string, std::vector<Index>> want, got;
                for (const auto& stored : model->stored_tensors()) {
                    for (int axis = 0; axis < stored.shape().rank(); ++axis)
                        want[stored.name].push_back(stored.shape()[axis]);
                }
                moegrad::detail::each_expected_tensor(config, fused, [&](const ExpectedTensor& one) {
                    got[one.name] = one.shape;
                    return true;
                });
                CHECK(got == want);
            }
        }
    }
}
