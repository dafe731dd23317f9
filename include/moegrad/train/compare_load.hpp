#pragma once
// What an arm of a comparison takes from an arm above it, seed by seed: the load that one showed, or the experts that its
// runs use most.

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include <moegrad/train/compare_files.hpp>
#include <moegrad/train/compare_lens.hpp>
#include <moegrad/train/compare_questions.hpp>
#include <moegrad/train/load_search.hpp>

namespace moegrad {

/// "adamoe, seed 0"
inline std::string run_label(const CompareArm& arm, std::uint64_t seed) {
    return format("{}, seed {}", arm.name, seed);
}

struct WantedLoad {
    double load = 0;
    std::string note;  // where it is not the load that the other arm shows
};

/// arm.load; or what arm.load_of showed on the questions, as far as a top-k router can have it. shown: arms whose last run
/// is that of `seed`; slots: top-k of the checkpoint.
inline WantedLoad wanted_load(const CompareSpec& spec, const CompareArm& arm, std::uint64_t seed,
                              const std::vector<ComparedArm>& shown, Index slots) {
    if (arm.load > 0) return {arm.load, ""};
    for (const ComparedArm& other : shown) {
        if (other.name != arm.load_of || other.runs.empty()) continue;
        const auto found = other.runs.back().measures.find("load");
        if (found == other.runs.back().measures.end()) break;
        const AdapterSpec adapter = run_config_of(spec, arm, seed, 1).adapter;
        const LoadOption* option = load_option(adapter);
        const bool open = option != nullptr && option->rises;  // no top_k bounds it
        const double wanted = found->second.value,
                     most = static_cast<double>(adapter.top_k > 0 ? adapter.top_k : slots);
        const double load = open ? std::max(wanted, 1.0) : std::clamp(wanted, 1.0, most);
        if (load == wanted) return {load, ""};
        return {load, format("{} has load {} with seed {}, not the {:.3f} of {}: out of its reach.", arm.name,
                             load, seed, wanted, arm.load_of)};
    }
    throw Error{ErrorCode::config, arm.place, "load_of naming an arm with routers",
                "\"" + arm.load_of + "\""};
}

/// What router.options are set to for `load`. A search is kept in the run's folder; say(line) tells what one found.
template <class Real, class Say>
double setting_at(const CompareSpec& spec, const CompareArm& arm, std::uint64_t seed, double load,
                  const Tokenizer& tokenizer, const std::string& inputs, Say say) {
    CompareArm plain = arm;
    plain.load = 0;
    plain.load_of.clear();
    RunConfig config = run_config_of(spec, plain, seed, 0);
    config.rate.peak = RunConfig().rate.peak;  // nothing trains
    const LoadOption* option = load_option(config.adapter);
    if (option == nullptr) return load;
    const std::string path = config.output + "/load.json",
                      fingerprint = run_fingerprint(config, inputs + format(" load {}", load));
    if (RunMark::has_fingerprint(path, fingerprint)) {
        const Json kept = parse_json_file(path);
        return JsonRef(kept, path, ErrorCode::format).at("setting").number(0, 1);
    }
    const FoundLoad found =
        search_load<Real>(config, tokenizer, *option, load, [&](RunConfig& tried, double value) {
            add_router_option(tried, format("{}={}", option->option, value));
        });
    Json json = Json::object();
    json.add("fingerprint", fingerprint);
    json.add("setting", found.setting);
    json.add("load", found.load);
    std::filesystem::create_directories(config.output);
    write_file_atomically(path, write_json(json) + "\n");
    say(format("{} {:.4f}: load {:.3f} before training, {:.3f} of {}", option->option, found.setting,
               found.load, load, arm.load_of.empty() ? "the recipe" : arm.load_of));
    return found.setting;
}

/// "picked=..": of the run of arm.picks_of with this seed.
template <class Real>
std::string picked_for(const CompareSpec& spec, const CompareArm& arm, std::uint64_t seed,
                       const Tokenizer& tokenizer) {
    const auto other = std::find_if(spec.arms.begin(), spec.arms.end(),
                                    [&](const CompareArm& one) { return one.name == arm.picks_of; });
    const RunConfig config = run_config_of(spec, *other, seed, 1);
    return lens_on<Real>(config, tokenizer, config.output + "/adapter").option(arm.picks, LensMetric::counts);
}

}  // namespace moegrad
