// moegrad reproduce: a paper's claim, its number and ours side by side. Claims that share a recipe share its runs; those
// judged in one call are judged together (Holm). Of a recipe the arms run that the asked claims need.

#include <moegrad/train/claim_arms.hpp>

#include "claims_toml.hpp"
#include "compare_toml.hpp"
#include "compare_verb.hpp"
#include "demo_world.hpp"
#include "run_flags.hpp"
#include "share_jobs.hpp"
#include "shipped.hpp"
#include "verbs.hpp"

using namespace moegrad;

namespace {

struct ReproduceFlags {
    std::vector<std::string> ids;
    std::string out = "runs/reproduce", model, device, claims, tasks;
    int threads = 0;
    JobFlags jobs;
    Index steps = 0;
    bool all = false, quick = false;
};

std::vector<Claim> asked_claims(const ReproduceFlags& flags, const std::vector<Claim>& known) {
    if (flags.all) return known;
    std::vector<Claim> asked;
    std::vector<std::string> names;
    for (const Claim& claim : known) names.push_back(claim.id);
    for (const std::string& id : flags.ids) {
        const auto found = std::find(names.begin(), names.end(), id);
        if (found == names.end()) {
            throw Error{ErrorCode::config, "reproduce", "a claim of models/claims.toml", "\"" + id + "\"",
                        did_you_mean(nearest(id, names), "without a name all are listed")};
        }
        asked.push_back(known[static_cast<std::size_t>(found - names.begin())]);
    }
    return asked;
}

/// The comparison of a recipe, on another base where one is given.
CompareSuite suite_of(const ReproduceFlags& flags, const std::string& recipe) {
    CompareSuite suite = read_compare_toml(shipped("recipes/" + recipe));
    suite.output = flags.out + "/" + suite.name;
    for (CompareSpec& spec : suite.tasks) {
        const bool own_data = spec.questions.empty() && spec.texts.empty();
        if (spec.task == "world" && own_data) {
            if (flags.tasks.empty() && !flags.jobs.is_share()) write_demo_world(flags.out + "/world");
            flags.tasks.empty() ? use_demo_world(spec, flags.out + "/world")
                                : use_task_world(spec, flags.tasks);
        }
        if (!own_data && !flags.tasks.empty()) {
            throw Error{ErrorCode::config, "--tasks", "a claim whose recipe has no data of its own",
                        recipe + ", which names its questions or texts"};
        }
        // A recipe without data of its own names a base that ships.
        const std::string name = std::filesystem::path(spec.base.model).filename().string();
        if (own_data) spec.base.model = shipped(name);
        if (!flags.model.empty()) spec.base.model = flags.model;
        if (flags.steps > 0) spec.base.steps = flags.steps;
        spec.threads = threads_of(flags.jobs, flags.threads);
        if (!flags.device.empty()) spec.base.device = flags.device == "cuda" ? Device::cuda : Device::cpu;
        if (flags.quick) {
            spec.base.steps = std::max<Index>(1, spec.base.steps / 20);
            spec.seeds.resize(std::min<std::size_t>(spec.seeds.size(), 2));
            spec.limit = 60;
            spec.documents = 10;
        }
        settle_number(spec.base);
    }
    return suite;
}

void list_claims(const std::vector<Claim>& claims) {
    for (const Claim& claim : claims) {
        fmt::print("{:<24} {}\n{:<24} {}: {}\n{:<24} {}\n", claim.id, claim.says, "", claim.paper,
                   claim.published, "", claim.state);
    }
    fmt::print("moegrad reproduce ID [ID ..], or --all\n");
}

/// done: the tasks of each recipe.
void judge_and_print(const ReproduceFlags& flags, const std::vector<Claim>& asked,
                     const std::map<std::string, std::vector<CompareResult>>& done) {
    std::vector<ClaimResult> results;
    for (const Claim& claim : asked) results.push_back(measure_claim(claim, done.at(claim.recipe)));
    judge_claims(asked, results);
    fmt::print("\n== claims, {} judged together (Holm)\n", asked.size());
    for (std::size_t i = 0; i < asked.size(); ++i) {
        fmt::print("{}", claim_report(asked[i], results[i], done.at(asked[i].recipe).front().model));
    }
    fmt::print(
        "last full: what models/claims.toml keeps of our last run of all claims, on the bases that its head "
        "names\n");
    const bool timed = std::any_of(asked.begin(), asked.end(),
                                   [](const Claim& claim) { return claim.metric.ends_with("_seconds"); });
    if (timed && flags.jobs.jobs > 1)
        fmt::print(
            "--jobs: times are of runs beside each other; claims about seconds need runs of one process\n");
    if (flags.quick)
        fmt::print("--quick: the runs are too short to mean anything; they show that the path works\n");
}

void run_reproduce(const ReproduceFlags& flags) {
    const std::vector<Claim> known =
        read_claims(flags.claims.empty() ? shipped("claims.toml") : flags.claims);
    const std::vector<Claim> asked = asked_claims(flags, known);
    if (asked.empty()) return list_claims(known);
    std::map<std::string, CompareSuite> suites;  // by recipe
    std::vector<CompareSpec> tasks;
    for (const Claim& claim : asked) {
        if (suites.contains(claim.recipe)) continue;
        CompareSuite& suite = suites[claim.recipe] = suite_of(flags, claim.recipe);
        std::vector<Claim> here;
        std::copy_if(asked.begin(), asked.end(), std::back_inserter(here),
                     [&](const Claim& other) { return other.recipe == claim.recipe; });
        for (CompareSpec& task : suite.tasks) task.arms = arms_of_claims(task.arms, here);
        place_tasks(suite);
        tasks.insert(tasks.end(), suite.tasks.begin(), suite.tasks.end());
    }
    if (share_runs("reproduce", flags.jobs, flags.out, tasks)) return;
    std::map<std::string, std::vector<CompareResult>> done;
    for (const Claim& claim : asked) {
        if (!done.contains(claim.recipe)) done[claim.recipe] = compare_and_print(suites.at(claim.recipe));
    }
    judge_and_print(flags, asked, done);
}

void add_reproduce(CLI::App& app) {
    auto flags = std::make_shared<ReproduceFlags>();
    CLI::App* verb = app.add_subcommand("reproduce", "a paper's claim: its number and ours side by side");
    verb->add_option("claim", flags->ids, "such as adamoe/table4; none: all are listed");
    verb->add_flag("--all", flags->all, "every claim, judged together");
    verb->add_option("--out", flags->out, "folder; what is done there is not run again [runs/reproduce]");
    verb->add_option("--model", flags->model, "another base than the recipe's");
    verb->add_option("--tasks", flags->tasks,
                     "folder of `moegrad tasks`: its harder world in place of the small one");
    verb->add_option("--steps", flags->steps, "of every run, in place of the recipe's")
        ->check(CLI::PositiveNumber);
    verb->add_option("--claims", flags->claims, "another file than models/claims.toml");
    verb->add_option("--device", flags->device, "cpu or cuda")->check(CLI::IsMember({"cpu", "cuda"}));
    verb->add_option("--threads", flags->threads, "0: MOEGRAD_THREADS, else all cores");
    add_job_flags(*verb, flags->jobs);
    verb->add_flag("--quick", flags->quick, "a twentieth of the steps and 60 questions: to see that it runs");
    verb->callback([=] { run_reproduce(*flags); });
}

const RegisterVerb reproduce_registered(55, add_reproduce);

}  // namespace
