// moegrad eval: scores a model, and an adapter, on questions or texts; prints a table and writes a folder.

#include <chrono>
#include <cstdio>
#include <filesystem>

#include <moegrad/data/glue_items.hpp>
#include <moegrad/eval/evaluate.hpp>
#include <moegrad/io/generation_config.hpp>
#include <moegrad/io/tokenizer_json.hpp>
#include <moegrad/methods/intervene.hpp>
#include <moegrad/methods/trainable_parameters.hpp>
#include <moegrad/train/adapter_files.hpp>
#include <moegrad/train/model_files.hpp>

#include "adapter_reading_flags.hpp"
#include "device_flags.hpp"
#include "verbs.hpp"

using namespace moegrad;

namespace {

struct EvalFlags {
    AdapterReading reading;
    DeviceFlags device;
    std::string model, adapter, out, format, style = "lm-eval", block, stimulate;
    std::vector<std::string> tasks;
    Index limit = 0, batch = 16;
    int threads = 0;
    GenerateOptions generate{.max_new_tokens = 32};
};

/// "arc_easy" of data/arc_easy.test.jsonl.
std::string task_name(const std::string& path) {
    const std::string name = std::filesystem::path(path).filename().string();
    return name.substr(0, name.find('.'));
}

void print_summary(const TaskSummary& summary) {
    std::string ids;
    const std::size_t shown = std::min<std::size_t>(summary.first_ids.size(), 24);
    for (std::size_t i = 0; i < shown; ++i) ids += moegrad::format(" {}", summary.first_ids[i]);
    const std::string more = shown < summary.first_ids.size() ? " .. (results.json has more)" : "";
    fmt::print("  first text: \"{}\"\n", printable(summary.first_prompt, 600));
    if (summary.first_context == 0) {
        fmt::print("  its first ids:{}{}\n", ids, more);
    } else {
        fmt::print("  its {} tokens, {} of them context:{}{}\n", summary.first_ids.size(),
                   summary.first_context, ids, more);
    }
    for (const Metric& metric : summary.metrics) fmt::print("{}\n", metric_line(metric));
    if (summary.load) fmt::print("  {:<18} {:8.4f}\n", "load", *summary.load);
    if (summary.flops_saved) fmt::print("  {:<18} {:8.4f}\n", "FLOPs saved", *summary.flops_saved);
    if (summary.fact_auroc) fmt::print("{}\n", metric_line({"fact AUROC", *summary.fact_auroc}));
    if (summary.truncated > 0) {
        fmt::print("  {} of {} texts are longer than the model's positions and lost tokens at their left\n",
                   summary.truncated, summary.n);
    }
}

/// A file that does not fit a style often fits another: says which.
template <class Read>
auto read_or_hint(const Read& read, const char* hint) {
    try {
        return read();
    } catch (const Error& error) {
        if (error.code != ErrorCode::data || !error.hint.empty()) throw;
        throw Error{error.code, error.place, error.expected, error.got, hint};
    }
}

/// What every task needs, loaded once.
template <class Real>
struct Evaluator {
    const EvalFlags& flags;
    std::unique_ptr<Decoder<Real>> model;
    Tokenizer tokenizer;
    Context context;
    Index trainable = 0;

    explicit Evaluator(const EvalFlags& flags_)
        : flags(flags_),
          model(load_model<Real>(flags_.model, flags_.device.place(), flags_.device.quantisation())),
          tokenizer(load_tokenizer(flags_.model)),
          context({.device = flags_.device.place(), .threads = flags_.threads}) {
        if (!flags.adapter.empty()) {
            load_adapter(*model, flags.adapter, flags.reading);
            move_to(*model, flags.device.place());
            for (const auto* parameter : trainable_parameters(*model)) trainable += parameter->size();
        }
        if (!flags.block.empty() || !flags.stimulate.empty()) intervene(*model, flags.block, flags.stimulate);
    }

    void run(const std::string& path) {
        if (flags.style == "text") return texts(path);
        if (flags.style == "generate") return answers(path);
        choices(path);
    }

private:
    std::string format_of(const std::string& path, const char* otherwise) const {
        if (!flags.format.empty()) return flags.format;
        for (const auto& known : kChoiceFormats) {
            if (task_name(path) == known.name && flags.style != "generate") return known.name;
        }
        return otherwise;
    }
    template <class Item>
    void limit(std::vector<Item>& items) const {
        if (flags.limit > 0 && flags.limit < static_cast<Index>(items.size()))
            items.erase(items.begin() + flags.limit, items.end());
    }
    template <class Evaluation>
    void finish(const std::string& path, const std::string& how, TaskSummary summary,
                const Evaluation& evaluation, std::chrono::steady_clock::time_point start) {
        const std::string folder = flags.tasks.size() == 1 ? flags.out : flags.out + "/" + task_name(path);
        summary.trainable = trainable;
        summary.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
        fmt::print("{}  n {}, {}\n", path, summary.n, how);
        print_summary(summary);
        write_evaluation(folder, summary, evaluation);
        fmt::print("  {:.1f} s  -> {}/results.json\n", summary.seconds, folder);
    }

