// moegrad export: a checkpoint as a Hugging Face folder in the base's layout, or an adapter for PEFT.

#include <moegrad/train/adapter_export.hpp>

#include "adapter_reading_flags.hpp"
#include "merge_report.hpp"
#include "verbs.hpp"

using namespace moegrad;

namespace {

struct ExportFlags {
    MergeOptions merge;
    std::string to = "hf", dtype = "base", base_name;
    bool single_modules = false;
};

void export_hf(const ExportFlags& flags) {
    MergeOptions options = flags.merge;
    options.type = merge_type(flags.dtype);
    if (!options.adapter.empty()) return say_merged(merge_checkpoint(options), options.out);
    const auto check = copy_checkpoint(options.model, options.out, options.type);
    fmt::print("{} tensors in the layout of the base; checkpoint in {}\n", check.tensors, options.out);
}

void export_peft(const ExportFlags& flags) {
    if (flags.merge.adapter.empty()) {
        throw Error{ErrorCode::config, "--adapter", "the adapter to export", "nothing", "pass --adapter DIR"};
    }
    if (flags.dtype != "base") {
        throw Error{ErrorCode::config, "--dtype", "a checkpoint to write (--to hf)", flags.dtype,
                    "adapters are stored in float32"};
    }
    const auto names = export_adapter({.model = flags.merge.model,
                                       .adapter = flags.merge.adapter,
                                       .out = flags.merge.out,
                                       .base_name = flags.base_name,
                                       .single_modules = flags.single_modules,
                                       .reading = flags.merge.reading});
    fmt::print("{} tensors; PEFT adapter in {}\n", names.size(), flags.merge.out);
}

void add_export(CLI::App& app) {
    auto flags = std::make_shared<ExportFlags>();
    CLI::App* verb = app.add_subcommand("export", "a checkpoint for transformers, or an adapter for PEFT");
    verb->add_option("--model", flags->merge.model, "folder of the base checkpoint")->required();
    verb->add_option("--adapter", flags->merge.adapter, "hf: LoRA to merge; peft: adapter to export");
    add_adapter_reading(verb, flags->merge.reading);
    verb->add_option("--out", flags->merge.out, "folder to write; new or empty")->required();
    verb->add_option("--to", flags->to, "hf: a checkpoint; peft: an adapter")
        ->check(CLI::IsMember({"hf", "peft"}))
        ->capture_default_str();
    verb->add_option("--dtype", flags->dtype,
                     "hf: stored type: base (each tensor as it was), float32 or bfloat16")
        ->check(CLI::IsMember({"base", "float32", "bfloat16"}))
        ->capture_default_str();
    verb->add_option("--base-name", flags->base_name,
                     "peft: base_model_name_or_path; by default --model as given");
    verb->add_flag("--single-modules", flags->single_modules,
                   "peft: keep w1, w2, w3 as modules of their own, for transformers 4");
    verb->add_option("--probe-seed", flags->merge.probe_seed,
                     "hf: of the tokens that merged and live meet on");
    verb->add_option("--threads", flags->merge.threads, "0: MOEGRAD_THREADS, else all cores");
    verb->callback([=] { flags->to == "peft" ? export_peft(*flags) : export_hf(*flags); });
}

const RegisterVerb export_registered(51, add_export);

}  // namespace
