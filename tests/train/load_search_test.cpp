// Controls at the load of another arm: the option of a router is found on the base; and a comparison that shows its task's floor.

#include "support/model_small.hpp"

#include <moegrad/compare_toml.hpp>

#include <moegrad/data/task_files.hpp>
#include <moegrad/data/world_tokenizer.hpp>
#include <moegrad/methods/builtin_routers.hpp>
#include <moegrad/train/compare.hpp>
#include <moegrad/train/model_saver.hpp>

#include <doctest/doctest.h>

#include <filesystem>

using namespace moegrad;

namespace {

/// A random Mixtral over the small world's words, and questions with their facts.
struct LoadWorld {
    std::filesystem::path folder = std::filesystem::temp_directory_path() / "moegrad_load_search_test";

    LoadWorld() {
        std::filesystem::remove_all(folder);
        std::filesystem::create_directories(folder / "model");
        ModelConfig config = test::small_config(ModelFamily::mixtral);
        write_world_tokenizer(path("model"));
        config.vocab_size = static_cast<Index>(load_tokenizer(path("model")).vocab_size());
        save_model(*test::small_model<float>(config), path("model"));
        const World world({.people = 20});
        const QuestionOptions options{.samples = 24, .questions = 12};
        write_file_atomically(path("quiz-train.jsonl"), world_sample_lines(world, options));
        write_file_atomically(path("quiz-questions.jsonl"), world_question_lines(world, options));
        const TaskFacts facts = {.task = "quiz",
                                 .train = 24,
                                 .questions = 12,
                                 .chance = 0.25,
                                 .majority = 0.5,
                                 .floor = {0.999, 0.99, 1, 12}};
        write_file_atomically(path("quiz-facts.json"), write_json(to_json(facts)));
    }
    ~LoadWorld() { std::filesystem::remove_all(folder); }

    std::string path(const std::string& name) const { return (folder / name).string(); }
    std::string recipe() const {
        return "seeds = [0]\n[base]\nmodel.path = \"" + path("model") + "\"\ndata.train = \"" +
               path("quiz-train.jsonl") +
               "\"\ndata.max_length = 32\nadapter.r = 2\ntrain.steps = 2\ntrain.batch = 4\noptim.lr = 0.001\n"
               "[eval]\nquestions = \"" +
               path("quiz-questions.jsonl") +
               "\"\n[[arm]]\nname = \"nulls\"\nadapter.method = \"adamoe\"\nrouter.null_experts = 4\n"
               "[[arm]]\nname = \"ratio\"\nadapter.method = \"ratio\"\nload_of = \"nulls\"\n"
               "[[arm]]\nname = \"prefix\"\nadapter.method = \"top_p\"\nload_of = \"nulls\"\n";
    }
    CompareSpec spec() const {
        CompareSpec spec = parse_compare_toml(recipe(), "arms.toml").tasks.front();
        spec.output = path("out");
        spec.threads = 1;
        return spec;
    }
    double number(const std::string& file, const char* key) const {
        const Json json = parse_json_file(path(file));
        return JsonRef(json, file).at(key).number(-10, 10);
    }
};

}  // namespace

TEST_CASE("load search: an option is found that comes to the load, whichever way the load goes") {
    const LoadWorld world;
    const Tokenizer tokenizer = load_tokenizer(world.path("model"));
    for (const LoadOption& option : kLoadOptions) {
        CAPTURE(option.router);
        RunConfig config = world.spec().base;
        set_config(config, "adapter.method", option.router, "test");
        const auto set = [&](RunConfig& tried, double value) {
            add_router_option(tried, format("{}={}", option.option, value));
        };
        double before = option.rises ? -1 : 2;
        for (const double wanted : {1.2, 1.5, 1.8}) {
            const FoundLoad found = search_load<float>(config, tokenizer, option, wanted, set);
            // Few different words, each the same in every sample: the load moves in steps.
            CHECK(std::abs(found.load - wanted) < 0.06);
            CHECK((found.setting > before) == option.rises);  // more load: a smaller threshold, a larger p
            before = found.setting;
        }
        CHECK(load_option(config.adapter) == &option);
    }
    RunConfig plain = world.spec().base;
    CHECK(load_option(plain.adapter) == nullptr);
}

