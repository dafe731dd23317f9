// Routers with state: the trainer tells each what the whole optimiser step did, once, however the step was cut.

#include <doctest/doctest.h>

#include <moegrad/routing/top_k_router.hpp>

#include "support/model_small.hpp"
#include "support/op_check.hpp"

using namespace moegrad;

namespace {

/// Top-k that remembers what it was told.
struct Listener {
    TopKRouter<double> inner;
    std::shared_ptr<std::vector<std::int64_t>> tokens;  // of each call

    Index slots() const { return inner.slots(); }
    Index experts() const { return inner.experts(); }
    RouterScope scope() const { return inner.scope(); }
    std::vector<Parameter<double>*> parameters() { return inner.parameters(); }
    Routing<double> route(Tape& tape, const RouteInput<double>& input) { return inner.route(tape, input); }
    void after_step(const RoutingTotals& totals) { tokens->push_back(totals.tokens()); }
};

}  // namespace

TEST_CASE("trainer: after_step once per step and router, with the totals of all micro-batches") {
    auto model = test::small_model<double>(test::small_config(ModelFamily::mixtral));
    for (auto* parameter : model->base_parameters()) parameter->set_trainable(true);
    const auto told = std::make_shared<std::vector<std::int64_t>>();
    for (auto& layer : model->layers()) {
        auto& moe = layer.moe.front();
        moe.router = Listener{{.gate = Gate<double>(moe.gate), .k = 2}, told};
    }
    Trainer<double> trainer(test::context(), *model, {}, {.micro_batch = 1});
    const auto data = test::ragged_samples(3, model->config().vocab_size);
    const auto report = trainer.step(data, std::vector<std::int32_t>{0, 1, 2}, 1e-3);
    CHECK(*told == std::vector<std::int64_t>(model->layers().size(), report.tokens));
}
