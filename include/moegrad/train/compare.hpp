#pragma once
// run_compare: every (arm, seed) of a CompareSpec: trained, asked the questions, written to a folder of its own; then the
// means, the intervals and the paired differences. Resumable: a run whose run.json has the right fingerprint is done;
// any other is run from its start. So a comparison that is killed goes on with the run it was in.

#include <filesystem>
#include <string>

#include <moegrad/data/document_samples.hpp>
#include <moegrad/train/compare_files.hpp>
#include <moegrad/train/compare_lens.hpp>
#include <moegrad/train/compare_load.hpp>
#include <moegrad/train/compare_questions.hpp>
#include <moegrad/train/compare_rates.hpp>
#include <moegrad/train/compare_share.hpp>
#include <moegrad/train/compare_startable.hpp>
#include <moegrad/train/run.hpp>

namespace moegrad {

/// What a comparison says while it goes. step, tick: lines that the next one replaces; ticks are for terminals only.
/// whole: a run of a share (run_compare_share) that is done, now or before.
enum class CompareNews { begin, step, tick, done, whole };

/// watch(news, label, text): label is "adamoe, seed 0".
template <class Real, class Watch>
class Comparison {
public:
    Comparison(const CompareSpec& spec, Watch watch)
        : spec_(spec),
          watch_(std::move(watch)),
          inputs_(inputs_with_questions(spec)),
          tokenizer_(load_tokenizer(spec.base.model)),
          questions_(spec) {
        const ModelConfig config = load_model_config(spec.base.model);
        if (config.is_mixture()) slots_ = config.num_experts_per_tok;
    }

    CompareResult run() {
        require_startable<Real>(spec_, tokenizer_);
        CompareResult result = nothing_yet();
        ask_base(result);
        for (const std::uint64_t seed : spec_.seeds)
            for (std::size_t i = 0; i < spec_.arms.size(); ++i) add_run(i, seed, result);
        if (!rates_.empty())
            add_note(result,
                     "Learning rate, of one grid, by a held-out tenth of the training data: " + rates_ + ".");
        result.pairs = compared_pairs(result.arms, result.metrics);
        write_compare_files(result, spec_.output);
        return result;
    }

    /// `units` of one stage of this comparison, after all stages before it, and nothing else.
    void run_share(const CompareStage& units) {
        CompareResult result = nothing_yet();
        for (const CompareUnit& unit : units) {
            const bool tries = unit.kind == UnitKind::rate;
            const std::uint64_t seed = tries ? spec_.seeds.front() : spec_.seeds[unit.place];
            const CompareArm& arm = spec_.arms[unit.arm];
            if (unit.kind == UnitKind::run) settle_shown(unit.arm, result);
            show_taken(unit.arm, seed, result);
            if (unit.kind == UnitKind::setting) setting_for(arm, seed, result);
            if (tries) try_one_rate(arm, config_for(arm, seed, result), spec_.rates[unit.place]);
            if (unit.kind != UnitKind::run) continue;
            run_arm(arm, seed, result);
            watch_(CompareNews::whole, run_label(arm, seed), kRunDone);
        }
    }

private:
    /// What is known of the comparison before its first run.
    CompareResult nothing_yet() const {
        std::filesystem::create_directories(spec_.output);
        CompareResult result;
        result.name = spec_.name;
        result.task = spec_.task;
        result.model = spec_.base.model;
        result.seeds = spec_.seeds;
        if (!spec_.note.empty()) result.notes.push_back(spec_.note);
        if (spec_.questions.empty()) result.metrics = document_metrics();
        result.facts = read_task_facts(spec_.questions);
        for (const CompareArm& arm : spec_.arms) {
            const RunConfig config = run_config_of(spec_, trained_arm(spec_, arm), spec_.seeds.front(), 1);
            result.arms.push_back({arm.name, config.adapter.method_name(), arm.control, {}});
        }
        return result;
    }

