// moegrad merge: base + adapter as a checkpoint of its own, proved before it is kept.

#include "adapter_reading_flags.hpp"
#include "merge_report.hpp"
#include "verbs.hpp"

using namespace moegrad;

namespace {

void add_merge(CLI::App& app) {
    auto options = std::make_shared<MergeOptions>();
    auto dtype = std::make_shared<std::string>("base");
    CLI::App* verb = app.add_subcommand("merge", "base + LoRA adapter as a checkpoint of its own, verified");
    verb->add_option("--model", options->model, "folder of the base checkpoint")->required();
    verb->add_option("--adapter", options->adapter, "folder of a LoRA adapter, PEFT's or moegrad's")
        ->required();
    add_adapter_reading(verb, options->reading);
    verb->add_option("--out", options->out, "folder to write; new or empty")->required();
    verb->add_option("--dtype", *dtype, "stored type: base (each tensor as it was), float32 or bfloat16")
        ->check(CLI::IsMember({"base", "float32", "bfloat16"}))
        ->capture_default_str();
    verb->add_option("--probe-seed", options->probe_seed,
                     "of the tokens that merged and live are compared on")
        ->capture_default_str();
    verb->add_option("--threads", options->threads, "0: MOEGRAD_THREADS, else all cores");
    verb->callback([=] {
        options->type = merge_type(*dtype);
        say_merged(merge_checkpoint(*options), options->out);
    });
}

const RegisterVerb merge_registered(50, add_merge);

}  // namespace
