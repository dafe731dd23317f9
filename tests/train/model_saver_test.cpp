#include <moegrad/train/model_saver.hpp>

#include "io/support.hpp"
#include "support/model_small.hpp"

using namespace moegrad;
using namespace moegrad::test;
using io_test::expect_error;
using io_test::TemporaryFolder;

namespace {

template <class Real>
std::vector<float> saved_values(Decoder<Real>& model) {
    std::vector<float> all;
    for (const Real value : values_of(model.base_parameters())) all.push_back(static_cast<float>(value));
    return all;
}

}  // namespace

TEST_CASE("model saver: float32 comes back with the same bits, under the family's names") {
    for (const auto family : {ModelFamily::llama, ModelFamily::mixtral}) {
        for (const auto layout : {ExpertLayout::one_by_one, ExpertLayout::fused}) {
            const TemporaryFolder folder;
            ModelConfig config = small_config(family);
            config.tie_word_embeddings = layout == ExpertLayout::fused;
            const auto model = small_model<float>(config);
            if (auto* mixtral = dynamic_cast<Mixtral<float>*>(model.get())) mixtral->layout = layout;
            save_model(*model, folder.path());
            const auto loaded = load_model<float>(folder.path());
            CHECK(hash_of(loaded->base_parameters()) == hash_of(model->base_parameters()));
            config.dtype = "float32";
            CHECK(loaded->config() == config);
            const CheckpointIndex files(folder.path());
            const bool one_by_one = family == ModelFamily::mixtral && layout == ExpertLayout::one_by_one;
            CHECK(files.contains("model.layers.1.block_sparse_moe.experts.3.w2.weight") == one_by_one);
            CHECK(files.contains("lm_head.weight") == !config.tie_word_embeddings);
        }
    }
}

TEST_CASE("model saver: bfloat16 is every weight rounded to nearest, ties to even") {
    const TemporaryFolder folder;
    const auto model = small_model<float>(small_config(ModelFamily::mixtral));
    // Half way between 1 and 1 + 2^-7, and between 1 + 2^-7 and 1 + 2^-6: both go to the even neighbour.
    auto first = model->base_parameters().front()->value().values();
    first[0] = 1 + 0x1p-8f;
    first[1] = 1 + 0x3p-8f;
    save_model(*model, folder.path(), StoredType::bf16);
    const auto loaded = load_model<float>(folder.path());
    CHECK(loaded->config().dtype == "bfloat16");
    const auto before = saved_values(*model), after = saved_values(*loaded);
    REQUIRE(before.size() == after.size());
    CHECK(after[0] == 1);
    CHECK(after[1] == 1 + 0x1p-6f);
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < before.size(); ++i) wrong += after[i] != static_cast<float>(bf16(before[i]));
    CHECK(wrong == 0);
    // Saved again, nothing is lost any more.
    const TemporaryFolder again;
    save_model(*loaded, again.path(), StoredType::bf16);
    CHECK(io_test::read_text(again.file("model.safetensors")) ==
          io_test::read_text(folder.file("model.safetensors")));
}

TEST_CASE("model saver: a double model goes through float; other types and places are refused") {
    const TemporaryFolder folder;
    const auto model = small_model<double>(small_config(ModelFamily::llama));
    save_model(*model, folder.path());
    CHECK(saved_values(*load_model<double>(folder.path())) == saved_values(*model));
    expect_error(ErrorCode::unsupported, "F32 or BF16",
                 [&] { save_model(*model, folder.path(), StoredType::f64); });
    folder.write("file", "");
    expect_error(ErrorCode::file, "file/model", [&] { save_model(*model, folder.file("file/model")); });
}
