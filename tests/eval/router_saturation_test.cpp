// Router saturation: OLMoE's formula counted by hand, the tables of several states, and which states a command line names.

#include <doctest/doctest.h>

#include <moegrad/eval/analytics_tables.hpp>
#include <moegrad/routing_states.hpp>

#include "io/support.hpp"

using namespace moegrad;

namespace saturation_test {
namespace {

using io_test::expect_error;
using io_test::TemporaryFolder;

/// Two routers over two tokens of top-2, with nothing but their choices.
ModelAnalytics chosen(const TokenExperts& first, const TokenExperts& second) {
    ModelAnalytics all;
    all.routers = {RouterAnalytics("model.layers.0.mlp", 4), RouterAnalytics("model.layers.1.mlp", 4)};
    all.experts = {first, second};
    all.documents = 1;
    all.tokens = 2;
    return all;
}

const ModelAnalytics kLast = chosen({{0, 1}, {2, 3}}, {{3, 0}, {1, 0}});

/// A start, a checkpoint, and the end itself: of the pairs that each token keeps, the mean over tokens.
std::vector<StateSaturation> three_states() {
    return {state_saturation("base", chosen({{2, 3}, {0, 1}}, {{0, 1}, {2, 3}}), kLast),  // 0; (1 + 0) / 4
            state_saturation("step-000002", chosen({{1, 2}, {3, 2}}, {{0, 3}, {1, 2}}),
                             kLast),  // (1 + 2) / 4 twice
            state_saturation("end", kLast, kLast)};
}

/// An empty file, with the folders on the way to it.
void touch(const TemporaryFolder& folder, const std::string& name) {
    std::filesystem::create_directories(std::filesystem::path(folder.file(name)).parent_path());
    folder.write(name, "");
}

}  // namespace

TEST_CASE("saturation: 1/N sum |E(t) and E(T)| / k, whatever the order of the slots") {
    CHECK(saturation({{0, 1}, {2, 3}}, {{1, 3}, {3, 2}}) == 0.75);
    CHECK(saturation({{4, 2}}, {{2, 4}}) == 1);
    CHECK(saturation({{4, 2}}, {{1, 3}}) == 0);
    CHECK(saturation({}, {}) == 0);
}

TEST_CASE("saturation: where tokens choose as many as they like, k is what the earlier state chose") {
    CHECK(saturation({{0, 1}}, {{0}}) == 0.5);
    CHECK(saturation({{0}}, {{0, 1}}) == 1);
    CHECK(saturation({{}, {2}, {3, 1}}, {{1}, {0, 2}, {3}}) == 0.75);  // the first token has none: N = 2
}

TEST_CASE("saturation: router by router, several states against the last one") {
    const auto states = three_states();
    CHECK(states[0].routers == std::vector<double>{0, 0.25});
    CHECK(states[1].routers == std::vector<double>{0.75, 0.75});
    CHECK(states[2].routers == std::vector<double>{1, 1});
    CHECK(states[0].mean() == 0.125);
    CHECK(saturation_csv(kLast, states) ==
          "state,router,saturation\n"
          "base,model.layers.0.mlp,0\nbase,model.layers.1.mlp,0.25\n"
          "step-000002,model.layers.0.mlp,0.75\nstep-000002,model.layers.1.mlp,0.75\n"
          "end,model.layers.0.mlp,1\nend,model.layers.1.mlp,1\n");
    CHECK(analytics_text(kLast, states)
              .ends_with(
                  "\nsaturation: of the experts that a state chose, the share that the model chooses too\n"
                  "router                                 base  step-000002      end\n"
                  "model.layers.0.mlp                    0.000        0.750    1.000\n"
                  "model.layers.1.mlp                    0.250        0.750    1.000\n"
                  "mean                                  0.125        0.750    1.000\n"));
}

TEST_CASE("saturation: one state is a column of the routers' own table, and in both files") {
    const auto all = three_states();
    const std::vector<StateSaturation> one{all[1]};
    CHECK(analytics_text(kLast, one).find("saturation:") == std::string::npos);
    CHECK(analytics_text(kLast, one).find("0.750\n") != std::string::npos);
    const TemporaryFolder folder;
    write_analytics(folder.file("one"), kLast, "tiny", one);
    CHECK(io_test::read_text(folder.file("one/routers.csv")).find(",0.75\n") != std::string::npos);
    CHECK(io_test::read_text(folder.file("one/saturation.csv")) == saturation_csv(kLast, one));
    write_analytics(folder.file("none"), kLast, "tiny", {});
    CHECK_FALSE(std::filesystem::exists(folder.file("none/saturation.csv")));
    CHECK(saturation_csv(kLast, {{"a, \"b\"", {1, 0}}}) ==
          "state,router,saturation\n\"a, \"\"b\"\"\",model.layers.0.mlp,1\n\"a, "
          "\"\"b\"\"\",model.layers.1.mlp,0\n");
}

TEST_CASE("saturation: a state that routes elsewhere is refused by its name") {
    ModelAnalytics other = kLast;
    other.routers[1] = RouterAnalytics("model.layers.1.attention", 4);
    expect_error(ErrorCode::config, "saturation of other", [&] { state_saturation("other", other, kLast); });
    other.routers.resize(1);
    expect_error(ErrorCode::config, "fewer", [&] { state_saturation("other", other, kLast); });
}

TEST_CASE("saturation: base, an adapter, a checkpoint, and a run for all of its checkpoints in their order") {
    const TemporaryFolder folder;
    for (const char* file :
         {"a/adapter/adapter_config.json", "a/checkpoints/step-000010/state.json",
          "a/checkpoints/step-000002/state.json", "a/checkpoints/step-000004.damaged-1/state.json",
          "b/adapter/adapter_config.json", "b/checkpoints/step-000002/state.json",
          "plain/adapter_config.json", "open/checkpoints/step-000002/state.json", "empty/config.toml"})
        touch(folder, file);
    const auto names = [&](const std::vector<std::string>& given) {
        std::vector<std::string> all;
        for (const auto& one : given) all.push_back(one == "base" ? one : folder.file(one));
        return routing_states(all);
    };
    const auto run = names({"base", "a", "a/adapter", "plain/"});
    REQUIRE(run.size() == 5);
    CHECK(run[0].name == "base");
    CHECK(run[0].adapter.empty());
    CHECK(run[1].name == "step-000002");
    CHECK(run[1].adapter == folder.file("a/adapter"));
    CHECK(run[1].checkpoint == folder.file("a/checkpoints/step-000002"));
    CHECK(run[2].name == "step-000010");
    CHECK(run[3].name == "a");
    CHECK(run[3].checkpoint.empty());
    CHECK(run[4].name == "plain");
    const auto single = names({"a/checkpoints/step-000010/", "b/checkpoints/step-000002"});
    CHECK(single[0].checkpoint == folder.file("a/checkpoints/step-000010"));
    CHECK(single[0].adapter == folder.file("a/adapter"));
    CHECK(single[1].name == "step-000002");
    // Two of one name are told apart by their folders.
    CHECK(names({"a", "b"})[0].name == folder.file("a/checkpoints/step-000002"));
    CHECK(names({"a", "b"})[1].name == "step-000010");
    expect_error(ErrorCode::file, "--resume", [&] { names({"open"}); });
    expect_error(ErrorCode::file, "--checkpoint.every", [&] { names({"empty"}); });
    expect_error(ErrorCode::file, "--checkpoint.every", [&] { names({"not_there"}); });
}

}  // namespace saturation_test
