// Processes that share the runs of a comparison: which arms stay together, how the work is divided, and that a comparison
// of shares is the one of a single process.

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

/// Names of the arms, a group in brackets.
std::string groups_text(const std::vector<CompareArm>& arms) {
    std::string text;
    for (const ArmGroup& group : arm_groups(arms)) {
        text += "[";
        for (const std::size_t i : group) text += arms[i].name;
        text += "]";
    }
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

TEST_CASE("share: arms that take something from each other stay together, in the file's order") {
    CHECK(groups_text({}).empty());
    CHECK(groups_text({share_arm("a"), share_arm("b"), share_arm("c")}) == "[a][b][c]");
    CHECK(groups_text({share_arm("a"), share_arm("b"), share_arm("c", "a"), share_arm("d", "", "b"),
                       share_arm("e", "", "", "a")}) == "[ace][bd]");
    // Through another arm: d takes from c, which takes from a.
    CHECK(groups_text({share_arm("a"), share_arm("b"), share_arm("c", "a"), share_arm("d", "", "c")}) ==
          "[acd][b]");
    // An arm that takes from two makes one group of theirs.
    CHECK(groups_text({share_arm("a"), share_arm("b"), share_arm("c"), share_arm("d", "c", "a")}) ==
          "[acd][b]");
}

TEST_CASE("share: every unit is in one share; larger ones first, each to the share that has least") {
    CompareSpec small, large;
    small.base.steps = 10, small.seeds = {0, 1}, small.rates = {0.1, 0.2, 0.3};
    small.arms = {share_arm("a"), share_arm("b", "", "", "a"), share_arm("c")};
    small.arms[2].length = 2;
    large.base.steps = 100, large.seeds = {0};
    large.arms = {share_arm("a"), share_arm("b", "a"), share_arm("c")};
    const auto units = compare_units({small, large});
    // (2 seeds + 3 rates) * 10 = 50 for a, whose change b trains nothing; * 20 = 100 for c; 1 * 100 an arm of `large`.
    REQUIRE(units.size() == 4);
    const std::vector<double> sizes{200, 100, 100, 50};
    const std::vector<std::size_t> tasks{1, 0, 1, 0};
    for (std::size_t i = 0; i < units.size(); ++i) {
        CHECK(units[i].size == sizes[i]);
        CHECK(units[i].task == tasks[i]);
    }
    const auto first = share_of(units, 0, 2), second = share_of(units, 1, 2);
    // 200 | 100 + 100, then 50 to the first of equals.
    REQUIRE(first.size() == 2);
    REQUIRE(second.size() == 2);
    CHECK(first[0].arms == ArmGroup{0, 1});
    CHECK(first[1].size == 50);
    CHECK(second[0].size + second[1].size == 200);
    CHECK(share_of(units, 0, 1).size() == 4);
    CHECK(share_of(units, 4, 5).empty());
}

TEST_CASE("share: a comparison of shares is that of one process, and finds every run done") {
    const TinyWorld world;
    const CompareSpec alone = shared_spec(world, "alone"), shared = shared_spec(world, "shared");
    const auto quiet = [](CompareNews, const std::string&, const std::string&) {};
    const std::string want = compare_text(run_compare<float>(alone, quiet));
    const std::vector<CompareUnit> units = compare_units({shared});
    REQUIRE(units.size() == 3);
    std::set<std::string> begun;
    for (std::size_t place = 3; place-- > 0;) {  // in another order than the file's
        for (const CompareUnit& unit : share_of(units, place, 3)) {
            const auto more =
                begun_by([&](auto watch) { run_compare_share<float>(shared, unit.arms, watch); });
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
    const std::string text = compare("jobs", " --jobs 2");
    INFO(text);
    CHECK(text.find("2 jobs: 10 of 10 runs done\n") != text.npos);
    CHECK(text.find("failed (") == text.npos);
    CHECK(text.find("drop, seed 3  done before") != text.npos);
    CHECK(without_times(world.path("jobs/compare.json")) == without_times(world.path("alone/compare.json")));
    CHECK(whole_file(world.path("jobs/compare.csv")) == whole_file(world.path("alone/compare.csv")));
    const std::string logs[] = {whole_file(world.path("jobs/jobs/1.log")),
                                whole_file(world.path("jobs/jobs/2.log"))};
    // nulls and drop train most: they are the first job's; plain and its change, then top1, the second's.
    CHECK(logs[0].find("drop, seed 3  run done\n") != std::string::npos);
    CHECK(logs[1].find("swapped, seed 0  run done\n") != std::string::npos);
    CHECK(logs[1].find("top1, seed 3  run done\n") != std::string::npos);
    CHECK(logs[0].find("plain") == std::string::npos);
    CHECK(compare("jobs", " --jobs 64").find("3 jobs: 10 of 10 runs done\n") != std::string::npos);
}
