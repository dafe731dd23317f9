// A trained model of 260 thousand parameters (real inputs): logits, greedy text, mean NLL, routing, bf16
// weights.

#include <moegrad/data/dataset.hpp>
#include <moegrad/train/model_files.hpp>

#include <algorithm>
#include <set>

#include "io/support.hpp"
#include "support/model_golden.hpp"

using namespace moegrad;
using namespace moegrad::test;

namespace {

/// The folders that are there; one line says which are not.
struct Stories {
    io_test::Inputs inputs;
    std::string llama = inputs.shared("data/models/stories260K-llama");
    std::string mixtral = inputs.shared("data/models/stories260K-mixtral");
    std::string bf16 = inputs.shared("data/models/stories260K-llama-bf16");

    std::vector<std::string> models() const {
        std::vector<std::string> all;
        // What is expected lies with the llama; the mixtral has the same function.
        for (const auto& folder : {llama, mixtral}) {
            if (!folder.empty() && !llama.empty()) all.push_back(folder);
        }
        return all;
    }
};

Context& context() {
    static Context shared({.device = Device::cpu, .threads = 2});
    return shared;
}

Batch one_sequence(const std::vector<std::int32_t>& ids) {
    const std::int32_t pick = 0;
    return make_batch({language_sample(ids)}, std::span(&pick, 1));
}

template <class Real>
Tensor<Real> logits_of(Decoder<Real>& model, const std::vector<std::int32_t>& ids,
                       std::vector<RoutingRecord<Real>>* routings = nullptr) {
    const Batch batch = one_sequence(ids);
    Tape tape(context(), Mode::inference);
    Forward<Real> forward{tape, batch.token, batch.segments};
    const auto y = model.logits(forward, model.hidden(forward)).value();
    if (routings) *routings = std::move(forward.routings);
    return y;
}

std::vector<std::int32_t> id_list(const JsonRef& list) {
    std::vector<std::int32_t> ids;
    for (std::size_t i = 0; i < list.array().size(); ++i) {
        ids.push_back(static_cast<std::int32_t>(list.item(i).integer(0, 511)));
    }
    return ids;
}

/// BOS and the greedy text.
std::vector<std::int32_t> greedy_text(const std::string& llama) {
    const Json json = parse_json_file(llama + "/expected_tokens.json");
    const JsonRef root(json, llama);
    auto ids = id_list(root.at("prompt_ids"));
    const auto more = id_list(root.at("greedy_ids"));
    ids.insert(ids.end(), more.begin(), more.end());
    return ids;
}

Dataset stories_of(const std::string& llama) {
    Dataset data;
    std::ifstream lines(llama + "/stories_64.jsonl");
    for (std::string line; std::getline(lines, line);) {
        const Json json = parse_json(line, "stories_64.jsonl");
        data.push_back(language_sample(id_list(JsonRef(json, "stories_64.jsonl").at("input_ids"))));
    }
    return data;
}

template <class Real>
double mean_nll(const std::string& folder, const Dataset& data) {
    const auto model = load_model<Real>(folder);
    double sum = 0;
    Index supervised = 0;
    for (std::int32_t begin = 0; begin < static_cast<std::int32_t>(data.size()); begin += 8) {
        std::vector<std::int32_t> picks;
        for (std::int32_t i = begin; i < std::min(begin + 8, static_cast<std::int32_t>(data.size())); ++i) {
            picks.push_back(i);
            supervised += data[static_cast<std::size_t>(i)].supervised();
        }
        const Batch batch = make_batch(data, picks);
        Tape tape(context(), Mode::inference);
        Forward<Real> forward{tape, batch.token, batch.segments};
        const auto nll = model->loss(forward, model->hidden(forward), batch.target);
        for (auto value : nll.value().values()) sum += static_cast<double>(value);
    }
    CHECK(supervised == 15971);
    return sum / static_cast<double>(supervised);
}

}  // namespace

