#pragma once
// CompareSpec: arms (methods with settings) x seeds over one base configuration, and the questions they are asked.
// A run is known by a fingerprint of everything its numbers depend on: all settings but threads and
// paths, the bytes of model and data, the version. A finished run with the same fingerprint is not run again.

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include <moegrad/io/mapped_file.hpp>
#include <moegrad/train/compare_change.hpp>
#include <moegrad/train/input_files.hpp>
#include <moegrad/train/load_option.hpp>
#include <moegrad/train/run_config_keys.hpp>
#include <moegrad/version.hpp>

namespace moegrad {

/// A setting as it was written, and where.
struct CompareKey {
    std::string key, value, place;
};

struct CompareArm {
    std::string name;
    bool control = false;  // a plain way of doing the same: methods are held against it
    std::string load_of;   // an earlier arm: router.options gets its measured load, seed by seed
    std::string
        picks_of;  // an earlier arm: router.options gets the experts its runs use most, `picks` a layer
    Index picks = 0;
    double length = 1;   // of its training, in those of [base]: times train.steps
    double load = 0;     // beside load_of: a load that is wanted, whatever another arm shows; 0: none
    std::string of;      // an earlier arm: its trained runs are asked again,
    std::string change;  // with this change (compare_change.hpp)
    std::vector<CompareKey> keys;
    std::string place;

    bool at_a_load() const { return load > 0 || !load_of.empty(); }
};

struct CompareSpec {
    std::string name = "compare", task = "questions";
    std::string note;  // stands under the table
    RunConfig base;
    std::vector<CompareArm> arms;
    std::vector<std::uint64_t> seeds{0};
    std::vector<double> rates;  // one grid of optim.lr for all arms (compare_rates.hpp); none: as configured
    std::string questions;      // multiple choice, JSONL; or else
    std::string texts;          // documents, JSONL: their bits per byte
    std::string format = "world";    // how they are put (data/choice_prompt.hpp)
    std::string heldout;             // documents, JSONL, for the assay; empty: no assay
    Index limit = 0, documents = 0;  // first questions, first documents; 0: all
    std::string output = "runs/compare";
    int threads = 0;
};

/// The folder of a run, below the compare's.
inline std::string run_folder_name(const CompareArm& arm, std::uint64_t seed) {
    return format("{}-{}", arm.name, seed);
}

/// Adds to router.options.
inline void add_router_option(RunConfig& config, const std::string& option) {
    std::string& options = config.adapter.options;
    options += (options.empty() ? "" : ",") + option;
}

/// One run's configuration. `setting`: of an arm at a load: the load, or the option that comes to it.
inline RunConfig run_config_of(const CompareSpec& spec, const CompareArm& arm, std::uint64_t seed,
                               double setting) {
    RunConfig config = spec.base;
    for (const CompareKey& one : arm.keys) set_config(config, one.key, one.value, one.place);
    if (arm.length != 1)
        config.steps = std::max<Index>(1, std::llround(arm.length * static_cast<double>(config.steps)));
    if (arm.at_a_load()) {
        const LoadOption* option = load_option(config.adapter);
        add_router_option(config, format("{}={}", option ? option->option : "load", setting));
    }
    config.seed = seed;
    config.threads = spec.threads;
    config.output = spec.output + "/" + run_folder_name(arm, seed);
    return config;
}

namespace detail {

/// A name that is safe as a folder's.
inline bool is_plain_name(const std::string& name) {
    const auto plain = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
               c == '-';
    };
    return !name.empty() && std::all_of(name.begin(), name.end(), plain);
}

inline void check_arm_name(const CompareArm& arm) {
    if (arm.name != "base" && is_plain_name(arm.name)) return;
    throw Error{ErrorCode::config, arm.place, "a name of letters, digits, _ and -, other than base",
                "\"" + arm.name + "\"", "the folder of its runs is called so"};
}

/// Everything that decides what data is read.
inline std::string data_settings(const RunConfig& config) {
    std::string all;
    for (const ConfigField& field : config_fields()) {
        const std::string key = field.key;
        if (key.starts_with("data.")) all += key + "=" + field.get(config) + "\n";
    }
    return all;
}

/// Keys that the comparison itself decides.
inline void refuse_own_keys(const std::vector<CompareKey>& keys) {
    for (const CompareKey& one : keys) {
        for (const auto& [key, instead] :
             {std::pair{"train.seed", "seeds = [..]"}, std::pair{"output.dir", "--out"},
              std::pair{"train.threads", "--threads"}}) {
            if (one.key != key) continue;
            throw Error{ErrorCode::config, one.place, format("no `{}`", key), format("`{}`", key),
                        format("the comparison sets it; use {}", instead)};
        }
    }
}

}  // namespace detail

