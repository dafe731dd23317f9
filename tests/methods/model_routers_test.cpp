// The routers of a model have the names of their records.

#include <moegrad/methods/model_routers.hpp>
#include <moegrad/methods/perft.hpp>

#include "support/registered_routers.hpp"
#include "support/routing_models.hpp"

#include <doctest/doctest.h>

#include <set>

using namespace moegrad;

TEST_CASE(
    "model routers: one inside the experts beside a layer is listed once, in the order of the records") {
    auto model = test::tiny_mixtral<double>(4);
    AdapterSpec spec;
    spec.set_method("perft_r");
    spec.options = "weight_source=base, experts=3";
    attach(model, spec);
    const auto batch = test::random_tokens({5}, 40, 3);
    Tape tape(test::routing_context(), Mode::inference);
    Forward<double> forward{tape, batch.token, batch.segments};
    model.hidden(forward);
    const auto routers = model_routers(model);
    REQUIRE(routers.size() == forward.routings.size());
    for (std::size_t r = 0; r < routers.size(); ++r) {
        CHECK(routers[r].first == forward.routings[r].name);
        CHECK(experts_of<double>(routers, routers[r].first) == (r % 2 == 0 ? 3 : 4));
    }
    CHECK_THROWS_WITH_AS(experts_of<double>(routers, "model.layers.0.mlp.other"), doctest::Contains("none"),
                         Error);
    std::set<const Parameter<double>*> seen;
    for (const auto* parameter : all_parameters(model)) CHECK(seen.insert(parameter).second);
}