    /// Questions for the model as it is, and the assay.
    void ask_base(CompareResult& result) {
        const std::string folder = spec_.output + "/base", label = "base";
        const Device device = spec_.base.device;
        Context context({.device = device, .threads = spec_.threads});
        auto model = load_model<Real>(spec_.base.model, device, spec_.base.quantise);
        if (!RunMark::is_done(folder, inputs_)) {
            RunMark::remove(folder);
            watch_(CompareNews::begin, label, "questions to the base model, before any training");
            ask(context, *model, folder, label, 0);
            RunMark::write(folder, inputs_, {});
        }
        result.base = {.name = "base", .method = "none", .control = false, .runs = {}};
        result.base.runs.push_back(read_compared_run(spec_.output, "base", 0));
        if (spec_.heldout.empty() || !model->config().is_mixture()) return;
        const auto documents = document_samples(spec_.heldout, tokenizer_,
                                                model->config().max_position_embeddings, spec_.documents);
        result.assay = run_assay(context, *model, documents);
        watch_(CompareNews::done, label, assay_text(*result.assay));
    }

    void add_run(std::size_t i, std::uint64_t seed, CompareResult& result) {
        if (seed == spec_.seeds.front()) settle_rate(spec_.arms[i], result);
        run_arm(spec_.arms[i], seed, result);
        const std::string folder = run_folder_name(spec_.arms[i], seed);
        auto& runs = result.arms[i].runs;
        runs.push_back(read_compared_run(spec_.output, folder, seed));
        if (result.base.runs.empty() || runs.back().ids == result.base.runs.front().ids) return;
        throw Error{ErrorCode::state, spec_.output + "/" + folder, "the questions of the base", "other ones",
                    "delete this folder and base/ there, and start again"};
    }

    /// Of an arm that trains, with what earlier arms showed.
    RunConfig config_for(const CompareArm& arm, std::uint64_t seed, CompareResult& result) {
        RunConfig config = run_config_of(spec_, arm, seed, setting_for(arm, seed, result));
        if (!arm.picks_of.empty()) add_router_option(config, picked_for<Real>(spec_, arm, seed, tokenizer_));
        return config;
    }

    /// What a control is set to for its load.
    double setting_for(const CompareArm& arm, std::uint64_t seed, CompareResult& result) {
        if (!arm.at_a_load()) return 0;
        const WantedLoad wanted = wanted_load(spec_, arm, seed, result.arms, slots_);
        if (!wanted.note.empty()) add_note(result, wanted.note);
        return setting_at<Real>(
            spec_, arm, seed, wanted.load, tokenizer_, inputs_,
            [&](const std::string& line) { watch_(CompareNews::done, run_label(arm, seed), line); });
    }

    /// In a share: what the arm takes from others is there, their rates and their runs with `seed`.
    void show_taken(std::size_t i, std::uint64_t seed, CompareResult& result) {
        for (const std::size_t j : taken_from(spec_.arms, i)) {
            settle_shown(j, result);
            const std::string folder = run_folder_name(spec_.arms[j], seed);
            result.arms[j].runs = {read_compared_run(spec_.output, folder, seed)};
        }
    }
    /// In a share: the rate of an arm that an earlier stage found.
    void settle_shown(std::size_t i, CompareResult& result) {
        settled_.resize(spec_.arms.size());
        if (settled_[i]) return;
        show_taken(i, spec_.seeds.front(), result);
        settle_rate(spec_.arms[i], result);
        settled_[i] = true;
    }

    TriedRate try_one_rate(const CompareArm& arm, const RunConfig& config, double rate) {
        const std::string label = format("{}, rate {:g}", arm.name, rate);
        const std::string folder = format("{}/rates/{}-{:g}", spec_.output, arm.name, rate);
        const auto say = [&](const std::string& line) { watch_(CompareNews::step, label, line); };
        const TriedRate tried = try_rate(config, rate, inputs_, folder, [&](const RunConfig& one) {
            return run_training<Real>(one, say).nll_after;
        });
        watch_(CompareNews::done, label, format("held-out nll {:.4f}", tried.nll));
        return tried;
    }

    /// The rate of the grid that suits the arm; it has it from here on.
    void settle_rate(CompareArm& arm, CompareResult& result) {
        if (spec_.rates.empty() || !arm.of.empty()) return;
        const RunConfig config = config_for(arm, spec_.seeds.front(), result);
        std::vector<TriedRate> tried;
        for (const double rate : spec_.rates) tried.push_back(try_one_rate(arm, config, rate));
        arm.keys.push_back({"optim.lr", format("{}", tried[best_rate(tried)].rate), "rates"});
        rates_ += (rates_.empty() ? "" : ", ") + best_rate_text(arm.name, tried);
    }

