// Processes that share the runs of a comparison: its stages, how a stage is divided, and that a comparison of shares is the one of a
// single process.

#include "train/compare_world.hpp"

#include <moegrad/compare_toml.hpp>

#include <moegrad/train/compare.hpp>

#include <doctest/doctest.h>

#include <cstdlib>
#include <fstream>
#include <set>

using namespace moegrad;
using test::TinyWorld;
using test::whole_file;

namespace {

CompareArm share_arm(const char* name, const char* load_of = "", const char* picks_of = "",
                     const char* of = "") {
    CompareArm arm;
    arm.name = name, arm.load_of = load_of, arm.picks_of = picks_of, arm.of = of;
    return arm;
}

/// "a0 b0 c1": arms and their depths.
std::string depths_text(const std::vector<CompareArm>& arms) {
    std::string text;
    const auto depths = arm_depths(arms);
    for (std::size_t i = 0; i < arms.size(); ++i)
        text += format("{}{}{}", i > 0 ? " " : "", arms[i].name, depths[i]);
    return text;
}

/// "rate a0 rate a1 run b0": kind, arm and place of the units of the first task.
std::string stage_text(const CompareStage& stage, const std::vector<CompareArm>& arms) {
    const char* kinds[] = {"setting", "rate", "run"};
    std::string text;
    for (const CompareUnit& unit : stage)
        text += format("{}{} {}{}", text.empty() ? "" : " ", kinds[static_cast<int>(unit.kind)],
                       arms[unit.arm].name, unit.place);
    return text;
}

/// plain, nulls, drop at the load of nulls; swapped of plain; top1 alone; two rates for all that train.
std::string shared_recipe(const TinyWorld& world) {
    std::string text = world.recipe();
    const std::string fixed = "optim.lr = 0.01\n";
    text.erase(text.find(fixed), fixed.size());
    return "name = \"shared\"\nrates = [0.001, 0.01]\n" + text +
           "[[arm]]\nname = \"swapped\"\nof = \"plain\"\nchange = \"swap=0.5\"\n"
           "[[arm]]\nname = \"top1\"\nrouter.top_k = 1\nlength = 0.5\n";
}

CompareSpec shared_spec(const TinyWorld& world, const char* out) {
    CompareSpec spec = parse_compare_toml(shared_recipe(world), "arms.toml").tasks.front();
    spec.output = world.path(out);
    spec.threads = 1;
    return spec;
}

/// compare.json without the fields that its "varies" names.
std::string without_times(const std::string& path) {
    std::ifstream file(path);
    std::string text;
    for (std::string line; std::getline(file, line);) {
        const bool time =
            line.find("\"tokens_per_second\":") != line.npos || line.find("\"step_seconds\":") != line.npos;
        if (!time) text += line + "\n";
    }
    return text;
}

/// Labels of the runs that `work` begins.
template <class Work>
std::vector<std::string> begun_by(Work work) {
    std::vector<std::string> begun;
    work([&](CompareNews news, const std::string& label, const std::string&) {
        if (news == CompareNews::begin) begun.push_back(label);
    });
    return begun;
}

}  // namespace

TEST_CASE("share: an arm is one deeper than the deepest that it takes something from") {
    CHECK(depths_text({}).empty());
    CHECK(depths_text({share_arm("a"), share_arm("b"), share_arm("c", "a"), share_arm("d", "", "b"),
                       share_arm("e", "", "", "a")}) == "a0 b0 c1 d1 e1");
    // Through another arm, and from two of unlike depth.
    CHECK(depths_text({share_arm("a"), share_arm("b"), share_arm("c", "a"), share_arm("d", "b", "c")}) ==
          "a0 b0 c1 d2");
}

TEST_CASE("share: stages hold every setting, rate and run once, each after what it needs") {
    CompareSpec spec;
    spec.base.steps = 10, spec.seeds = {0, 1}, spec.rates = {0.1, 0.2, 0.3};
    spec.arms = {share_arm("a"), share_arm("b", "a"), share_arm("c", "", "", "a"), share_arm("d")};
    spec.arms[3].length = 2;
    CompareSpec other;
    other.base.steps = 100, other.arms = {share_arm("e")};
    const auto stages = compare_stages({spec});
    REQUIRE(stages.size() == 5);
    CHECK(stage_text(stages[0], spec.arms) == "rate d0 rate d1 rate d2 rate a0 rate a1 rate a2");
    CHECK(stage_text(stages[1], spec.arms) == "run d0 run d1 run a0 run a1");
    CHECK(stage_text(stages[2], spec.arms) == "setting b0 setting b1");
    CHECK(stage_text(stages[3], spec.arms) == "rate b0 rate b1 rate b2");
    CHECK(stage_text(stages[4], spec.arms) == "run b0 run b1 run c0 run c1");  // c is asked, not trained
    const auto both = compare_stages({spec, other});
    REQUIRE(both.size() == 5);
    CHECK(both[1].front().task == 1);
    CHECK(both[1].front().size == 100);
}

