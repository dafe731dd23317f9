// Router analytics: every number on tokens small enough to count by hand, and what must hold between the tables of a model.

#include <cstdlib>
#include <limits>
#include <map>
#include <set>

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

/// Three documents of two domains through a Mixtral of two layers, top-2.
ModelAnalytics analysed_model() {
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
    return analyse_routing(context, *model, tokenizer, records);
}

std::int64_t whole(const JsonRef& number) {
    return number.integer(0, std::numeric_limits<std::int64_t>::max());
}

/// MEASURE of the keys MODEL/MEASURE/DOMAIN.
std::set<std::string> measures_of(const JsonRef& tables) {
    std::set<std::string> all;
    for (const JsonMember& table : tables.members()) {
        const std::size_t begin = table.key.find('/') + 1;
        all.insert(table.key.substr(begin, table.key.find('/', begin) - begin));
    }
    return all;
}

/// What holds of published counts: layers of as many experts, and in all layers as many slots.
void check_count_tables(const JsonRef& tables) {
    CHECK(measures_of(tables) == std::set<std::string>{"expert_counts", "expert_counts_top1"});
    for (const JsonMember& table : tables.members()) {
        std::set<std::int64_t> experts, slots;
        for (const JsonMember& layer : tables.member(table).members()) {
            CHECK(layer.key == "layer " + std::to_string(std::stoi(layer.key.substr(6))));
            const JsonRef counts = tables.member(table).member(layer);
            experts.insert(std::ssize(counts.array()));
            std::int64_t sum = 0;
            for (std::size_t e = 0; e < counts.array().size(); ++e) sum += whole(counts.item(e));
            slots.insert(sum);
        }
        CHECK(experts.size() == 1);
        CHECK(slots.size() == 1);
    }
}

/// Of published transitions: pairs [i, j, n] that occur, in order, whose row and column sums are the counts of the two layers.
void check_transition_tables(const JsonRef& tables, const JsonRef& counts) {
    CHECK(measures_of(tables) ==
          std::set<std::string>{"expert_counts_crosslayer", "expert_counts_crosslayer_top1"});
    for (const JsonMember& table : tables.members()) {
        std::string key = table.key;
        const JsonRef layers = counts.at(key.erase(key.find("_crosslayer"), 11));
        for (const JsonMember& between : tables.member(table).members()) {
            const std::size_t arrow = between.key.find("->");
            REQUIRE(between.key.starts_with("layers "));
            REQUIRE(arrow != std::string::npos);
            const JsonRef from = layers.at("layer " + between.key.substr(7, arrow - 7)),
                          to = layers.at("layer " + between.key.substr(arrow + 2)),
                          pairs = tables.member(table).member(between);
            std::vector<std::int64_t> rows(from.array().size()), columns(to.array().size());
            std::pair<std::int64_t, std::int64_t> last{-1, -1};
            for (std::size_t at = 0; at < pairs.array().size(); ++at) {
                REQUIRE(pairs.item(at).array().size() == 3);
                const std::pair pair{whole(pairs.item(at).item(0)), whole(pairs.item(at).item(1))};
                const std::int64_t n = whole(pairs.item(at).item(2));
                CHECK((last < pair && n > 0));
                rows.at(static_cast<std::size_t>(pair.first)) += n;
                columns.at(static_cast<std::size_t>(pair.second)) += n;
                last = pair;
            }
            for (std::size_t e = 0; e < rows.size(); ++e) CHECK(rows[e] == whole(from.item(e)));
            for (std::size_t e = 0; e < columns.size(); ++e) CHECK(columns[e] == whole(to.item(e)));
        }
    }
}

