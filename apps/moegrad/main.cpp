// moegrad: the command line. Verbs: forward, train, generate.

#include <CLI/CLI.hpp>
#include <unistd.h>

#include <cstdio>
#include <new>

#include <moegrad/eval/generate.hpp>
#include <moegrad/io/generation_config.hpp>
#include <moegrad/train/forward_probe.hpp>
#include <moegrad/train/run.hpp>
#include <moegrad/version.hpp>

#include "toml_config.hpp"

namespace {

using namespace moegrad;

// Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 unusable data, 4 out of memory.
int exit_code(ErrorCode code) {
    switch (code) {
        case ErrorCode::config: return 2;
        case ErrorCode::data:
        case ErrorCode::format:
        case ErrorCode::file: return 3;
        case ErrorCode::memory: return 4;
        default: return 1;
    }
}

[[noreturn]] void refuse_bfloat16() {
    throw Error{ErrorCode::unsupported, "--dtype", "float32 or float64 on the CPU", "bfloat16",
                "bf16 models run on a GPU; the CPU reads bf16 checkpoints into float32"};
}

void require_cpu(const std::string& device) {
    if (device == "cpu") return;
    throw Error{ErrorCode::unsupported, "--device", "cpu", device, "this build has no CUDA kernels"};
}

struct GenerateFlags {
    std::string model, adapter, prompt, dtype = "float32", device = "cpu";
    GenerateOptions options;
    int threads = 0;
};

template <class Real>
void run_generate(const GenerateFlags& flags) {
    auto model = load_model<Real>(flags.model);
    if (!flags.adapter.empty()) load_adapter(*model, flags.adapter);
    const Tokenizer tokenizer = load_tokenizer(flags.model);
    Context context({.device = Device::cpu, .threads = flags.threads});
    GenerateOptions options = flags.options;
    options.stop = load_generation_config(flags.model, model->config()).eos_token_ids;
    Detokenizer text(tokenizer);
    const auto prompt = tokenizer.encode(flags.prompt);
    const auto put = [](const std::string& piece) {
        std::fwrite(piece.data(), 1, piece.size(), stdout);
        std::fflush(stdout);
    };
    for (std::int32_t id : prompt) put(text.push(id));
    generate(context, *model, prompt, options, [&](std::int32_t id) { put(text.push(id)); });
    put(text.finish());
    if (isatty(fileno(stdout))) put("\n");
}

void add_forward(CLI::App& app) {
    auto probe = std::make_shared<ForwardProbe>();
    auto dtype = std::make_shared<std::string>("float32"), device = std::make_shared<std::string>("cpu");
    CLI::App* verb = app.add_subcommand("forward", "logits, loss, gradients and routing of a model on given tokens");
    verb->add_option("--model", probe->model, "folder of the checkpoint")->required();
    verb->add_option("--adapter", probe->adapter, "folder of a PEFT or moegrad adapter");
    verb->add_option("--tokens", probe->tokens, "safetensors file with `tokens` [B, S] int64")->required();
    verb->add_flag("--grads", probe->gradients, "write grad.<name> of every base (or adapter) tensor");
    verb->add_option("--device", *device, "cpu");
    verb->add_option("--dtype", *dtype, "float32, float64 or bfloat16")
        ->check(CLI::IsMember({"float32", "float64", "bfloat16"}));
    verb->add_option("--threads", probe->threads, "0: MOEGRAD_THREADS, else all cores");
    verb->add_option("--out", probe->out, "safetensors file to write")->required();
    verb->callback([=] {
        require_cpu(*device);
        if (*dtype == "bfloat16") refuse_bfloat16();
        const double loss = *dtype == "float64" ? run_forward_probe<double>(*probe) : run_forward_probe<float>(*probe);
        fmt::print("loss {:.6f}  -> {}\n", loss, probe->out);
    });
}

void add_generate(CLI::App& app) {
    auto flags = std::make_shared<GenerateFlags>();
    CLI::App* verb = app.add_subcommand("generate", "continue a prompt");
    verb->add_option("--model", flags->model, "folder of the checkpoint")->required();
    verb->add_option("--adapter", flags->adapter, "folder of an adapter");
    verb->add_option("--prompt", flags->prompt, "text to continue; may be empty")->required();
    verb->add_option("--max-new-tokens", flags->options.max_new_tokens, "at most this many tokens")
        ->check(CLI::NonNegativeNumber);
    verb->add_option("--temperature", flags->options.temperature, "0: the likeliest token each time")
        ->check(CLI::NonNegativeNumber);
    verb->add_option("--seed", flags->options.seed, "of the sampling");
    verb->add_option("--threads", flags->threads, "0: MOEGRAD_THREADS, else all cores");
    verb->add_option("--device", flags->device, "cpu");
    verb->add_option("--dtype", flags->dtype, "float32 or float64")
        ->check(CLI::IsMember({"float32", "float64", "bfloat16"}));
    verb->callback([=] {
        require_cpu(flags->device);
        if (flags->dtype == "bfloat16") refuse_bfloat16();
        flags->dtype == "float64" ? run_generate<double>(*flags) : run_generate<float>(*flags);
    });
}

void add_train(CLI::App& app) {
    auto config = std::make_shared<RunConfig>();
    auto file = std::make_shared<std::string>(), device = std::make_shared<std::string>("cpu");
    auto flags = std::make_shared<std::vector<std::pair<std::string, std::string>>>();
    CLI::App* verb = app.add_subcommand("train", "fine-tune a checkpoint; flags override the file");
    verb->add_option("--config", *file, "TOML file with the keys below")->check(CLI::ExistingFile);
    verb->add_option("--device", *device, "cpu");
    const std::map<std::string, std::string> shorter{
        {"model.path", ",--model"},    {"data.train", ",--data"},   {"adapter.method", ",--method"},
        {"train.steps", ",--steps"},   {"train.batch", ",--batch"}, {"train.threads", ",--threads"},
        {"train.seed", ",--seed"},     {"optim.lr", ",--lr"},       {"output.dir", ",--out"},
        {"model.dtype", ",--dtype"}};
    for (const auto& field : config_fields()) {
        const std::string key = field.key;
        const auto alias = shorter.find(key);
        const std::string value = field.get(*config);
        verb->add_option_function<std::string>(
                "--" + key + (alias == shorter.end() ? "" : alias->second),
                [flags, key](const std::string& text) { flags->emplace_back(key, text); },
                field.help + (value.empty() ? std::string() : " [" + value + "]"))
            ->type_name("");
    }
    verb->callback([=] {
        require_cpu(*device);
        if (!file->empty()) read_toml_config(*config, *file);
        for (const auto& [key, value] : *flags) set_config(*config, key, value, "--" + key);
        const auto say = [](const std::string& line) {
            fmt::print("{}\n", line);
            std::fflush(stdout);
        };
        const auto summary = config->dtype == Number::float64 ? run_training<double>(*config, say)
                                                              : run_training<float>(*config, say);
        fmt::print("held-out nll {:.4f} -> {:.4f}   adapter in {}\n", summary.nll_before, summary.nll_after,
                   summary.adapter);
    });
}

}  // namespace

int main(int argc, char** argv) {
    CLI::App app{"moegrad " + std::string(kVersion) + ": fine-tuning of mixture-of-experts language models"};
    app.require_subcommand(1);
    app.set_version_flag("--version", std::string(kVersion));
    add_forward(app);
    add_train(app);
    add_generate(app);
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? 0 : 2;
    } catch (const Error& error) {
        fmt::print(stderr, "{}\n", error.what());
        return exit_code(error.code);
    } catch (const std::bad_alloc&) {
        fmt::print(stderr, "error[memory]: out of memory\n");
        return 4;
    } catch (const std::exception& error) {
        fmt::print(stderr, "error: {}\n", error.what());
        return 1;
    }
    return 0;
}