TEST_CASE("share: every unit is in one share; larger ones first, each to the share that has least") {
    const CompareStage units{{0, 0, UnitKind::run, 0, 200}, {0, 1, UnitKind::run, 0, 100},
                             {0, 2, UnitKind::run, 0, 100}, {0, 3, UnitKind::run, 0, 50},
                             {0, 4, UnitKind::run, 0, 0},   {0, 5, UnitKind::run, 0, 0}};
    const auto arms = [&](std::size_t place, std::size_t count) {
        std::vector<std::size_t> all;
        for (const CompareUnit& unit : share_of(units, place, count)) all.push_back(unit.arm);
        return all;
    };
    // 200 | 100 + 100, then 50 to the first of equals; what trains nothing counts as a step.
    CHECK(arms(0, 2) == std::vector<std::size_t>{0, 3});
    CHECK(arms(1, 2) == std::vector<std::size_t>{1, 2, 4, 5});
    CHECK(arms(0, 1).size() == 6);
    CHECK(arms(3, 7) == std::vector<std::size_t>{3});
    CHECK(arms(6, 7).empty());
}

TEST_CASE("share: a comparison of shares is that of one process, and finds every run done") {
    const TinyWorld world;
    const CompareSpec alone = shared_spec(world, "alone"), shared = shared_spec(world, "shared");
    const auto quiet = [](CompareNews, const std::string&, const std::string&) {};
    const std::string want = compare_text(run_compare<float>(alone, quiet));
    std::set<std::string> begun;
    for (const CompareStage& stage : compare_stages({shared})) {
        for (std::size_t place = 3; place-- > 0;) {  // in another order than the file's
            const auto more = begun_by(
                [&](auto watch) { run_compare_share<float>(shared, share_of(stage, place, 3), watch); });
            for (const std::string& label : more) CHECK(begun.insert(label).second);
        }
    }
    CHECK(begun.size() == 10);
    CHECK_FALSE(std::filesystem::exists(world.path("shared/base")));
    CHECK_FALSE(std::filesystem::exists(world.path("shared/compare.json")));
    const auto left =
        begun_by([&](auto watch) { CHECK(compare_text(run_compare<float>(shared, watch)) == want); });
    CHECK(left == std::vector<std::string>{"base"});
    CHECK(without_times(world.path("shared/compare.json")) ==
          without_times(world.path("alone/compare.json")));
    for (const char* file : {"compare.csv", "drop-3/adapter/adapter_model.safetensors",
                             "swapped-3/eval/items.jsonl", "rates/drop-0.01/rate.json"}) {
        CAPTURE(file);
        CHECK(whole_file(world.path(std::string("shared/") + file)) ==
              whole_file(world.path(std::string("alone/") + file)));
    }
}

TEST_CASE("share: --jobs 2 of the command line writes the compare.json of one process") {
    const std::string program = MOEGRAD_COMMAND;
    if (!std::filesystem::exists(program)) {
        MESSAGE("no command line here: no jobs are started");
        return;
    }
    const TinyWorld world;
    world.write("arms.toml", shared_recipe(world));
    const auto compare = [&](const std::string& out, const std::string& flags) {
        const std::string file = world.path(out + ".txt");
        const int status = std::system((program + " compare " + world.path("arms.toml") + " --out " +
                                        world.path(out) + flags + " >" + file + " 2>&1")
                                           .c_str());
        const std::string text = whole_file(file);
        CAPTURE(text);
        CHECK(status == 0);
        return text;
    };
    compare("alone", " --threads 1");
    // What somebody else keeps in the folder of the logs stays, an old log does not.
    std::filesystem::create_directories(world.path("jobs/jobs"));
    for (const char* file : {"jobs/jobs/kept.log", "jobs/jobs/7.log"}) world.write(file, "x");
    const std::string text = compare("jobs", " --jobs 2");
    CHECK(std::filesystem::exists(world.path("jobs/jobs/kept.log")));
    CHECK_FALSE(std::filesystem::exists(world.path("jobs/jobs/7.log")));
    INFO(text);
    CHECK(text.find("2 jobs: 10 of 10 runs done\n") != text.npos);
    CHECK(text.find("2 jobs, stage 1 of 5: learning rates\n") != text.npos);
    CHECK(text.find("failed (") == text.npos);
    CHECK(text.find("drop, seed 3  done before") != text.npos);
    CHECK(without_times(world.path("jobs/compare.json")) == without_times(world.path("alone/compare.json")));
    CHECK(whole_file(world.path("jobs/compare.csv")) == whole_file(world.path("alone/compare.csv")));
    // Every run is in one log.
    const std::string logs[] = {whole_file(world.path("jobs/jobs/1.log")),
                                whole_file(world.path("jobs/jobs/2.log"))};
    for (const char* arm : {"nulls", "drop", "plain", "swapped"}) {
        CAPTURE(arm);
        for (const int seed : {0, 3}) {
            const std::string line = format("{}, seed {}  run done\n", arm, seed);
            CHECK((logs[0].find(line) != line.npos) != (logs[1].find(line) != line.npos));
        }
    }
    CHECK(compare("jobs", " --jobs 64").find("6 jobs: 10 of 10 runs done\n") != std::string::npos);
}
