// Every recipe through the program: a run of two steps on a model of this repository with all that a run checks, its
// adapter read back, texts scored, routers looked at, and the probe with gradients.

#include <doctest/doctest.h>

#include <moegrad/eval/model_analytics.hpp>
#include <moegrad/eval/text.hpp>
#include <moegrad/train/forward_probe.hpp>
#include <moegrad/train/run.hpp>

#include "io/support.hpp"
#include "recipes/support.hpp"

#ifdef MOEGRAD_HAVE_TOML

namespace moegrad::recipe_test {
namespace {

/// Two kinds of tasks, for the methods that ask.
std::vector<TextRecord> run_records() {
    std::vector<TextRecord> records(4);
    for (std::size_t i = 0; i < records.size(); ++i) {
        records[i].id = "r" + std::to_string(i);
        records[i].domain = i % 2 == 0 ? "stones" : "rivers";
        records[i].prompt = i % 2 == 0 ? "the stone is" : "a river of the town was";
        records[i].completion = i < 2 ? " red" : " blue";
        records[i].task = static_cast<std::int32_t>(i % 2);
    }
    return records;
}
std::string run_lines() {
    std::string lines;
    for (const TextRecord& one : run_records()) {
        lines += format("{{\"prompt\": \"{}\", \"completion\": \"{}\", \"task\": {}}}\n", one.prompt,
                        one.completion, one.task);
    }
    return lines;
}

/// The recipe's method and settings; model, data, length and device are those of a test.
RunConfig run_config(RunConfig config, bool mixture, const io_test::TemporaryFolder& folder) {
    config.model = std::string(MOEGRAD_SOURCE_DIR "/models/") + (mixture ? "tiny-mixtral" : "tiny-llama");
    config.train_data = folder.write("train.jsonl", run_lines());
    config.eval_data = folder.write("eval.jsonl", run_lines());
    config.output = folder.file("run");
    config.data_format = "auto";
    config.max_length = 64;
    config.steps = 2;
    config.batch = 4;
    config.micro_batch = config.accumulate = 0;
    config.eval_every = config.checkpoint_every = config.patience = 0;
    config.keep_best = config.packing = false;
    config.rate.warmup = config.rate.decay = 0;
    config.threads = 1;
    config.device = Device::cpu;
    config.dtype = Number::float32;
    std::string& options = config.adapter.options;
    if (options.starts_with("picked=")) options = "picked=0-1/0-1/0-1/0-1";
    if (options.starts_with("block=")) options = "block=0/0/0/0";
    if (options.starts_with("tasks=")) options += ", default_task=1";  // the probe's tokens have no task
    config.adapter.lora.rank = std::min<Index>(config.adapter.lora.rank, 8);
    return config;
}

std::string probe_tokens(const io_test::TemporaryFolder& folder) {
    SafetensorsWriter writer;
    const std::vector<std::int64_t> ids{5, 9, 40, 7, 300, 12, 9, 21};
    const std::vector<Index> shape{2, 4};
    writer.add("tokens", StoredType::i64, shape, std::span<const std::int64_t>(ids));
    writer.save(folder.file("tokens.safetensors"));
    return folder.file("tokens.safetensors");
}

/// What eval, inspect and forward do with a run's adapter.
void use_adapter(const RunConfig& config, const io_test::TemporaryFolder& folder) {
    const auto model = load_model<float>(config.model);
    load_adapter(*model, config.output + "/adapter");
    const Tokenizer tokenizer = load_tokenizer(config.model);
    Context context({.threads = 1});
    const auto records = run_records();
    const auto scores = evaluate_texts(context, *model, tokenizer, records);
    for (const auto& item : scores.items) CHECK(std::isfinite(item.nll));
    const auto routers = model_routers(*model);
    CHECK(scores.routing.routers().size() == routers.size());
    if (!routers.empty()) CHECK(analyse_routing(context, *model, tokenizer, records).tokens > 0);
    const double loss = run_forward_probe<float>({.model = config.model,
                                                  .adapter = config.output + "/adapter",
                                                  .tokens = probe_tokens(folder),
                                                  .out = folder.file("probe.safetensors"),
                                                  .gradients = true,
                                                  .threads = 1});
    CHECK(std::isfinite(loss));
    std::size_t routings = 0, gradients = 0;
    const SafetensorsFile probe(folder.file("probe.safetensors"));
    for (const auto& tensor : probe.tensors()) {
        routings += tensor.name.starts_with("routing.") && tensor.name.ends_with(".expert");
        gradients += tensor.name.starts_with("grad.");
    }
    CHECK(routings == routers.size());
    CHECK(gradients > 0);
}

/// A run of a configuration, and all that follows.
void check_run_of(const RunConfig& given, bool mixture) {
    try {
        const io_test::TemporaryFolder folder;
        const RunConfig config = run_config(given, mixture, folder);
        run_training<float>(config, [](const std::string&) {});
        use_adapter(config, folder);
    } catch (const Error& error) {
        FAIL_CHECK(std::string(error.what()));
    }
}

}  // namespace

TEST_CASE("recipes: a run of the program, and eval, inspect and forward with its adapter") {
    for (const std::string& name : train_recipes()) {
        CAPTURE(name);
        check_run_of(recipe(name), family_of(name).is_mixture());
    }
}

TEST_CASE("recipes: settings beside the published ones run as well") {
    const std::pair<std::string, std::string> cases[] = {{"perft_r-mixtral-8x7b.toml", "weight_source=base"},
                                                         {"perft_r-mixtral-8x7b.toml", "base_balance=false"},
                                                         {"perft_d-mixtral-8x7b.toml", "base_balance=false"},
                                                         {"perft_e-mixtral-8x7b.toml", "base_balance=false"},
                                                         {"perft_s-mixtral-8x7b.toml", "base_balance=false"},
                                                         {"mole-llama2-7b.toml", "experts=3, mask=1"}};
    for (const auto& [name, options] : cases) {
        CAPTURE(name);
        CAPTURE(options);
        RunConfig config = recipe(name);
        config.adapter.options = options;
        config.coefficients.clear();  // of penalties that these settings do not have
        config.aux_coefficient.clear();
        check_run_of(config, family_of(name).is_mixture());
    }
}

}  // namespace moegrad::recipe_test

#endif