TEST_CASE("compare: controls are set to the load of an arm before they train, and the search is kept") {
    const LoadWorld world;
    Index searched = 0;
    const auto watch = [&](CompareNews, const std::string&, const std::string& text) {
        searched += text.find("before training") != std::string::npos ? 1 : 0;
    };
    const CompareResult result = run_compare<float>(world.spec(), watch);
    CHECK(searched == 2);
    const double wanted = result.arms[0].runs[0].measures.at("load").value;
    for (const char* arm : {"ratio", "prefix"}) {
        const double load = world.number(std::string("out/") + arm + "-0/load.json", "load");
        CHECK(std::abs(load - std::max(1.0, wanted)) < 0.06);
    }
    const double threshold = world.number("out/ratio-0/load.json", "setting");
    const MappedFile config(world.path("out/ratio-0/config.toml"));
    CHECK(config.text().find(format("router.options = \"threshold={}\"", threshold)) != std::string::npos);
    const CompareResult again = run_compare<float>(world.spec(), watch);
    CHECK(searched == 2);
    CHECK(compare_table(again) == compare_table(result));
}

TEST_CASE("compare: chance, majority and floor stand under the table, with the arms that are not above it") {
    const LoadWorld world;
    CompareSpec spec = world.spec();
    spec.arms.resize(1);
    const auto quiet = [](CompareNews, const std::string&, const std::string&) {};
    CompareResult result = run_compare<float>(spec, quiet);
    REQUIRE(result.facts.has_value());
    const std::string text = compare_text(result);
    INFO(text);
    CHECK(text.find("chance 25.0, majority 50.0, floor 99.9 [99.0, 100.0]") == 0);
    CHECK(text.find("  nulls: below the floor\n") != std::string::npos);
    CHECK(write_json(to_json(result)).find("\"facts\":{\"task\":\"quiz\"") != std::string::npos);
    const auto accuracy = result.arms[0].measure("acc");
    result.facts->chance = result.facts->majority = 0;
    result.facts->floor.value = accuracy->value;
    CHECK(compare_text(result).find("  nulls: not above the floor\n") != std::string::npos);
    result.facts->floor.value = -0.1;
    CHECK(compare_text(result).find("the floor\n") == std::string::npos);
    result.facts->majority = 1.1;  // a floor below it is none
    CHECK(compare_text(result).find("  nulls: below the floor\n") != std::string::npos);
    result.facts->questions = 40;
    CHECK(compare_text(result).find("over all 40 questions") != std::string::npos);
    result.facts.reset();
    CHECK(compare_text(result).find("floor") == std::string::npos);
}

TEST_CASE("compare: arms that are not better than the base are named, beside those that are worse") {
    const auto arm = [](const char* name, const std::vector<std::vector<double>>& bits) {
        ComparedArm one;
        one.name = name;
        for (const auto& seed : bits) {
            one.runs.emplace_back();
            one.runs.back().items["bits_per_byte"] = seed;
        }
        return one;
    };
    CompareResult result;
    result.metrics = document_metrics();
    result.base = arm("base", {{2, 3, 4, 5}});
    result.arms = {arm("better", {{1.9, 2.8, 3.9, 4.8}, {1.8, 2.9, 3.8, 4.9}}),
                   arm("worse", {{2.1, 3.2, 4.1, 5.2}, {2.2, 3.1, 4.2, 5.1}}),
                   arm("mixed", {{2.3, 2.8, 4.3, 4.8}, {1.8, 3.2, 3.7, 5.3}})};
    CHECK(base_text(result) ==
          "Worse than the base they started from: worse.\nCannot be told from the base they started from: "
          "mixed.\n");
    result.arms.resize(1);
    CHECK(base_text(result).empty());
}

TEST_CASE(
    "compare: the recipes of the evidence suite are read, with the controls at one load and five seeds on "
    "every task") {
    for (const auto& [name, rates] : {std::pair{"22m-mixtral", std::vector{3e-4, 1e-3, 3e-3, 1e-2}},
                                      std::pair{"22m-llama", std::vector{1e-4, 3e-4, 1e-3, 3e-3}}}) {
        CAPTURE(name);
        const CompareSuite suite =
            read_compare_toml(std::string(MOEGRAD_SOURCE_DIR "/models/recipes/claims/") + name + ".toml");
        CHECK(suite.name == std::string(name) + "-claims");
        REQUIRE(suite.tasks.size() == 1 + std::size(kChoiceTasks) + std::size(kTextTasks));
        for (const CompareSpec& task : suite.tasks) {
            CAPTURE(task.task);
            CHECK_NOTHROW(check_compare(task));
            CHECK(task.seeds.size() == 5);
            CHECK(task.rates == rates);
            CHECK(task.base.model == std::string("runs/") + name + "/model");
            Index at_one_load = 0;
            for (const CompareArm& arm : task.arms) at_one_load += arm.load_of == "adamoe" ? 1 : 0;
            CHECK(at_one_load == 3);
        }
    }
}
