// moegrad demo: the recipe models/recipes/demo.toml on the tiny Mixtral that ships: a comparison of routers in two
// minutes, without a download.

#include <chrono>

#include "compare_toml.hpp"
#include "compare_verb.hpp"
#include "demo_methods.hpp"
#include "demo_world.hpp"
#include "shipped.hpp"
#include "verbs.hpp"

using namespace moegrad;

namespace {

struct DemoFlags {
    std::string out = "runs/demo", model, recipe;
    std::uint64_t seed = 0;
    int threads = 0;
    bool quick = false, methods = false;
};

CompareSpec demo_spec(const DemoFlags& flags) {
    CompareSpec spec =
        read_compare_toml(flags.recipe.empty() ? shipped("recipes/demo.toml") : flags.recipe).tasks.front();
    write_demo_world(flags.out + "/world");
    use_demo_world(spec, flags.out + "/world");
    spec.name = "demo";
    spec.base.model = flags.model.empty() ? shipped("tiny-mixtral") : flags.model;
    for (std::uint64_t& seed : spec.seeds) seed += flags.seed;
    spec.output = flags.out;
    spec.threads = flags.threads;
    if (flags.quick) {
        spec.base.steps = std::max<Index>(1, spec.base.steps / 10);
        spec.seeds.resize(1);
        spec.limit = 100;
        spec.documents = 50;
    }
    return spec;
}

void run_demo(const DemoFlags& flags) {
    const auto start = std::chrono::steady_clock::now();
    if (flags.methods) {
        run_demo_methods(flags.out, flags.threads, flags.seed, flags.quick);
    } else {
        compare_and_print(demo_spec(flags));
    }
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    fmt::print("{:.0f} s\n", took.count());
}

void add_demo(CLI::App& app) {
    auto flags = std::make_shared<DemoFlags>();
    CLI::App* verb = app.add_subcommand(
        "demo", "fine-tune the tiny Mixtral with three routers and two controls and compare them");
    verb->add_option("--out", flags->out, "folder; what is done there is not run again [runs/demo]");
    verb->add_option("--threads", flags->threads, "0: MOEGRAD_THREADS, else all cores");
    verb->add_option("--seed", flags->seed, "added to the seeds of the recipe");
    verb->add_option("--model", flags->model, "another base than models/tiny-mixtral");
    verb->add_option("--recipe", flags->recipe, "another recipe than models/recipes/demo.toml");
    verb->add_flag("--quick", flags->quick,
                   "one seed, a tenth of the steps, 100 questions: to see that it runs");
    verb->add_flag("--methods", flags->methods,
                   "every method instead, on the tiny Mixtral or the tiny Llama: 10 minutes on 2 cores");
    verb->callback([=] { run_demo(*flags); });
}

const RegisterVerb demo_registered(10, add_demo);

}  // namespace