/// The arm whose training an arm shows: itself, or that of arm.of.
inline const CompareArm& trained_arm(const CompareSpec& spec, const CompareArm& arm) {
    if (arm.of.empty()) return arm;
    return *std::find_if(spec.arms.begin(), spec.arms.end(),
                         [&](const CompareArm& one) { return one.name == arm.of; });
}

namespace detail {

/// A grid is one for all arms, so that none of them may have a rate of its own.
inline void check_rates(const CompareSpec& spec) {
    for (std::size_t i = 0; i < spec.rates.size(); ++i) {
        if (spec.rates[i] > (i == 0 ? 0 : spec.rates[i - 1])) continue;
        throw Error{ErrorCode::config, "rates", "learning rates above zero that rise",
                    format("{} as number {}", spec.rates[i], i + 1)};
    }
    if (spec.rates.empty()) return;
    for (const CompareArm& arm : spec.arms) {
        for (const CompareKey& one : arm.keys) {
            if (one.key != "optim.lr") continue;
            throw Error{ErrorCode::config, one.place, "no `optim.lr` beside rates", one.value,
                        "the grid is for all arms"};
        }
    }
}

/// Of the arm at `place` in spec.arms.
inline void check_changed_arm(const CompareSpec& spec, std::size_t place) {
    const CompareArm& arm = spec.arms[place];
    if (arm.of.empty() && arm.change.empty()) return;
    bool seen = false;
    for (std::size_t j = 0; j < place; ++j)
        seen = seen || (spec.arms[j].name == arm.of && spec.arms[j].of.empty());
    if (!seen || arm.change.empty()) {
        throw Error{
            ErrorCode::config, arm.place,
            "of naming an arm above this one that trains, and change = what is changed before it is asked",
            format("of \"{}\", change \"{}\"", arm.of, arm.change)};
    }
    if (!arm.keys.empty() || arm.at_a_load() || !arm.picks_of.empty() || arm.length != 1) {
        throw Error{ErrorCode::config, arm.place, "name, control, of and change alone", "more beside `of`",
                    "it is the arm of `of`, trained as that one says"};
    }
    parse_change(arm.change, arm.place);
}

}  // namespace detail

namespace detail {

/// What the arm at `place` takes from arms above it.
inline void check_earlier_arms(const CompareSpec& spec, std::size_t place) {
    const CompareArm& arm = spec.arms[place];
    bool seen = arm.load_of.empty(), picks_seen = arm.picks_of.empty();
    for (std::size_t j = 0; j < place; ++j) {
        const CompareArm& other = spec.arms[j];
        seen = seen || other.name == arm.load_of;
        picks_seen = picks_seen || (other.name == arm.picks_of && other.of.empty());
        if (other.name == arm.name)
            throw Error{ErrorCode::config, arm.place, "each arm's name once", "\"" + arm.name + "\" twice"};
    }
    if (!seen) {
        throw Error{ErrorCode::config, arm.place, "load_of naming an arm above this one",
                    "\"" + arm.load_of + "\"", "its load is measured before this arm runs"};
    }
    if (!picks_seen || (!arm.picks_of.empty() && arm.picks < 1)) {
        throw Error{ErrorCode::config, arm.place,
                    "picks_of naming an arm above this one, and picks = experts a layer",
                    format("\"{}\", {}", arm.picks_of, arm.picks),
                    "its experts are counted before this arm runs"};
    }
    if (arm.load < 0 || (arm.load > 0 && !arm.load_of.empty())) {
        throw Error{ErrorCode::config, arm.place, "a load above zero, or load_of",
                    format("load {} and load_of \"{}\"", arm.load, arm.load_of)};
    }
    if (!(arm.length > 0) || (arm.length != 1 && spec.base.steps < 1)) {
        throw Error{ErrorCode::config, arm.place, "a length above zero, and train.steps in [base]",
                    format("length {} of {} steps", arm.length, spec.base.steps)};
    }
    check_changed_arm(spec, place);
}

}  // namespace detail

