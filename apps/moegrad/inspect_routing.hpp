#pragma once
// moegrad inspect routing: what the routers of a model do with texts, as tables.

#include <moegrad/eval/analytics_tables.hpp>
#include <moegrad/train/adapter_files.hpp>
#include <moegrad/train/checkpoint_weights.hpp>
#include <moegrad/train/model_files.hpp>

#include "adapter_reading_flags.hpp"
#include "device_flags.hpp"
#include "routing_states.hpp"
#include "verbs.hpp"

namespace moegrad {

struct InspectRoutingFlags {
    DeviceFlags device;
    AdapterReading reading;
    std::string model, adapter, text, out, name;
    std::vector<std::string> against;
    Index limit = 0, max_length = 0;
    int threads = 0;
};

/// JSONL with `text` (and `domain`), or one plain text.
inline std::vector<TextRecord> routing_texts(const InspectRoutingFlags& flags) {
    std::vector<TextRecord> records;
    if (flags.text.ends_with(".jsonl")) {
        records = read_text_records(flags.text);
    } else {
        records.resize(1);
        records[0].id = "1";
        records[0].completion = std::string(MappedFile(flags.text).text());
    }
    if (flags.limit > 0 && std::ssize(records) > flags.limit)
        records.resize(static_cast<std::size_t>(flags.limit));
    return records;
}

/// What the routers of one state of the model do; the weights of a checkpoint take the place of its adapter's.
template <class Real>
ModelAnalytics analyse_model(const InspectRoutingFlags& flags, const RoutingState& state,
                             const std::vector<TextRecord>& records) {
    auto model = load_model<Real>(flags.model, flags.device.place(), flags.device.quantisation());
    Context context({.device = flags.device.place(), .threads = flags.threads});
    if (!state.adapter.empty()) load_adapter(*model, state.adapter, flags.reading);
    if (!state.checkpoint.empty()) read_checkpoint_weights(*model, state.checkpoint, context.pool());
    move_to(*model, flags.device.place());
    return analyse_routing(context, *model, load_tokenizer(flags.model), records, flags.max_length);
}

template <class Real>
void inspect_routing(const InspectRoutingFlags& flags) {
    const auto records = routing_texts(flags);
    const auto states = routing_states(flags.against);
    const ModelAnalytics now = analyse_model<Real>(flags, {"model", flags.adapter}, records);
    std::vector<StateSaturation> same;
    for (const RoutingState& state : states)
        same.push_back(state_saturation(state.name, analyse_model<Real>(flags, state, records), now));
    fmt::print("{}", analytics_text(now, same));
    if (flags.out.empty()) return;
    const std::filesystem::path path(flags.model);
    const std::string folder = (path.has_filename() ? path : path.parent_path()).filename().string();
    write_analytics(flags.out, now, flags.name.empty() ? folder : flags.name, same);
    fmt::print(
        "expert_counts.json, expert_transitions.json, token_to_expert.json, routers.csv, utilisation.csv, "
        "experts_per_token.csv{} and coactivation.csv in {}\n",
        same.empty() ? "" : ", saturation.csv", flags.out);
}

inline void add_inspect_routing(CLI::App& inspect) {
    auto flags = std::make_shared<InspectRoutingFlags>();
    CLI::App* verb =
        inspect.add_subcommand("routing", "what the routers of a model do with texts, as tables");
    verb->add_option("--model", flags->model, "folder of the checkpoint")->required();
    verb->add_option("--adapter", flags->adapter, "an adapter on it");
    verb->add_option(
        "--against", flags->against,
        "`base`, another adapter, a checkpoint, or a run for all of its checkpoints; may be given "
        "several times: the share of its experts that the model still chooses (saturation)");
    verb->add_option("--text", flags->text, "JSONL with `text` and perhaps `domain`, or a plain text")
        ->required();
    verb->add_option("--limit", flags->limit, "only the first N documents; 0: all");
    verb->add_option("--max-length", flags->max_length, "tokens of a window; 0: the model's positions");
    verb->add_option("--threads", flags->threads, "0: MOEGRAD_THREADS, else all cores");
    verb->add_option("--out", flags->out, "folder for the tables");
    verb->add_option("--name", flags->name, "of the model in the tables; else its folder's");
    add_adapter_reading(verb, flags->reading);
    add_device_flags(verb, flags->device);
    verb->callback([=] {
        const Number number = number_for(flags->device, flags->model);
        with_number(number, [&]<class Real>() { inspect_routing<Real>(*flags); });
    });
}

}  // namespace moegrad
