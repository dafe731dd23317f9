// moegrad lens: which experts a model sends a data file to, and the best n of every layer as an option for CEFT.

#include <string>

#include <moegrad/data/training_samples.hpp>
#include <moegrad/io/atomic_file.hpp>
#include <moegrad/io/tokenizer_json.hpp>
#include <moegrad/methods/trainable_parameters.hpp>
#include <moegrad/train/adapter_files.hpp>
#include <moegrad/train/model_files.hpp>
#include <moegrad/train/router_lens.hpp>

#include "adapter_reading_flags.hpp"
#include "device_flags.hpp"
#include "verbs.hpp"

using namespace moegrad;

namespace {

struct LensFlags {
    AdapterReading reading;
    DeviceFlags device;
    DataOptions data;
    std::string model, adapter, path, out, metric = "counts";
    Index experts = 0, limit = 2000;
    std::uint64_t seed = kLensSeed;
    int threads = 0;

    LensMetric by() const { return metric == "ratio" ? LensMetric::ratio : LensMetric::counts; }
};

template <class Real>
RouterLens lens_of_model(const LensFlags& flags) {
    auto model = load_model<Real>(flags.model, flags.device.place(), flags.device.quantisation());
    if (!flags.adapter.empty()) {
        load_adapter(*model, flags.adapter, flags.reading);
        move_to(*model, flags.device.place());
    }
    const auto loaded = load_training_samples(flags.path, load_tokenizer(flags.model), flags.data);
    for (const std::string& note : loaded_notes(loaded)) fmt::print("{}: {}\n", flags.path, note);
    Context context({.device = flags.device.place(), .threads = flags.threads});
    return look_through(context, *model, loaded.samples,
                        lens_picks(loaded.samples.size(), flags.limit, flags.seed));
}

void add_lens(CLI::App& app) {
    auto flags = std::make_shared<LensFlags>();
    flags->data.train_on = "all";  // answers or not, every token counts
    flags->data.overlong = "drop";
    flags->data.unsupervised = "drop";
    flags->data.max_length = 300;
    CLI::App* verb = app.add_subcommand("lens", "which experts a mixture sends a data file to");
    const auto natural = CLI::Range(0, 1 << 30);
    verb->add_option("--model", flags->model, "folder of the checkpoint")->required();
    verb->add_option("--adapter", flags->adapter, "folder of an adapter, that of router_tuning say");
    add_adapter_reading(verb, flags->reading);
    verb->add_option("--data", flags->path, "what `train` reads: JSONL, TSV or a text")->required();
    verb->add_option("--format", flags->data.format, "of the data, as data.format [auto]");
    verb->add_flag("--bos", flags->data.bos, "start every sample with BOS, as data.bos");
    verb->add_option("--experts", flags->experts, "how many to pick in every layer")
        ->required()
        ->check(CLI::Range(1, 1 << 30));
    verb->add_option("--metric", flags->metric,
                     "counts (of all tokens) or ratio (the mean over samples) [counts]")
        ->check(CLI::IsMember({"counts", "ratio"}));
    verb->add_option("--limit", flags->limit, "so many samples at most, drawn at random; 0: all [2000]")
        ->check(natural);
    verb->add_option("--max-length", flags->data.max_length, "longer samples are left out, in tokens [300]")
        ->check(CLI::Range(2, 1 << 30));
    verb->add_option("--seed", flags->seed, "of the draw [826]");
    verb->add_option("--threads", flags->threads, "0: MOEGRAD_THREADS, else all cores");
    verb->add_option("--out", flags->out, "JSON file to write");
    add_device_flags(verb, flags->device);
    verb->callback([=] {
        const Number number = number_for(flags->device, flags->model);
        const RouterLens lens =
            with_number(number, [&]<class Real>() { return lens_of_model<Real>(*flags); });
        fmt::print("{}", lens_text(lens, flags->experts, flags->by()));
        if (!flags->out.empty())
            write_file_atomically(
                flags->out,
                write_json(lens_json(lens, flags->experts, flags->by()), JsonStyle::indented) + "\n");
    });
}

const RegisterVerb lens_registered(68, add_lens);

}  // namespace
