// moegrad generate: continues a prompt.

#include <unistd.h>

#include <cstdio>

#include <moegrad/eval/generate.hpp>
#include <moegrad/io/generation_config.hpp>
#include <moegrad/io/tokenizer_json.hpp>
#include <moegrad/train/adapter_files.hpp>
#include <moegrad/train/model_files.hpp>

#include "adapter_reading_flags.hpp"
#include "device_flags.hpp"
#include "verbs.hpp"

using namespace moegrad;

namespace {

struct GenerateFlags {
    AdapterReading reading;
    DeviceFlags device;
    std::string model, adapter, prompt;
    GenerateOptions options;
    int threads = 0;
};

template <class Real>
void run_generate(const GenerateFlags& flags) {
    const Device device = flags.device.place();
    auto model = load_model<Real>(flags.model, device, flags.device.quantisation());
    if (!flags.adapter.empty()) load_adapter(*model, flags.adapter, flags.reading);
    move_to(*model, device);
    const Tokenizer tokenizer = load_tokenizer(flags.model);
    Context context({.device = device, .threads = flags.threads});
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

/// A setting of the draw that no draw reads.
void require_draw(const CLI::App& verb, const GenerateOptions& options) {
    if (options.temperature > 0) return;
    for (const char* name : {"--seed", "--top-k", "--top-p"}) {
        if (verb.count(name) == 0) continue;
        throw Error{ErrorCode::config, name, "a --temperature above 0", "temperature 0",
                    "greedy decoding draws nothing, so nobody reads this"};
    }
}

void add_generate(CLI::App& app) {
    auto flags = std::make_shared<GenerateFlags>();
    CLI::App* verb = app.add_subcommand("generate", "continue a prompt");
    verb->add_option("--model", flags->model, "folder of the checkpoint")->required();
    verb->add_option("--adapter", flags->adapter, "folder of an adapter");
    add_adapter_reading(verb, flags->reading);
    verb->add_option("--prompt", flags->prompt, "text to continue; may be empty")->required();
    verb->add_option("--max-new-tokens", flags->options.max_new_tokens, "at most this many tokens")
        ->check(CLI::Range(0, 1 << 30));
    verb->add_option("--temperature", flags->options.temperature,
                     "default 0: greedy, the likeliest token each time")
        ->check(CLI::Range(0.0, 1e6));
    verb->add_option("--top-k", flags->options.top_k, "draw from the k best tokens; 0: all")
        ->check(CLI::Range(0, 1 << 30));
    verb->add_option("--top-p", flags->options.top_p,
                     "draw from the best tokens that make up this probability")
        ->check(probability_above_zero());
    verb->add_option("--seed", flags->options.seed, "of the sampling");
    verb->add_option("--threads", flags->threads, "0: MOEGRAD_THREADS, else all cores");
    add_device_flags(verb, flags->device);
    verb->callback([=] {
        require_draw(*verb, flags->options);
        with_number(number_for(flags->device, flags->model),
                    [&]<class Real>() { run_generate<Real>(*flags); });
    });
}

const RegisterVerb generate_registered(40, add_generate);

}  // namespace
