// moegrad assay: does it matter to a mixture which experts run? Forced top-1 and random experts on held-out documents.

#include <string>

#include <moegrad/data/document_samples.hpp>
#include <moegrad/io/atomic_file.hpp>
#include <moegrad/io/tokenizer_json.hpp>
#include <moegrad/train/assay_json.hpp>
#include <moegrad/train/model_files.hpp>

#include "device_flags.hpp"
#include "verbs.hpp"

using namespace moegrad;

namespace {

struct AssayFlags {
    DeviceFlags device;
    std::string model, text, out;
    Index limit = 0, max_length = 0;
    int threads = 0;
};

template <class Real>
Assay assay_model(const AssayFlags& flags) {
    auto model = load_model<Real>(flags.model, flags.device.place(), flags.device.quantisation());
    if (!model->config().is_mixture())
        throw Error{ErrorCode::config, flags.model, "a mixture of experts", "a dense model"};
    const Index most = model->config().max_position_embeddings;
    const auto documents =
        document_samples(flags.text, load_tokenizer(flags.model),
                         flags.max_length > 0 ? std::min(flags.max_length, most) : most, flags.limit);
    Context context({.device = flags.device.place(), .threads = flags.threads});
    return run_assay(context, *model, documents);
}

void add_assay(CLI::App& app) {
    auto flags = std::make_shared<AssayFlags>();
    CLI::App* verb = app.add_subcommand("assay", "what forced top-1 and random experts cost a mixture");
    verb->add_option("--model", flags->model, "folder of the checkpoint")->required();
    verb->add_option("--text", flags->text, "held-out documents: JSONL with `text`, or a text")->required();
    verb->add_option("--limit", flags->limit, "only the first N documents; 0: all");
    verb->add_option("--max-length", flags->max_length, "tokens of a document; 0: the model's positions");
    verb->add_option("--threads", flags->threads, "0: MOEGRAD_THREADS, else all cores");
    verb->add_option("--out", flags->out, "JSON file to write");
    add_device_flags(verb, flags->device);
    verb->callback([=] {
        const Number number = number_for(flags->device, flags->model);
        const Assay assay = with_number(number, [&]<class Real>() { return assay_model<Real>(*flags); });
        fmt::print("{}", assay_text(assay));
        if (!flags->out.empty())
            write_file_atomically(flags->out,
                                  write_json(detail::assay_json(assay), JsonStyle::indented) + "\n");
    });
}

const RegisterVerb assay_registered(67, add_assay);

}  // namespace