/// Of published token ids: pairs [e, n] that occur, in order, and as many slots of an id in every layer.
void check_token_tables(const JsonRef& models) {
    for (const JsonMember& model : models.members()) {
        std::set<std::map<std::string, std::int64_t>> of_layers;
        for (const JsonMember& layer : models.member(model).members()) {
            CHECK(layer.key.starts_with("layer "));
            std::map<std::string, std::int64_t> slots;
            const JsonRef ids = models.member(model).member(layer);
            for (const JsonMember& id : ids.members()) {
                const JsonRef pairs = ids.member(id);
                std::int64_t last = -1;
                bool good = id.key == std::to_string(std::stoi(id.key));
                for (std::size_t at = 0; at < pairs.array().size(); ++at) {
                    const std::int64_t e = whole(pairs.item(at).item(0)), n = whole(pairs.item(at).item(1));
                    good = good && pairs.item(at).array().size() == 2 && e > last && n > 0;
                    slots[id.key] += n, last = e;
                }
                CHECK(good);
            }
            of_layers.insert(std::move(slots));
        }
        CHECK(of_layers.size() == 1);
    }
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
    CHECK(router.need(2) == doctest::Approx(2.0 / 3));  // 0.5 + 0.3; 0.2 + 0.2 of 0.6
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

TEST_CASE("analytics: experts that pass half are true ones, whatever the nulls hold") {
    const std::string none;
    RouterAnalytics most("r", 3), some("r", 3);
    most.add({1, &none, {}, {0.1f, 0.1f, 0.1f, 0.7f}});
    CHECK(most.need(2) == 1);  // 0.1 + 0.1 of 0.3
    some.add({2, &none, {0}, {0.4f, 0.05f, 0.05f, 0.3f, 0.2f}});
    CHECK(some.need(1) == 1);  // 0.4 of 0.5
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

TEST_CASE("analytics: the tables of a model agree with each other") {
    const ModelAnalytics all = analysed_model();
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
    CHECK(between == 2 * all.tokens);  // top-k pairs a token, not k x k
    std::int64_t first = 0;
    for (const auto& [domain, counts] : all.first_transitions) first += sum_of(counts.at(0));
    CHECK(first == all.tokens);
    const std::string counts = write_json(expert_counts_json(all, "tiny"));
    CHECK(counts.starts_with("{\"tiny/expert_counts/first\":{\"layer 0\":["));
    CHECK(write_json(expert_transitions_json(all, "tiny")).find("\"layers 0->1\":[[0,") != std::string::npos);
    CHECK(write_json(token_to_expert_json(all, "tiny")).starts_with("{\"tiny\":{\"layer 0\":{\""));
}

TEST_CASE("analytics: transitions pair slot by slot, an empty slot pairs with nothing") {
    // Two tokens of three slots, from four experts to three; the second layer chooses two of the slots only.
    const auto from = Tensor<std::int32_t>::from({2, 3}, {0, 3, 1, kNull, 2, 0});
    const auto to = Tensor<std::int32_t>::from({2, 2}, {2, 0, 1, 1});
    std::vector<std::int64_t> all(12), first(12);
    detail::count_transitions(from, to, 3, all, first);
    CHECK(all == std::vector<std::int64_t>{0, 0, 1, 0, 0, 0, 0, 1, 0, 1, 0, 0});    // 0 2, 3 0; 2 1
    CHECK(first == std::vector<std::int64_t>{0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0});  // 0 2; 2 1
    const auto none = Tensor<std::int32_t>::from({2, 2}, {kDropped, 1, kUnused, kUnused});
    std::vector<std::int64_t> pairs(12), likeliest(12);
    detail::count_transitions(from, none, 3, pairs, likeliest);
    CHECK(pairs == std::vector<std::int64_t>{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0});      // 3 1
    CHECK(likeliest == std::vector<std::int64_t>{0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0});  // 0 1
}

TEST_CASE("analytics: use of experts and experts per token, as rows and as a line") {
    ModelAnalytics all;
    all.routers = {counted_router()};
    all.tokens = 3;
    CHECK(utilisation_csv(all) ==
          "router,expert,slots,utilisation\nmodel.layers.0.mlp,0,2,2\nmodel.layers.0.mlp,1,1,1\n"
          "model.layers.0.mlp,2,0,0\n");
    const std::string shares = experts_per_token_csv(all), third = format("{}", 1.0 / 3);
    for (const char* n : {"0", "1", "2"})
        CHECK(shares.find(format("\nmodel.layers.0.mlp,{},{}\n", n, third)) != std::string::npos);
    CHECK(analytics_text(all, {}).ends_with(
        "\nexperts per token  0: 0.333  1: 0.333  2: 0.333; utilisation of an expert 0.000 to 2.000\n"));
}

TEST_CASE("analytics: our tables have the keys, the shapes and the sums of the published ones") {
    const auto check = [](const Json& counts, const Json& transitions, const Json& ids) {
        const JsonRef of_counts(counts, "counts");
        check_count_tables(of_counts);
        check_transition_tables(JsonRef(transitions, "transitions"), of_counts);
        check_token_tables(JsonRef(ids, "token ids"));
    };
    const ModelAnalytics all = analysed_model();
    check(expert_counts_json(all, "tiny"), expert_transitions_json(all, "tiny"),
          token_to_expert_json(all, "tiny"));
    const char* data = std::getenv("MOEGRAD_DATA");
    const std::string folder = data == nullptr ? "" : std::string(data) + "/routing/moe_";
    if (data == nullptr || !std::filesystem::exists(folder + "expert_counts.json")) {
        MESSAGE("published routing counts are not here: only our own are looked at");
        return;
    }
    check(parse_json_file(folder + "expert_counts.json"), parse_json_file(folder + "expert_transitions.json"),
          parse_json_file(folder + "token_to_expert_wikipedia.json"));
}