    void run_arm(const CompareArm& arm, std::uint64_t seed, CompareResult& result) {
        if (!arm.of.empty()) return ask_changed(arm, seed);
        const RunConfig config = config_for(arm, seed, result);
        const std::string label = run_label(arm, seed);
        const std::string fingerprint = run_fingerprint(config, inputs_);
        if (is_done_before(config.output, fingerprint, label)) return;
        const RunSummary summary = run_training<Real>(
            config, [&](const std::string& line) { watch_(CompareNews::step, label, line); });
        ask_adapted(config, label, [](Decoder<Real>&) {});
        RunMark::write(config.output, fingerprint, summary);
    }

    bool is_done_before(const std::string& folder, const std::string& fingerprint, const std::string& label) {
        if (RunMark::is_done(folder, fingerprint)) {
            watch_(CompareNews::done, label, "done before, not run again");
            return true;
        }
        RunMark::remove(folder);
        watch_(CompareNews::begin, label, "");
        return false;
    }

    /// The run of arm.of with this seed, asked once more with arm.change in its routers.
    void ask_changed(const CompareArm& arm, std::uint64_t seed) {
        const RunConfig trained = run_config_of(spec_, trained_arm(spec_, arm), seed, 1);
        const std::string folder = spec_.output + "/" + run_folder_name(arm, seed);
        const std::string label = run_label(arm, seed);
        Fingerprint print;
        print.add(RunMark::fingerprint_in(RunMark::path(trained.output)));
        print.add(arm.change);
        if (is_done_before(folder, print.text(), label)) return;
        const ArmChange change = parse_change(arm.change, arm.place);
        const auto blocked = blocked_by<Real>(change, trained, tokenizer_);
        RunConfig config = trained;
        config.output = folder;
        ask_adapted(
            config, label, [&](Decoder<Real>& model) { apply_change(model, change, blocked); },
            trained.output);
        RunMark::write(folder, print.text(), {});
    }

    /// Loads what was trained in `from` (config.output), changes it and asks it.
    template <class Change>
    void ask_adapted(const RunConfig& config, const std::string& label, Change change,
                     const std::string& from = {}) {
        Context context({.device = config.device, .threads = spec_.threads});
        auto model = load_model<Real>(config.model, config.device, config.quantise);
        load_adapter(*model, (from.empty() ? config.output : from) + "/adapter");
        Index trainable = 0;
        for (const auto* parameter : trainable_parameters(*model)) trainable += parameter->size();
        change(*model);
        move_to(*model, config.device);
        say_score(label, ask(context, *model, config.output, label, trainable));
    }

    static void add_note(CompareResult& result, const std::string& note) {
        if (std::find(result.notes.begin(), result.notes.end(), note) == result.notes.end())
            result.notes.push_back(note);
    }

    /// Writes folder/eval and returns the accuracy, or of texts the bits per byte.
    Estimate ask(Context& context, Decoder<Real>& model, const std::string& folder, const std::string& label,
                 Index trainable) {
        return questions_.ask(context, model, tokenizer_, folder, trainable, [&](Index done) {
            watch_(CompareNews::tick, label, format("question {} of {}", done, questions_.size()));
        });
    }
    void say_score(const std::string& label, const Estimate& score) {
        watch_(CompareNews::done, label,
               spec_.questions.empty()
                   ? format("bits per byte {:.4f}  [{:.4f}, {:.4f}]", score.value, score.low, score.high)
                   : format("accuracy {:.1f} %  [{:.1f}, {:.1f}]", 100 * score.value, 100 * score.low,
                            100 * score.high));
    }

    CompareSpec spec_;  // arms get the rates that suit them
    Watch watch_;
    std::vector<bool> settled_;  // arms of a share whose rate is known
    std::string inputs_, rates_;
    Tokenizer tokenizer_;
    CompareQuestions questions_;
    Index slots_ = 2;  // of the checkpoint; of Mo-LoRA on a dense one
};

/// Runs what is not done yet and writes compare.json and compare.csv to spec.output.
template <class Real, class Watch>
CompareResult run_compare(const CompareSpec& spec, Watch watch) {
    check_compare(spec);
    return Comparison<Real, Watch>(spec, std::move(watch)).run();
}

/// Units of one stage of `spec`, after all stages before it (compare_share.hpp), so that run_compare finds them done. The base
/// is not asked and no file of the comparison is written; processes with other units of the stage may run beside this one.
template <class Real, class Watch>
void run_compare_share(const CompareSpec& spec, const CompareStage& units, Watch watch) {
    check_compare(spec);
    Comparison<Real, Watch>(spec, std::move(watch)).run_share(units);
}

}  // namespace moegrad
