#pragma once
// run_compare: every (arm, seed) of a CompareSpec: trained, asked the questions, written to a folder of its own; then the
// means, the intervals and the paired differences. Resumable: a run whose run.json has the right fingerprint is done;
// any other is run from its start. So a comparison that is killed goes on with the run it was in.

#include <filesystem>
#include <string>

#include <moegrad/data/choice_items.hpp>
#include <moegrad/data/document_samples.hpp>
#include <moegrad/eval/evaluate.hpp>
#include <moegrad/train/compare_files.hpp>
#include <moegrad/train/load_search.hpp>
#include <moegrad/train/router_lens.hpp>
#include <moegrad/train/run.hpp>

namespace moegrad {

/// What a comparison says while it goes. step, tick: lines that the next one replaces; ticks are for terminals only.
enum class CompareNews { begin, step, tick, done };

/// watch(news, label, text): label is "adamoe, seed 0".
template <class Real, class Watch>
class Comparison {
public:
    Comparison(const CompareSpec& spec, Watch watch)
        : spec_(spec),
          watch_(std::move(watch)),
          inputs_(inputs_fingerprint(spec)),
          tokenizer_(load_tokenizer(spec.base.model)) {
        if (spec.questions.empty()) {
            texts_ = limited(read_text_records(spec.texts), spec.texts);
        } else {
            items_ = limited(read_choice_items(spec.questions), spec.questions);
            choice_format(spec.format);
        }
    }

    CompareResult run() {
        std::filesystem::create_directories(spec_.output);
        CompareResult result;
        result.name = spec_.name;
        result.task = spec_.task;
        result.model = spec_.base.model;
        result.seeds = spec_.seeds;
        if (!spec_.note.empty()) result.notes.push_back(spec_.note);
        if (spec_.questions.empty()) result.metrics = document_metrics();
        result.facts = read_task_facts(spec_.questions);
        for (const CompareArm& arm : spec_.arms) require_startable(arm);
        ask_base(result);
        for (const CompareArm& arm : spec_.arms) {
            const RunConfig config = run_config_of(spec_, arm, spec_.seeds.front(), 1);
            result.arms.push_back({arm.name, config.adapter.method_name(), arm.control, {}});
        }
        for (const std::uint64_t seed : spec_.seeds) {
            for (std::size_t i = 0; i < spec_.arms.size(); ++i) {
                run_arm(spec_.arms[i], seed, result);
                const std::string folder = run_folder_name(spec_.arms[i], seed);
                result.arms[i].runs.push_back(read_compared_run(spec_.output, folder, seed));
                if (result.arms[i].runs.back().ids == result.base.runs.front().ids) continue;
                throw Error{ErrorCode::state, spec_.output + "/" + folder, "the questions of the base",
                            "other ones", "delete this folder and base/ there, and start again"};
            }
        }
        result.pairs = compared_pairs(result.arms, result.metrics);
        write_compare_files(result, spec_.output);
        return result;
    }

private:
    /// The first spec.limit of them.
    template <class Item>
    std::vector<Item> limited(std::vector<Item> all, const std::string& path) const {
        if (spec_.limit > 0 && spec_.limit < static_cast<Index>(all.size()))
            all.erase(all.begin() + static_cast<std::ptrdiff_t>(spec_.limit), all.end());
        detail::require_items(path.c_str(), all.size(), 2);
        return all;
    }

    /// A mistake in the last arm must not wait until the others have trained.
    void require_startable(const CompareArm& arm) {
        try {
            RunConfig config = run_config_of(spec_, arm, spec_.seeds.front(), 1);
            if (!arm.picks_of.empty()) {
                const Index layers = load_model_config(config.model).num_hidden_layers;
                add_router_option(config, "picked=" + expert_lists_text(std::vector<ExpertList>(
                                                          static_cast<std::size_t>(layers), ExpertList{0})));
            }
            if (config.dtype != spec_.base.dtype || config.device != spec_.base.device) {
                throw Error{ErrorCode::config, "model.dtype and train.device",
                            "those of the base for every arm",
                            format("{} on {}", moegrad::name(config.dtype), moegrad::name(config.device))};
            }
            const auto model = make_model<Real>(load_model_config(config.model));
            attach(*model, config.adapter_for(model->config()));
            if (const std::string data = data_settings(config); data != readable_) {
                load_text_data(config, tokenizer_);
                readable_ = data;
            }
        } catch (const Error& error) {
            throw Error{error.code, format("arm \"{}\" ({}): {}", arm.name, arm.place, error.place),
                        error.expected, error.got, error.hint};
        }
    }