/// Everything that can be wrong before the first step: throws with the place in the file.
inline void check_compare(const CompareSpec& spec) {
    if (spec.arms.empty()) throw Error{ErrorCode::config, spec.name, "at least one [[arm]]", "none"};
    if (spec.seeds.empty()) throw Error{ErrorCode::config, "seeds", "at least one seed", "none"};
    if (spec.questions.empty() == spec.texts.empty()) {
        throw Error{ErrorCode::config, "eval.questions, eval.texts", "a JSONL file of one of them",
                    spec.texts.empty() ? "none" : "both", "two kinds are two tasks: [[task]]"};
    }
    for (std::size_t i = 0; i < spec.seeds.size(); ++i) {
        if (std::count(spec.seeds.begin(), spec.seeds.end(), spec.seeds[i]) > 1)
            throw Error{ErrorCode::config, "seeds", "each seed once", format("{} twice", spec.seeds[i])};
    }
    detail::check_rates(spec);
    for (std::size_t i = 0; i < spec.arms.size(); ++i) {
        const CompareArm& arm = spec.arms[i];
        detail::check_arm_name(arm);
        detail::refuse_own_keys(arm.keys);
        for (const CompareKey& one : arm.keys) {
            if (one.key != "model.path" && one.key != "model.dtype") continue;
            throw Error{ErrorCode::config, one.place, format("`{}` in [base]", one.key), "in an [[arm]]",
                        "all arms start from one base; compare two bases in two files"};
        }
        detail::check_earlier_arms(spec, i);
        run_config_of(spec, arm, 0, 1);
    }
}

/// FNV-1a, 64 bits, over anything that a run depends on.
class Fingerprint {
public:
    void add(std::string_view bytes) {
        for (const char c : bytes) step(static_cast<unsigned char>(c));
        step(0xff);  // no UTF-8 byte: "ab" + "c" is not "a" + "bc"
    }
    void add_file(const std::string& path) { add(MappedFile(path).text()); }
    std::string text() const { return format("{:016x}", value_); }

private:
    void step(unsigned char byte) { value_ = (value_ ^ byte) * 0x100000001b3ull; }
    std::uint64_t value_ = 0xcbf29ce484222325ull;
};

/// Of model, data and questions: what all runs of a comparison share.
inline std::string inputs_fingerprint(const CompareSpec& spec) {
    namespace fs = std::filesystem;
    Fingerprint print;
    print.add(kVersion);
    // The program itself: numbers of another build are not this one's.
    if (const std::string program = "/proc/self/exe"; fs::exists(program)) print.add_file(program);
    std::vector<std::string> files;
    std::error_code problem;
    for (const auto& entry : fs::directory_iterator(spec.base.model, problem)) {
        const std::string extension = entry.path().extension().string();
        if (extension == ".json" || extension == ".safetensors" || extension == ".model")
            files.push_back(entry.path().string());
    }
    std::sort(files.begin(), files.end());
    for (const std::string& file : files) {
        print.add(fs::path(file).filename().string());
        print.add_file(file);
    }
    print.add_file(spec.questions.empty() ? spec.texts : spec.questions);
    print.add(moegrad::format("{} {}", spec.format, spec.limit));
    return print.text();
}

/// Of one run.
inline std::string run_fingerprint(const RunConfig& config, const std::string& inputs) {
    Fingerprint print;
    print.add(inputs);
    for (const ConfigField& field : config_fields()) {
        const std::string key = field.key;
        const auto left_out = {"output.dir", "train.threads", "model.path",
                               "data.train", "data.eval",     "log.every"};
        if (std::find(left_out.begin(), left_out.end(), key) == left_out.end())
            print.add(key + "=" + field.get(config));
    }
    if (config.adapter.method == Method::registered) print.add(find_router(config.adapter.router)->version);
    for (const std::string& file : {config.train_data, config.eval_data}) {
        print.add(file.empty() ? "none" : "file");
        if (!file.empty()) print.add_file(file);
    }
    for (const InputFile& file : adapter_input_files(config.adapter.options)) print.add(file.sha256);
    return print.text();
}

}  // namespace moegrad
