#pragma once
// What a finished pretraining run came to: PretrainSummary, and results.json of its folder.
//   bits_per_byte     summed nll / (ln 2 . bytes of the held-out text), by domain
//   also_trained_on   share of the held-out text that stands in the training part too (data/heldout.hpp)

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <moegrad/io/atomic_file.hpp>
#include <moegrad/io/json_writer.hpp>
#include <moegrad/io/sha256.hpp>
#include <moegrad/train/assay_json.hpp>
#include <moegrad/train/pretrain_data.hpp>
#include <moegrad/train/run_state.hpp>

namespace moegrad {

struct PretrainSummary {
    std::map<std::string, double> nll;            // per held-out token, by domain; "text" for a text
    std::map<std::string, double> bits_per_byte;  // of a mix
    std::vector<MixUse> use;                      // of a mix, by source
    std::optional<Assay> assay;                   // of a mixture, on all that is held out
    Index tokens = 0, parameters = 0;
    std::string model;         // folder
    bool interrupted = false;  // stopped by RunControl::stop; a checkpoint was saved
};

namespace detail {

inline Json pretrain_domains_json(const PretrainSummary& summary, const PretrainData& data) {
    Json domains = Json::object();
    for (const auto& [domain, nll] : summary.nll) {
        Index tokens = 0;
        for (const Sample& sample : data.heldout.at(domain)) tokens += sample.supervised();
        Json one = Json::object();
        one.add("nll", nll);
        one.add("tokens", static_cast<std::int64_t>(tokens));
        if (const auto bits = summary.bits_per_byte.find(domain); bits != summary.bits_per_byte.end()) {
            one.add("bits_per_byte", bits->second);
            one.add("bytes", static_cast<std::int64_t>(data.heldout_bytes.at(domain)));
        }
        if (data.mix && data.mix->leak().contains(domain))
            one.add("also_trained_on", data.mix->leak().at(domain).share());
        domains.add(domain, std::move(one));
    }
    return domains;
}

}  // namespace detail

/// Bits per byte of a domain's mean nll per token; 0 where no bytes are known.
inline double bits_per_byte(double nll, const Dataset& samples, Index bytes) {
    Index tokens = 0;
    for (const Sample& sample : samples) tokens += sample.supervised();
    return bytes == 0 ? 0
                      : nll * static_cast<double>(tokens) / (static_cast<double>(bytes) * moegrad::log(2.0));
}

/// "stories  5200 samples, 2662400 tokens, 4.13 epochs"
inline std::string mix_use_text(const MixUse& use) {
    const std::string epochs = use.epochs > 0 ? format(", {:.2f} epochs", use.epochs) : "";
    return format("{:<12} {} samples, {} tokens{}", use.domain, use.samples, use.tokens, epochs);
}

/// All but the seconds and what depends on them is the same for every run of a configuration.
inline void write_pretrain_results(const std::string& path, const PretrainSummary& summary,
                                   const detail::PretrainData& data, const RunState& state) {
    Json sources = Json::object();
    for (const MixUse& use : summary.use) {
        Json one = Json::object();
        one.add("samples", static_cast<std::int64_t>(use.samples));
        one.add("tokens", static_cast<std::int64_t>(use.tokens));
        if (use.epochs > 0) one.add("epochs", use.epochs);
        sources.add(use.domain, std::move(one));
    }
    Json all = Json::object();
    all.add("parameters", static_cast<std::int64_t>(summary.parameters));
    all.add("steps", static_cast<std::int64_t>(state.step));
    all.add("tokens", static_cast<std::int64_t>(state.tokens));
    all.add("seconds", state.seconds);
    all.add("sha256", sha256_file(summary.model + "/model.safetensors"));
    all.add("bytes",
            static_cast<std::int64_t>(std::filesystem::file_size(summary.model + "/model.safetensors")));
    all.add("heldout", detail::pretrain_domains_json(summary, data));
    if (!summary.use.empty()) all.add("sources", std::move(sources));
    if (summary.assay) all.add("assay", detail::assay_json(*summary.assay));
    write_file_atomically(path, write_json(all, JsonStyle::indented) + "\n");
}

}  // namespace moegrad
