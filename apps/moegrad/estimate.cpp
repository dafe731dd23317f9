// moegrad estimate: the peak memory of a training run before it is started; takes the flags of `train`.

#include <cstdio>

#include <moegrad/train/estimate_text.hpp>

#include "run_flags.hpp"
#include "verbs.hpp"

using namespace moegrad;

namespace {

void add_estimate(CLI::App& app) {
    CLI::App* verb =
        app.add_subcommand("estimate", "peak memory of a training run; takes the flags of train");
    auto file = std::make_shared<std::string>(), device = std::make_shared<std::string>("cpu");
    verb->add_option("--config", *file, "TOML file with the keys below")->check(CLI::ExistingFile);
    verb->add_option("--device", *device, "cpu");
    const auto flags = add_run_flags(*verb);
    verb->callback([=] {
        require_cpu(*device);
        const RunConfig config = run_config({}, *file, *flags);
        const MemoryEstimate estimate = config.dtype == Number::float64 ? estimate_memory<double>(config)
                                                                        : estimate_memory<float>(config);
        fmt::print("{}", estimate_text(estimate));
    });
}

const RegisterVerb estimate_registered(18, add_estimate);

}  // namespace
