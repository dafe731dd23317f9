// Router lens: counts against the routings themselves, the two metrics, picks; interventions in a whole model.

#include "support/routing_models.hpp"

#include <moegrad/methods/intervene.hpp>
#include <moegrad/train/router_lens.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <set>

using namespace moegrad;

namespace {

Dataset lens_data() {
    Dataset data;
    for (const Index length : {5, 30, 11, 2}) {
        const auto batch = test::random_tokens({length}, 40, static_cast<std::uint64_t>(length));
        data.push_back(language_sample({batch.token.values().begin(), batch.token.values().end()}));
    }
    return data;
}

/// Experts of a sample's tokens in a layer.
std::vector<std::int32_t> lens_routing(Decoder<double>& model, const Sample& sample, std::size_t layer) {
    test::TokenBatch batch;
    batch.segments = Segments::of_lengths({std::ssize(sample.token)});
    batch.token = Tensor<std::int32_t>::from({std::ssize(sample.token)}, sample.token);
    Tape tape(test::routing_context(), Mode::inference);
    Forward<double> forward{tape, batch.token, batch.segments};
    model.hidden(forward);
    const auto& expert = forward.routings.at(layer).routing.expert;
    return {expert.values().begin(), expert.values().end()};
}

}  // namespace

TEST_CASE("lens: counts and ratios are those of the routings, whatever is left out") {
    auto model = test::tiny_mixtral<double>();
    const Dataset data = lens_data();
    const std::vector<std::int32_t> picks{0, 1, 3};
    const auto lens = look_through(test::routing_context(), model, data, picks);
    CHECK(lens.samples == 3);
    CHECK(lens.tokens == 37);
    CHECK(lens.slots == 2);
    REQUIRE(lens.layers.size() == 2);
    for (std::size_t l = 0; l < 2; ++l) {
        CHECK(lens.layers[l].name == "model.layers." + std::to_string(l) + ".mlp");
        std::vector<std::int64_t> counts(8);
        std::vector<double> ratio(8);
        for (const std::int32_t pick : picks) {
            const auto& sample = data[static_cast<std::size_t>(pick)];
            for (const std::int32_t e : lens_routing(model, sample, l)) {
                ++counts[static_cast<std::size_t>(e)];
                ratio[static_cast<std::size_t>(e)] +=
                    1.0 / (3.0 * 2.0 * static_cast<double>(sample.token.size()));
            }
        }
        CHECK(lens.layers[l].counts == counts);
        for (std::size_t e = 0; e < 8; ++e) CHECK(lens.layers[l].ratio[e] == doctest::Approx(ratio[e]));
    }
}

TEST_CASE("lens: the metrics rank differently where lengths differ; ties go to the lower number") {
    // Two samples of 90 and 10 tokens, one slot: expert 2 has 60 of the long one, expert 0 has 9 of the short one.
    RouterLens lens;
    lens.samples = 2;
    lens.tokens = 100;
    lens.slots = 1;
    lens.layers.push_back({"a", {39, 1, 60, 0}, {(30 / 90.0 + 0.9) / 2, 0.05, (60 / 90.0) / 2, 0}});
    lens.layers.push_back({"b", {30, 30, 10, 30}, {0.3, 0.3, 0.1, 0.3}});
    CHECK(lens.option(1, LensMetric::counts) == "picked=2/0");
    CHECK(lens.option(1, LensMetric::ratio) == "picked=0/0");
    CHECK(lens.option(3, LensMetric::counts) == "picked=0-1-2/0-1-3");
    CHECK(lens.best(2, LensMetric::counts)[0] == ExpertList{2, 0});
    CHECK(lens.share(0, 2, LensMetric::counts) == doctest::Approx(0.6));
    CHECK(lens_text(lens, 2, LensMetric::counts).find("  a  2: 60.0  0: 39.0\n") != std::string::npos);
    CHECK_THROWS_AS(lens.option(5, LensMetric::counts), Error);
}

TEST_CASE("lens: picks are a draw of the seed, each sample once; all of them in their order") {
    const auto picks = lens_picks(50, 20);
    CHECK(picks == lens_picks(50, 20, 826));
    CHECK(picks != lens_picks(50, 20, 827));
    CHECK(std::set<std::int32_t>(picks.begin(), picks.end()).size() == 20);
    CHECK(*std::max_element(picks.begin(), picks.end()) >= 20);  // not the first ones
    CHECK(lens_picks(3, 0) == std::vector<std::int32_t>{0, 1, 2});
    CHECK(lens_picks(3, 9) == std::vector<std::int32_t>{0, 1, 2});
}

TEST_CASE(
    "intervene: in a model blocked experts get no token, stimulated ones all, and nothing is the base") {
    const auto sample = lens_data()[1];
    auto base = test::tiny_mixtral<double>(), model = test::tiny_mixtral<double>();
    intervene(model, "", "");
    for (std::size_t l = 0; l < 2; ++l)
        CHECK(lens_routing(model, sample, l) == lens_routing(base, sample, l));
    auto changed = test::tiny_mixtral<double>();
    intervene(changed, "0-3-5/", "7/2");
    for (const std::int32_t e : lens_routing(changed, sample, 0)) CHECK((e != 0 && e != 3 && e != 5));
    const auto second = lens_routing(changed, sample, 1);
    for (std::size_t t = 0; t < sample.token.size(); ++t) {
        const bool stimulated = second[2 * t] == 2 || second[2 * t + 1] == 2;
        CHECK(stimulated);
    }
    CHECK_THROWS_WITH_AS(intervene(model, "0/1", ""), doctest::Contains("router of another kind"), Error);
    CHECK_THROWS_WITH_AS(intervene(base, "0", ""), doctest::Contains("2 layers"), Error);
}