TEST_CASE("stories: logits of llama and mixtral") {
    const Stories stories;
    for (const auto& folder : stories.models()) {
        CAPTURE(folder);
        const SafetensorsFile expected(stories.llama + "/expected_logits.safetensors");
        const auto ids = read_ids(expected, "input_ids");
        const auto want = read_numbers(expected, "logits").value;
        const auto model = load_model<float>(folder);
        const auto y = logits_of(*model, ids);
        double worst = 0;
        REQUIRE(y.values().size() == want.size());
        for (std::size_t i = 0; i < want.size(); ++i) {
            worst = std::max(worst, std::abs(static_cast<double>(y.values()[i]) - want[i]));
        }
        CHECK(worst <= 2e-4);
    }
}

TEST_CASE("stories: greedy ids") {
    // The best logit of every prefix of the text is its next id. A row's bits depend on the rows before it
    // alone, so one pass over the text says what 200 passes over growing prefixes would; three prefixes are
    // run to prove it.
    const Stories stories;
    for (const auto& folder : stories.models()) {
        CAPTURE(folder);
        const auto text = greedy_text(stories.llama);
        REQUIRE(text.size() == 201);
        const auto model = load_model<float>(folder);
        const std::vector<std::int32_t> input(text.begin(), text.end() - 1);
        const auto y = logits_of(*model, input);
        for (Index t = 0; t < 200; ++t) {
            CAPTURE(t);
            const auto row = y.rows(t, t + 1).values();
            const auto best = std::max_element(row.begin(), row.end()) - row.begin();
            CHECK(best == text[static_cast<std::size_t>(t) + 1]);
        }
        for (const Index length : {Index{1}, Index{2}, Index{77}}) {
            const auto prefix = logits_of(*model, {text.begin(), text.begin() + length});
            const auto last = prefix.rows(length - 1, length).values(),
                       row = y.rows(length - 1, length).values();
            CHECK(std::equal(last.begin(), last.end(), row.begin(), row.end()));
        }
    }
}

TEST_CASE("stories: mean NLL of 64 stories") {
    const Stories stories;
    for (const auto& folder : stories.models()) {
        CAPTURE(folder);
        const auto data = stories_of(stories.llama);
        REQUIRE(data.size() == 64);
        CHECK(std::abs(mean_nll<float>(folder, data) - 1.2729289424357078) <= 1e-5);  // nll.json, float64
    }
}

TEST_CASE("stories: weights stored as bf16") {
    const Stories stories;
    if (stories.llama.empty() || stories.bf16.empty()) return;
    const auto data = stories_of(stories.llama);
    const double want =
        1.2729351585730457;  // nll.json, mean_nll_bf16_weights; 6e-6 above that of float32 weights
    CHECK(std::abs(mean_nll<double>(stories.bf16, data) - want) <= 1e-9);
}

TEST_CASE("stories: routing of the mixtral") {
    const Stories stories;
    if (stories.llama.empty() || stories.mixtral.empty()) return;
    const Json json = parse_json_file(stories.mixtral + "/expected_routing.json");
    const JsonRef root(json, "expected_routing.json");
    std::set<std::pair<Index, Index>> near_ties;
    for (std::size_t i = 0; i < root.at("near_ties").array().size(); ++i) {
        const auto tie = read_list(root.at("near_ties").item(i));
        near_ties.insert({static_cast<Index>(tie.at(0)), static_cast<Index>(tie.at(1))});
    }
    const auto model = load_model<float>(stories.mixtral);
    const auto text = greedy_text(stories.llama);
    std::vector<RoutingRecord<float>> routings;
    logits_of(*model, {text.begin(), text.end() - 1}, &routings);
    REQUIRE(routings.size() == 5);
    Index compared = 0;
    for (Index layer = 0; layer < 5; ++layer) {
        const auto& expert = routings[static_cast<std::size_t>(layer)].routing.expert;
        const auto expected = root.at("top2").item(static_cast<std::size_t>(layer));
        for (Index t = 0; t < 200; ++t) {
            if (near_ties.count({layer, t}) != 0) continue;
            const auto pair = id_list(expected.item(static_cast<std::size_t>(t)));
            const std::set<std::int32_t> want(pair.begin(), pair.end());
            const std::set<std::int32_t> got(expert.data() + 2 * t, expert.data() + 2 * t + 2);
            CAPTURE(layer);
            CAPTURE(t);
            CHECK(got == want);
            ++compared;
        }
    }
    CHECK(compared == 998);
}
