// moegrad estimate: the peak memory of a training run before it is started; takes the flags of `train`.

#include <cstdio>

#include <moegrad/train/estimate_text.hpp>

#include "run_flags.hpp"
#include "verbs.hpp"

using namespace moegrad;

namespace {

/// A plan needs no kernel: bf16 on a GPU can be planned anywhere.
MemoryEstimate estimate_of(const RunConfig& config) {
    if (config.dtype == Number::float64) return estimate_memory<double>(config);
    return config.dtype == Number::bfloat16 ? estimate_memory<bf16>(config) : estimate_memory<float>(config);
}

void add_estimate(CLI::App& app) {
    CLI::App* verb =
        app.add_subcommand("estimate", "peak memory of a training run; takes the flags of train");
    auto file = std::make_shared<std::string>();
    verb->add_option("--config", *file, "TOML file with the keys below")->check(CLI::ExistingFile);
    const auto flags = add_run_flags(*verb);
    verb->callback([=] {
        RunConfig config = run_config({}, *file, *flags);
        settle_number(config);
        fmt::print("{}", estimate_text(estimate_of(config)));
    });
}

const RegisterVerb estimate_registered(18, add_estimate);

}  // namespace