    static std::string data_settings(const RunConfig& config) {
        std::string all;
        for (const ConfigField& field : config_fields()) {
            const std::string key = field.key;
            if (key.starts_with("data.")) all += key + "=" + field.get(config) + "\n";
        }
        return all;
    }

    /// Questions for the model as it is, and the assay.
    void ask_base(CompareResult& result) {
        const std::string folder = spec_.output + "/base", label = "base";
        const Device device = spec_.base.device;
        Context context({.device = device, .threads = spec_.threads});
        auto model = load_model<Real>(spec_.base.model, device, spec_.base.quantise);
        if (model->config().is_mixture()) slots_ = model->config().num_experts_per_tok;
        if (!is_done(folder, inputs_)) {
            std::filesystem::remove(folder + "/run.json");
            watch_(CompareNews::begin, label, "questions to the base model, before any training");
            ask(context, *model, folder, label);
            mark_done(folder, inputs_, {});
        }
        result.base = {.name = "base", .method = "none", .control = false, .runs = {}};
        result.base.runs.push_back(read_compared_run(spec_.output, "base", 0));
        if (spec_.heldout.empty() || !model->config().is_mixture()) return;
        const auto documents = document_samples(spec_.heldout, tokenizer_,
                                                model->config().max_position_embeddings, spec_.documents);
        result.assay = run_assay(context, *model, documents);
        watch_(CompareNews::done, label, assay_text(*result.assay));
    }

    void run_arm(const CompareArm& arm, std::uint64_t seed, CompareResult& result) {
        RunConfig config = run_config_of(spec_, arm, seed, setting_for(arm, seed, result));
        if (!arm.picks_of.empty()) add_router_option(config, picked_for(arm, seed));
        const std::string label = format("{}, seed {}", arm.name, seed);
        const std::string fingerprint = run_fingerprint(config, inputs_);
        if (is_done(config.output, fingerprint)) {
            watch_(CompareNews::done, label, "done before, not run again");
            return;
        }
        std::filesystem::remove(config.output + "/run.json");
        watch_(CompareNews::begin, label, "");
        const RunSummary summary = run_training<Real>(
            config, [&](const std::string& line) { watch_(CompareNews::step, label, line); });
        Context context({.device = config.device, .threads = spec_.threads});
        auto model = load_model<Real>(config.model, config.device, config.quantise);
        load_adapter(*model, summary.adapter);
        move_to(*model, config.device);
        const auto score = ask(context, *model, config.output, label);
        mark_done(config.output, fingerprint, summary);
        watch_(CompareNews::done, label,
               spec_.questions.empty()
                   ? format("bits per byte {:.4f}  [{:.4f}, {:.4f}]", score.value, score.low, score.high)
                   : format("accuracy {:.1f} %  [{:.1f}, {:.1f}]", 100 * score.value, 100 * score.low,
                            100 * score.high));
    }

    /// "picked=..": of the run of arm.picks_of with this seed, over samples of the training data that `lens` draws too.
    std::string picked_for(const CompareArm& arm, std::uint64_t seed) const {
        constexpr Index samples = 500;
        const auto other = std::find_if(spec_.arms.begin(), spec_.arms.end(),
                                        [&](const CompareArm& one) { return one.name == arm.picks_of; });
        const RunConfig config = run_config_of(spec_, *other, seed, 1);
        auto model = load_model<Real>(config.model, config.device, config.quantise);
        load_adapter(*model, config.output + "/adapter");
        move_to(*model, config.device);
        const auto data = load_text_data(config, tokenizer_);
        const auto picks = lens_picks(data.train.size(), samples);
        Context context({.device = config.device, .threads = spec_.threads});
        return look_through(context, *model, data.train, picks).option(arm.picks, LensMetric::counts);
    }

    /// What a control is set to for the load of arm.load_of. A search is kept in the run's folder.
    double setting_for(const CompareArm& arm, std::uint64_t seed, CompareResult& result) {
        const double load = load_for(arm, seed, result);
        if (arm.load_of.empty()) return 0;
        CompareArm plain = arm;
        plain.load_of.clear();
        const RunConfig config = run_config_of(spec_, plain, seed, 0);
        const LoadOption* option = load_option(config.adapter);
        if (option == nullptr) return load;
        const std::string path = config.output + "/load.json",
                          fingerprint = run_fingerprint(config, inputs_ + format(" load {}", load));
        if (has_fingerprint(path, fingerprint)) {
            const Json kept = parse_json_file(path);
            return JsonRef(kept, path, ErrorCode::format).at("setting").number(0, 1);
        }
        const FoundLoad found =
            search_load<Real>(config, tokenizer_, *option, load, [&](RunConfig& tried, double value) {
                add_router_option(tried, format("{}={}", option->option, value));
            });
        Json json = Json::object();
        json.add("fingerprint", fingerprint);
        json.add("setting", found.setting);
        json.add("load", found.load);
        std::filesystem::create_directories(config.output);
        write_file_atomically(path, write_json(json) + "\n");
        watch_(CompareNews::done, format("{}, seed {}", arm.name, seed),
               format("{} {:.4f}: load {:.3f} before training, {:.3f} of {}", option->option, found.setting,
                      found.load, load, arm.load_of));
        return found.setting;
    }

