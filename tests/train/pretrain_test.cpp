#include <moegrad/train/pretrain.hpp>

#include "io/support.hpp"
#include "support/model_small.hpp"

using namespace moegrad;
using namespace moegrad::test;
using io_test::expect_error;
using io_test::read_text;
using io_test::TemporaryFolder;

namespace {

PretrainConfig tiny_pretraining(const std::string& output, const std::string& family = "mixtral") {
    PretrainConfig config;
    config.family = family;
    config.hidden_size = 16;
    config.intermediate_size = 16;
    config.layers = 2;
    config.heads = config.kv_heads = 2;
    config.experts = 4;
    config.initializer_range = config.embedding_range = 0.1;
    config.world = {.seed = 3, .people = 8};
    config.rate.peak = 1e-2;
    config.rate.warmup = 5;
    config.steps = 30;
    config.batch = 6;
    config.eval_documents = 60;
    config.stored = "float32";
    config.threads = 1;
    config.output = output;
    return config;
}

PretrainSummary pretrain_quietly(const PretrainConfig& config) {
    return run_pretraining<float>(config, [](const std::string&) {});
}

}  // namespace

TEST_CASE("pretrain: the loss falls, and threads and micro-batches change no bit") {
    const TemporaryFolder folder;
    const auto first = tiny_pretraining(folder.file("one"));
    const auto one = pretrain_quietly(first);
    CHECK(one.nll.size() == 5);  // domains
    CHECK(one.nll.at("people") < std::log(735.0) - 1);
    auto threads = tiny_pretraining(folder.file("three"));
    threads.threads = 3;
    auto pieces = tiny_pretraining(folder.file("pieces"));
    pieces.micro_batch = 4;
    const std::string weights = read_text(folder.file("one/model/model.safetensors"));
    for (const auto& config : {threads, pieces}) {
        const auto other = pretrain_quietly(config);
        CHECK(other.nll == one.nll);
        CHECK(read_text(config.output + "/model/model.safetensors") == weights);
    }
    auto seeded = tiny_pretraining(folder.file("seeded"));
    seeded.seed = 1;
    CHECK(pretrain_quietly(seeded).nll != one.nll);
}

TEST_CASE("pretrain: the saved folder is a whole checkpoint and the model that was evaluated") {
    for (const char* family : {"mixtral", "llama"}) {
        CAPTURE(family);
        const TemporaryFolder folder;
        auto config = tiny_pretraining(folder.path(), family);
        config.steps = 3;
        const auto summary = pretrain_quietly(config);
        for (const char* file : {"config.json", "model.safetensors", "tokenizer.json",
                                 "tokenizer_config.json", "generation_config.json"}) {
            CHECK(file_exists(summary.model + "/" + file));
        }
        const auto model = load_model<float>(summary.model);
        const Tokenizer tokenizer = load_tokenizer(summary.model);
        CHECK(model->config().vocab_size == static_cast<Index>(tokenizer.vocab_size()));
        CHECK(model->config().bos_token_id == tokenizer.bos_id());
        Context context({.device = Device::cpu, .threads = 1});
        for (auto* parameter : model->base_parameters()) parameter->set_trainable(true);
        Trainer<float> trainer(context, *model, {}, {});
        const World source(config.world);
        for (const auto& [domain, samples] : world_heldout(source, tokenizer, config.eval_documents))
            CHECK(trainer.evaluate(samples) == summary.nll.at(domain));
        const std::string resolved = read_text(folder.file("config.toml"));
        CHECK(resolved.find("world.people = \"8\"") != std::string::npos);
        CHECK(read_text(folder.file("metrics.jsonl")).find("\"step\":2") != std::string::npos);
    }
}

TEST_CASE("pretrain: samples are whole documents, each token of them once and in order") {
    const World source({.seed = 3, .people = 8});
    const Tokenizer tokenizer = parse_tokenizer(world_tokenizer_json(), "tokenizer.json");
    WorldSamples samples(source, tokenizer, 128);
    std::vector<std::int32_t> joined, expected;
    for (int i = 0; i < 20; ++i) {
        const Sample sample = samples.next();
        CHECK(sample.token.size() <= 128);
        CHECK(sample.token.front() == tokenizer.bos_id());
        CHECK(sample.token.back() == tokenizer.eos_id());
        joined.insert(joined.end(), sample.token.begin() + 1, sample.token.end());
    }
    for (Index n = 0; expected.size() < joined.size(); ++n) {
        const auto ids = samples.encode(world_document(source, n));
        expected.insert(expected.end(), ids.begin(), ids.end());
    }
    CHECK(joined == expected);
    WorldSamples narrow(source, tokenizer, 12);
    expect_error(ErrorCode::config, "data.max_length", [&] {
        for (int i = 0; i < 20; ++i) narrow.next();
    });
}

TEST_CASE("pretrain: a text with its tokenizer; its end is held out") {
    const TemporaryFolder folder;
    write_world_tokenizer(folder.file("words"));
    std::string text;
    for (int i = 0; i < 200; ++i) text += "Ada likes kites . Otto fears lamps . ";
    auto config = tiny_pretraining(folder.file("run"), "llama");
    config.text = folder.write("text.txt", text);
    config.tokenizer = folder.file("words");
    config.max_length = 17;
    const auto summary = pretrain_quietly(config);
    CHECK(summary.nll.size() == 1);
    CHECK(summary.nll.at("text") < 2);
    CHECK(read_text(summary.model + "/tokenizer.json") == read_text(folder.file("words/tokenizer.json")));
    config.tokenizer.clear();
    expect_error(ErrorCode::config, "data.tokenizer", [&] { pretrain_quietly(config); });
}

TEST_CASE("pretrain: keys are checked and unknown ones answered") {
    PretrainConfig config;
    set_config(config, "train.steps", "7", "here");
    set_config(config, "model.family", "llama", "here");
    set_config(config, "model.tied", "true", "here");
    CHECK(config.steps == 7);
    CHECK(config.tied);
    CHECK(config.model(100).model_type == ModelFamily::llama);
    expect_error(ErrorCode::config, "did you mean `model.hidden_size`",
                 [&] { set_config(config, "hiden_size", "64", "run.toml:3:1"); });
    expect_error(ErrorCode::config, "run.toml:3:1: optim.lr",
                 [&] { set_config(config, "optim.lr", "x", "run.toml:3:1"); });
    expect_error(ErrorCode::config, "mixtral,llama",
                 [&] { set_config(config, "model.family", "gpt", "here"); });
    config.hidden_size = 65;
    expect_error(ErrorCode::config, "model.hidden_size", [&] { config.model(100); });
    // What is resolved reads back to the same.
    const std::string resolved = pretrain_table().resolved(PretrainConfig{});
    PretrainConfig back;
    back.steps = 1;
    for (const auto& entry : pretrain_table().entries())
        set_config(back, entry.key, pretrain_table().get(entry, PretrainConfig{}), "here");
    CHECK(pretrain_table().resolved(back) == resolved);
}
