// Router analytics: every number on tokens small enough to count by hand, and what must hold between the tables of a model.

#include <doctest/doctest.h>

#include <moegrad/data/world_tokenizer.hpp>
#include <moegrad/eval/analytics_tables.hpp>

#include "io/support.hpp"
#include "support/model_small.hpp"

using namespace moegrad;

namespace {

/// Three tokens of three experts and a null column.
RouterAnalytics counted_router() {
    static const std::string red = "red", blue = "blue";
    RouterAnalytics router("model.layers.0.mlp", 3);
    router.add({7, &red, {0, 1}, {0.5f, 0.3f, 0.2f, 0}});
    router.add({8, &red, {0}, {0.9f, 0.05f, 0.05f, 0}});
    router.add({7, &blue, {}, {0.2f, 0.2f, 0.2f, 0.4f}});
    return router;
}

std::int64_t sum_of(const std::vector<std::int64_t>& all) {
    std::int64_t sum = 0;
    for (const auto n : all) sum += n;
    return sum;
}

}  // namespace

TEST_CASE("analytics: utilisation, dead experts, load and shares, counted by hand") {
    const RouterAnalytics router = counted_router();
    CHECK(router.slots() == std::vector<std::int64_t>{2, 1, 0});
    CHECK(router.utilisation() == std::vector<double>{2, 1, 0});
    CHECK(router.dead() == 1);
    CHECK(router.cv() == doctest::Approx(std::sqrt(2.0 / 3)));
    CHECK(router.load() == 1);
    for (const double share : router.per_token_shares()) CHECK(share == doctest::Approx(1.0 / 3));
    CHECK(router.all_null_share() == doctest::Approx(1.0 / 3));
    CHECK(router.together(0, 1) == 0.5);
    CHECK(router.together(1, 0) == 1);
    CHECK(router.together(2, 0) == 0);
}

TEST_CASE("analytics: experts that pass half of the probability, exactly half is not enough") {
    const RouterAnalytics router = counted_router();
    CHECK(router.need(1) == doctest::Approx(1.0 / 3));  // 0.9
    CHECK(router.need(2) == doctest::Approx(2.0 / 3));  // 0.5 + 0.3 and 0.4 + 0.2
    CHECK(router.need(3) == 0);
    const auto h = [](std::initializer_list<double> p) {
        double sum = 0;
        for (const double one : p) sum -= one * std::log(one);
        return sum;
    };
    const double mean = (h({.5, .3, .2}) + h({.9, .05, .05}) + h({.2, .2, .2, .4})) / 3;
    CHECK(router.entropy() == doctest::Approx(mean).epsilon(1e-6));
    RouterAnalytics flat("r", 6);
    const std::string none;
    flat.add({1, &none, {0}, std::vector<float>(6, 1 / 6.0f)});
    CHECK(flat.need(4) == 1);
}

TEST_CASE("analytics: domains and vocabulary") {
    const RouterAnalytics router = counted_router();
    CHECK(router.domains().at("red").tokens == 2);
    CHECK(router.domains().at("red").experts == std::vector<std::int64_t>{2, 1, 0});
    CHECK(router.domains().at("red").first == std::vector<std::int64_t>{2, 0, 0});
    CHECK(router.domains().at("blue").experts == std::vector<std::int64_t>{0, 0, 0});
    CHECK(router.vocabulary().at(7).tokens == 2);
    CHECK(router.vocabulary().at(7).experts == std::vector<std::int64_t>{1, 1, 0});
}

TEST_CASE("analytics: saturation is the share of experts that stay") {
    CHECK(saturation({{0, 1}, {2}}, {{1, 3}, {2}}) == 0.75);
    CHECK(saturation({{}, {2}}, {{1}, {0}}) == 0);
    CHECK(saturation({{4, 2}}, {{2, 4}}) == 1);
}

TEST_CASE("analytics: the tables of a model agree with each other") {
    const io_test::TemporaryFolder folder;
    write_world_tokenizer(folder.path());
    const Tokenizer tokenizer = load_tokenizer(folder.path());
    ModelConfig config = test::small_config(ModelFamily::mixtral);
    config.vocab_size = static_cast<Index>(tokenizer.vocab_size());
    config.max_position_embeddings = 16;
    const auto model = test::small_model<float>(config);
    std::vector<TextRecord> records(3);
    for (std::size_t i = 0; i < records.size(); ++i) {
        records[i].domain = i == 2 ? "second" : "first";
        for (int n = 0; n < 25; ++n) records[i].completion += "the red stone ";
    }
    Context context({.device = Device::cpu, .threads = 1});
    const ModelAnalytics all = analyse_routing(context, *model, tokenizer, records);
    REQUIRE(all.routers.size() == 2);
    CHECK(all.documents == 3);
    for (const RouterAnalytics& router : all.routers) {
        CHECK(router.tokens() == all.tokens);
        CHECK(sum_of(router.slots()) == 2 * all.tokens);
        CHECK(router.has_probability());
        CHECK(router.need(1) + router.need(2) + router.need(3) + router.need(4) == doctest::Approx(1));
        std::int64_t of_domains = 0, of_ids = 0;
        for (const auto& [name, counts] : router.domains()) of_domains += sum_of(counts.experts);
        for (const auto& [id, counts] : router.vocabulary()) of_ids += sum_of(counts.experts);
        CHECK(of_domains == 2 * all.tokens);
        CHECK(of_ids == 2 * all.tokens);
    }
    std::int64_t between = 0;
    for (const auto& [domain, counts] : all.transitions) between += sum_of(counts.at(0));
    CHECK(between == 4 * all.tokens);
    std::int64_t first = 0;
    for (const auto& [domain, counts] : all.first_transitions) first += sum_of(counts.at(0));
    CHECK(first == all.tokens);
    const std::string counts = write_json(expert_counts_json(all, "tiny"));
    CHECK(counts.starts_with("{\"tiny/expert_counts/first\":{\"layer 0\":["));
    CHECK(write_json(expert_transitions_json(all, "tiny")).find("\"layers 0->1\":[[0,") != std::string::npos);
    CHECK(write_json(token_to_expert_json(all, "tiny")).starts_with("{\"tiny\":{\"layer 0\":{\""));
}

TEST_CASE("analytics: our tables have the shape of the published ones") {
    const char* data = std::getenv("MOEGRAD_DATA");
    const std::string path = data == nullptr ? "" : std::string(data) + "/routing/moe_expert_counts.json";
    if (data == nullptr || !std::filesystem::exists(path)) {
        MESSAGE("published routing counts are not here: their shape is not looked at");
        return;
    }
    const Json json = parse_json_file(path);
    const JsonRef root(json, path, ErrorCode::format);
    for (const JsonMember& table : root.members()) {
        const bool known = table.key.find("/expert_counts/") != std::string::npos ||
                           table.key.find("/expert_counts_top1/") != std::string::npos;
        CHECK(known);
        for (const JsonMember& layer : root.member(table).members()) {
            CHECK(layer.key.starts_with("layer "));
            CHECK(root.member(table).member(layer).array().size() >= 8);
        }
    }
}
