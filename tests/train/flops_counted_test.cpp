// FLOPs that methods save: nothing is said where a method runs what flops.hpp does not count; estimate without data.

#include <doctest/doctest.h>

#include <moegrad/eval/evaluate.hpp>
#include <moegrad/methods/all.hpp>
#include <moegrad/methods/builtin_routers.hpp>
#include <moegrad/train/estimate_text.hpp>
#include <moegrad/train/run_config_keys.hpp>

#include "io/support.hpp"
#include "support/model_small.hpp"

using namespace moegrad;

namespace {

bool counted_with(const std::string& method, const std::string& options = "") {
    const ModelConfig config = test::small_config(ModelFamily::mixtral);
    const auto model = test::small_model<float>(config);
    RunConfig run;
    set_config(run, "adapter.method", method, "test");
    run.adapter.options = options;
    attach(*model, run.adapter_for(config));
    return flops_are_counted(*model);
}

RoutedText routed_text() {
    return {.id = "a", .text = "", .token = {0, 0}, .range = {}, .fact = {}};
}

}  // namespace

TEST_CASE("flops saved: unknown beside branches and expert sets, known of routers and picked experts") {
    CHECK(counted_with("adamoe"));
    CHECK(counted_with("switch"));
    CHECK(counted_with("ceft", "picked=0/1"));
    CHECK_FALSE(counted_with("perft_r"));
    CHECK_FALSE(counted_with("perft_e"));
}

TEST_CASE("flops saved: load_cv and load of a mixture are those of its own routers") {
    const Tokenizer tokenizer = load_tokenizer(MOEGRAD_SOURCE_DIR "/models/tiny-mixtral");
    const auto choice = [](const char* name, const std::vector<std::int32_t>& expert) {
        return RouterChoice{name, 2, Tensor<std::int32_t>::from({2, 1}, expert)};
    };
    TokenRouting routing;
    // Even over two experts; all on one of two: a coefficient of variation of 1.
    routing.add({choice("model.layers.0.mlp", {0, 1}), choice("model.layers.0.mlp.perft", {1, 1})},
                routed_text(), 0, tokenizer);
    CHECK(routing.mixture_load_cv() == 0);
    CHECK(routing.load_cv() == doctest::Approx(0.5));
    const ModelConfig mixtral = test::small_config(ModelFamily::mixtral),
                      llama = test::small_config(ModelFamily::llama);
    TaskSummary known, unknown, dense;
    summarize_routing(known, routing, mixtral, true);
    summarize_routing(unknown, routing, mixtral, false);
    summarize_routing(dense, routing, llama, true);
    CHECK(known.load_cv == 0);
    CHECK(known.flops_saved.has_value());
    CHECK_FALSE(unknown.flops_saved.has_value());
    CHECK(unknown.load == 1);
    CHECK(*dense.load_cv == doctest::Approx(0.5));
    CHECK_FALSE(dense.flops_saved.has_value());
}

TEST_CASE("estimate: without data, methods that need tasks too; what the FLOPs are of") {
    for (const auto& [method, options] : {std::pair{"dense", "lbc=cv2"}, std::pair{"task", "tasks=3"}}) {
        CAPTURE(method);
        RunConfig config;
        config.model = MOEGRAD_SOURCE_DIR "/models/tiny-llama";
        config.max_length = 16;
        set_config(config, "adapter.method", method, "test");
        config.adapter.options = options;
        const MemoryEstimate e = estimate_memory<float>(config);
        CHECK(e.peak() > 0);
        CHECK(estimate_text(e).find("of the base alone") == std::string::npos);
    }
    RunConfig config;
    config.model = MOEGRAD_SOURCE_DIR "/models/tiny-mixtral";
    config.max_length = 16;
    set_config(config, "adapter.method", "perft_r", "test");
    CHECK(estimate_text(estimate_memory<float>(config)).find("of the base alone") != std::string::npos);
}