    /// The load that arm.load_of showed on the questions, as far as a top-k router can have it.
    double load_for(const CompareArm& arm, std::uint64_t seed, CompareResult& result) const {
        if (arm.load_of.empty()) return 0;
        for (const ComparedArm& other : result.arms) {
            if (other.name != arm.load_of || other.runs.empty()) continue;
            const auto found = other.runs.back().measures.find("load");
            if (found == other.runs.back().measures.end()) break;
            const Index k = run_config_of(spec_, arm, seed, 1).adapter.top_k;
            const LoadOption* option = load_option(run_config_of(spec_, arm, seed, 1).adapter);
            const bool open = option != nullptr && option->rises;  // no top_k bounds it
            const double wanted = found->second.value, most = static_cast<double>(k > 0 ? k : slots_);
            const double load = open ? std::max(wanted, 1.0) : std::clamp(wanted, 1.0, most);
            if (load != wanted) {
                result.notes.push_back(
                    format("{} has load {} with seed {}, not the {:.3f} of {}: out of its reach.", arm.name,
                           load, seed, wanted, arm.load_of));
            }
            return load;
        }
        throw Error{ErrorCode::config, arm.place, "load_of naming an arm with routers",
                    "\"" + arm.load_of + "\""};
    }

    /// Writes folder/eval and returns the accuracy, or of texts the bits per byte.
    Estimate ask(Context& context, Decoder<Real>& model, const std::string& folder,
                 const std::string& label) {
        if (spec_.questions.empty()) {
            auto evaluation = evaluate_texts(context, model, tokenizer_, texts_);
            auto summary = summarize(evaluation, model.config(), spec_.task, flops_are_counted(model));
            count_trainable(model, label, summary);
            write_evaluation(folder + "/eval", summary, evaluation);
            return evaluation.metrics.back().estimate;
        }
        ChoiceOptions options;
        options.format = choice_format(spec_.format);
        const auto evaluation =
            evaluate_choices(context, model, tokenizer_, items_, options, [&](Index done) {
                watch_(CompareNews::tick, label, format("question {} of {}", done, items_.size()));
            });
        auto summary = summarize(evaluation, model.config(), spec_.task, flops_are_counted(model));
        count_trainable(model, label, summary);
        write_evaluation(folder + "/eval", summary, evaluation);
        return evaluation.metric("acc");
    }

    static void count_trainable(Decoder<Real>& model, const std::string& label, TaskSummary& summary) {
        if (label == "base") return;
        for (const auto* parameter : trainable_parameters(model)) summary.trainable += parameter->size();
    }

    static bool is_done(const std::string& folder, const std::string& fingerprint) {
        return file_exists(folder + "/eval/results.json") &&
               has_fingerprint(folder + "/run.json", fingerprint);
    }
    static bool has_fingerprint(const std::string& path, const std::string& fingerprint) {
        if (!file_exists(path)) return false;
        const Json json = parse_json_file(path);
        const Json* found = json.find("fingerprint");
        return found != nullptr && found->string() != nullptr && *found->string() == fingerprint;
    }
    static void mark_done(const std::string& folder, const std::string& fingerprint,
                          const RunSummary& summary) {
        Json json = Json::object();
        json.add("fingerprint", fingerprint);
        json.add("tokens_per_second", summary.tokens_per_second);
        json.add("step_seconds", summary.step_seconds);
        json.add("peak_bytes", static_cast<double>(summary.peak_bytes));
        write_file_atomically(folder + "/run.json", write_json(json) + "\n");
    }

    const CompareSpec& spec_;
    Watch watch_;
    std::string inputs_, readable_;  // readable_: settings whose data was read without an error
    Tokenizer tokenizer_;
    std::vector<ChoiceItem> items_;  // these
    std::vector<TextRecord> texts_;  // or these
    Index slots_ = 2;                // of the checkpoint; of Mo-LoRA on a dense one
};

/// Runs what is not done yet and writes compare.json and compare.csv to spec.output.
template <class Real, class Watch>
CompareResult run_compare(const CompareSpec& spec, Watch watch) {
    check_compare(spec);
    return Comparison<Real, Watch>(spec, std::move(watch)).run();
}

}  // namespace moegrad
