#include <cstdlib>

#include <moegrad/train/pretrain.hpp>

#include "io/support.hpp"
#include "support/model_small.hpp"

using namespace moegrad;

TEST_CASE("shipped models: small, complete, unchanged, and they know the small world") {
    const std::string models = std::string(MOEGRAD_SOURCE_DIR) + "/models";
    CHECK(std::system(("cd '" + models + "' && sha256sum --quiet -c SHA256SUMS").c_str()) == 0);
    for (const char* name : {"tiny-mixtral", "tiny-llama"}) {
        CAPTURE(name);
        const std::string folder = models + "/" + name;
        std::uintmax_t bytes = 0;
        for (const auto& file : std::filesystem::directory_iterator(folder)) bytes += file.file_size();
        CHECK(bytes <= std::uintmax_t{4} << 20);
        const auto model = load_model<float>(folder);
        const Tokenizer tokenizer = load_tokenizer(folder);
        CHECK(write_json(world_tokenizer_json(), JsonStyle::indented) ==
              io_test::read_text(folder + "/tokenizer.json"));
        for (auto* parameter : model->base_parameters()) parameter->set_trainable(true);
        Context context({.device = Device::cpu, .threads = 2});
        Trainer<float> trainer(context, *model, {}, {});
        const World source{WorldOptions{}};
        for (const auto& [domain, samples] : world_heldout(source, tokenizer, 40)) {
            CAPTURE(domain);
            CHECK(trainer.evaluate(samples) < 1.6);  // 6.6 for a model that knows nothing
        }
    }
}
