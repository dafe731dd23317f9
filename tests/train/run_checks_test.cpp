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

TEST_CASE("ranks of the experts that leave the tensor cores' fast path") {
    const auto slow = [](std::vector<std::string> targets, Index rank, Index gate_up_rank = 0) {
        AdapterSpec spec;
        spec.targets = std::move(targets);
        spec.lora.rank = rank;
        spec.gate_up_rank = gate_up_rank;
        return moegrad::detail::slow_expert_rank(spec);
    };
    CHECK(slow({"attention", "experts"}, 16) == 0);
    CHECK(slow({"attention", "experts"}, 4) == 4);
    CHECK(slow({"attention"}, 4) == 0);
    CHECK(slow({"w1", "w3"}, 4) == 0);  // as one of rank 8
    CHECK(slow({"w1", "w2"}, 4) == 4);
    CHECK(slow({"w1"}, 6) == 6);
    CHECK(slow({"experts.gate_up"}, 6, 24) == 0);
    CHECK(slow({"experts"}, 8, 12) == 12);
    AdapterSpec spec;
    spec.lora.rank = 3;  // nobody reads it: there are places
    spec.places = {{"model.layers.0.self_attn.q_proj", 3, 1}, {"model.layers.0.mlp.experts.w1", 12, 1}};
    CHECK(moegrad::detail::slow_expert_rank(spec) == 0);
    spec.places.push_back({"model.layers.1.mlp.experts.down_proj", 12, 1});
    CHECK(moegrad::detail::slow_expert_rank(spec) == 12);
}
