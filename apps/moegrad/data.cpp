// moegrad data: what a file becomes before it is trained on.

#include <unistd.h>

#include <cstdio>

#include <moegrad/data/sample_preview.hpp>
#include <moegrad/io/tokenizer_json.hpp>

#include "verbs.hpp"

using namespace moegrad;

namespace {

struct DataFlags {
    std::string file, colour = "auto";
    DataOptions options;
    Index show = 3, max_length = 0;  // 0: no limit, to see how long samples are; plain text is cut at 256
    bool ids = false;
};

void preview_data(const DataFlags& flags) {
    const Tokenizer tokenizer = load_tokenizer(flags.options.model);
    DataOptions options = flags.options;
    if (flags.max_length > 0)
        options.max_length = flags.max_length;
    else if (!is_plain_text(flags.file, options))
        options.max_length = kLongestSample;
    const LoadedSamples loaded = load_training_samples(flags.file, tokenizer, options);
    require_read(options, {loaded.format});
    const bool colour = flags.colour == "always" || (flags.colour == "auto" && ::isatty(STDOUT_FILENO) == 1);
    const MarkStyle marks = colour ? kColourMarks : MarkStyle{};
    fmt::print("{}", samples_summary(flags.file, loaded));
    const std::size_t count = std::min(loaded.samples.size(), static_cast<std::size_t>(flags.show));
    for (std::size_t i = 0; i < count; ++i) {
        const Sample& sample = loaded.samples[i];
        fmt::print("--- {} ({} tokens, {} supervised)\n{}\n", printable(loaded.ids[i]), sample.token.size(),
                   sample.supervised(), sample_text(tokenizer, sample, marks));
        if (flags.ids) fmt::print("{}\n", sample_ids(sample, marks));
    }
}

void add_data(CLI::App& app) {
    auto flags = std::make_shared<DataFlags>();
    CLI::App* verb = app.add_subcommand("data", "show what a file becomes before it is trained on");
    DataOptions& options = flags->options;
    verb->add_option("file", flags->file, "JSONL, TSV or plain text")->required();
    verb->add_option("--model", options.model, "folder of the model: its tokenizer and chat template")
        ->required();
    const auto text = [&](const char* flag, std::string& value, const char* help) {
        verb->add_option(flag, value, help + (value.empty() ? std::string() : " [" + value + "]"))
            ->type_name("");
    };
    text("--data.format,--format", options.format,
         "auto, text, completion, alpaca, instruct, qa, messages, choice or tsv");
    text("--data.template,--template", options.chat_template,
         "of messages: auto, llama-2, llama-3, mistral, mistral-v1, mistral-v3, chatml, ..");
    text("--data.train_on", options.train_on, "answer or all");
    text("--data.overlong", options.overlong, "error, drop or cut");
    text("--data.unsupervised", options.unsupervised, "error or drop");
    text("--data.columns", options.columns, "of a TSV: \"text=3, label=1\"");
    text("--data.tasks", options.tasks, "names of a record's \"task\": \"cola, rte\"");
    text("--data.labels", options.labels, "of a TSV: \"0=no, 1=yes\"");
    text("--data.prompt", options.prompt, "of a TSV: a pattern with {text}; of choice: an eval format");
    verb->add_option("--data.max_length,--max-length", flags->max_length,
                     "tokens per sample; not given: any length, and plain text is cut at 256")
        ->check(CLI::Range(Index{2}, kLongestSample));
    verb->add_flag("--data.bos", options.bos, "start every sample with BOS");
    verb->add_option("--show", flags->show, "samples to print [3]")
        ->check(CLI::Range(Index{0}, Index{1} << 30));
    verb->add_flag("--ids", flags->ids, "print their token ids too");
    verb->add_option("--colour", flags->colour,
                     "auto, always or never: what is supervised in green, else in brackets")
        ->check(CLI::IsMember({"auto", "always", "never"}));
    verb->callback([=] { preview_data(*flags); });
}

const RegisterVerb data_registered(22, add_data);

}  // namespace