    void choices(const std::string& path) {
        const std::string format = format_of(path, path.ends_with(".tsv") ? "cola" : "world");
        const auto read = [&] {
            return !path.ends_with(".tsv") ? read_choice_items(path)
                   : format == "rte"       ? read_rte_items(path)
                                           : read_cola_items(path);
        };
        auto items = read_or_hint(read,
                                  "this style reads questions with choices; `--style text` scores texts, "
                                  "`--style generate` questions without choices");
        limit(items);
        ChoiceOptions options{.format = choice_format(format)};
        if (flags.style == "letter") options.style = ChoiceStyle::letter;
        options.batch = flags.batch;
        const auto start = std::chrono::steady_clock::now();
        const auto evaluation = evaluate_choices(context, *model, tokenizer, items, options);
        finish(path, "format " + format + ", " + flags.style,
               summarize(evaluation, model->config(), task_name(path), flops_are_counted(*model)), evaluation,
               start);
        for (const Metric& group : accuracy_by_group(evaluation.items))
            fmt::print("{}\n", metric_line(group));
    }
    void texts(const std::string& path) {
        std::vector<TextRecord> records;
        if (path.ends_with(".jsonl")) {
            records = read_text_records(path);
        } else {
            const MappedFile file(path);
            records.push_back({.id = task_name(path),
                               .domain = {},
                               .level = 0,
                               .prompt = {},
                               .completion = {},
                               .fact = {},
                               .place = path});
            records.front().completion = std::string(file.text());
        }
        limit(records);
        const auto start = std::chrono::steady_clock::now();
        const auto evaluation = evaluate_texts(context, *model, tokenizer, records, {.batch = flags.batch});
        finish(path, "text",
               summarize(evaluation, model->config(), task_name(path), flops_are_counted(*model)), evaluation,
               start);
    }
    void answers(const std::string& path) {
        auto items = read_or_hint([&] { return read_answer_items(path); },
                                  "this style reads questions whose answer is a text; `--style lm-eval` or "
                                  "`--style letter` scores questions with choices");
        limit(items);
        const std::string format = format_of(path, task_name(path) == "gsm8k" ? "gsm8k" : "instruct");
        GenerateOptions options = flags.generate;
        options.batch = flags.batch;
        options.stop = load_generation_config(flags.model, model->config()).eos_token_ids;
        const auto start = std::chrono::steady_clock::now();
        const auto evaluation =
            evaluate_answers(context, *model, tokenizer, items, answer_form(format), options);
        finish(path, "format " + format + ", generate", summarize(evaluation, task_name(path)), evaluation,
               start);
    }
};

template <class Real>
void run_eval(const EvalFlags& flags) {
    for (std::size_t i = 0; flags.tasks.size() > 1 && i < flags.tasks.size(); ++i) {
        for (std::size_t j = 0; j < i; ++j) {
            if (task_name(flags.tasks[i]) != task_name(flags.tasks[j])) continue;
            throw Error{ErrorCode::config, "--tasks", "files of different names",
                        flags.tasks[j] + " and " + flags.tasks[i],
                        "results are kept by the file's name; score them one by one"};
        }
    }
    Evaluator<Real> evaluator(flags);
    for (const std::string& path : flags.tasks) evaluator.run(path);
}

void add_eval(CLI::App& app) {
    auto flags = std::make_shared<EvalFlags>();
    CLI::App* verb = app.add_subcommand("eval", "score a model on questions or texts");
    const auto natural = CLI::Range(0, 1 << 30), positive = CLI::Range(1, 1 << 30);
    verb->add_option("--model", flags->model, "folder of the checkpoint")->required();
    verb->add_option("--adapter", flags->adapter, "folder of an adapter");
    add_adapter_reading(verb, flags->reading);
    verb->add_option(
        "--block", flags->block,
        "experts that no token may use, layer by layer: 0-5/2-3/..; `moegrad lens` prints such lists");
    verb->add_option("--stimulate", flags->stimulate,
                     "experts that get the highest probability of each token");
    verb->add_option("--tasks", flags->tasks,
                     "files: questions or texts (.jsonl), CoLA or RTE (.tsv), a text")
        ->required()
        ->delimiter(',');
    verb->add_option("--format", flags->format,
                     "arc_easy, boolq, hellaswag, .., world; for generate: instruct, alpaca, gsm8k, qa [by "
                     "the file's name]");
    verb->add_option("--style", flags->style,
                     "lm-eval (log-likelihood of each choice), letter (choices in the prompt), generate (the "
                     "model writes), "
                     "text (perplexity)")
        ->check(CLI::IsMember({"lm-eval", "letter", "generate", "text"}));
    verb->add_option("--limit", flags->limit, "only the first N items of a task; 0: all")->check(natural);
    verb->add_option("--batch", flags->batch, "items per forward; on the CPU it changes no result")
        ->check(positive);
    verb->add_option("--max-new-tokens", flags->generate.max_new_tokens, "generate: at most this many")
        ->check(positive);
    verb->add_option("--temperature", flags->generate.temperature, "generate: 0 takes the likeliest token")
        ->check(CLI::Range(0.0, 1e6));
    verb->add_option("--top-k", flags->generate.top_k, "generate: draw from the k best; 0: all")
        ->check(natural);
    verb->add_option("--top-p", flags->generate.top_p,
                     "generate: draw from the best that make up this probability")
        ->check(probability_above_zero());
    verb->add_option("--seed", flags->generate.seed, "generate: of the sampling");
    verb->add_option("--threads", flags->threads, "0: MOEGRAD_THREADS, else all cores");
    add_device_flags(verb, flags->device);
    verb->add_option("--out", flags->out, "folder for results.json, items.jsonl and tokens.json")->required();
    verb->callback([=] {
        with_number(number_for(flags->device, flags->model), [&]<class Real>() { run_eval<Real>(*flags); });
    });
}

const RegisterVerb eval_registered(30, add_eval);

}  // namespace
