#include <doctest/doctest.h>

#include <fstream>

#include <moegrad/train/run_checks.hpp>

#include "io/support.hpp"

using namespace moegrad;

TEST_CASE("output folder: new, or of a run that may go; never of one that may not, nor of anything else") {
    const io_test::TemporaryFolder folder;
    const std::string run = folder.file("run");
    const auto touch = [&](const char* name) { std::ofstream(run + "/" + name) << "x"; };
    std::filesystem::create_directories(run + "/adapter");
    CHECK_THROWS_WITH_AS(moegrad::detail::require_free_output(run, "adapter", true),
                         doctest::Contains("no run of moegrad"), Error);
    touch("config.toml");
    touch("manifest.json");
    CHECK_NOTHROW(moegrad::detail::require_free_output(run, "adapter", true));
    CHECK_THROWS_WITH_AS(moegrad::detail::require_free_output(run, "adapter", false),
                         doctest::Contains("--replace"), Error);
    std::filesystem::remove_all(run + "/adapter");
    CHECK_NOTHROW(
        moegrad::detail::require_free_output(run, "adapter", false));  // killed before its first checkpoint
    std::filesystem::create_directories(run + "/checkpoints");
    CHECK_THROWS_WITH_AS(moegrad::detail::require_free_output(run, "adapter", true),
                         doctest::Contains("--resume"), Error);
}

TEST_CASE("output folder: a base or data that the run would write over is refused by its key") {
    const io_test::TemporaryFolder folder;
    RunConfig config;
    config.output = folder.file("run");
    config.model = config.output + "/adapter";
    CHECK_THROWS_WITH_AS(moegrad::detail::refuse_inputs_in_output(config), doctest::Contains("model.path"),
                         Error);
    config.model = folder.file("base");
    config.eval_data = config.output + "/eval/items.jsonl";
    CHECK_THROWS_WITH_AS(moegrad::detail::refuse_inputs_in_output(config), doctest::Contains("data.eval"),
                         Error);
    config.eval_data = config.output + "/items.jsonl";
    CHECK_NOTHROW(moegrad::detail::refuse_inputs_in_output(config));
}
