// A plan is compared with the step it plans, byte for byte: where the blocks of step memory end, and what lasts.

#include <doctest/doctest.h>

#include <moegrad/train/memory_plan.hpp>
#include <moegrad/train/process_memory.hpp>

#include "support/model_small.hpp"

using namespace moegrad;
using namespace moegrad::test;

namespace {

struct PlannedCase {
    std::string name;
    ModelFamily family;
    Method method;
    std::vector<std::string> targets;
    double dropout = 0;
    Activations activations = Activations::kept;
    GateMode gate = GateMode::by_method;
    Quantisation quantise = Quantisation::none;
};

const PlannedCase kPlannedCases[] = {
    {"dense lora", ModelFamily::llama, Method::lora, {"attention", "mlp"}},
    {"dense lora, dropout, recomputed",
     ModelFamily::llama,
     Method::lora,
     {"attention", "mlp"},
     0.1,
     Activations::recomputed},
    {"dense molora", ModelFamily::llama, Method::molora, {"attention", "mlp"}},
    {"mixture lora", ModelFamily::mixtral, Method::lora, {"attention", "experts"}, 0.1},
    {"mixture lora, full gate",
     ModelFamily::mixtral,
     Method::lora,
     {"experts"},
     0,
     Activations::kept,
     GateMode::full},
    {"adamoe, recomputed", ModelFamily::mixtral, Method::adamoe, {"experts"}, 0, Activations::recomputed},
    {"mor", ModelFamily::mixtral, Method::mor, {"attention", "experts"}},
    {"dense molora in nf4",
     ModelFamily::llama,
     Method::molora,
     {"attention", "mlp"},
     0,
     Activations::recomputed,
     GateMode::by_method,
     Quantisation::nf4},
    {"mixture lora in nf4",
     ModelFamily::mixtral,
     Method::lora,
     {"attention", "experts"},
     0.1,
     Activations::kept,
     GateMode::by_method,
     Quantisation::nf4},
};

template <class Real = float>
std::unique_ptr<Decoder<Real>> planned_model(const PlannedCase& one) {
    auto model = small_model<Real>(small_config(one.family));
    if (one.quantise == Quantisation::nf4) reserve_quantised(*model);
    AdapterSpec spec;
    spec.method = one.method;
    spec.lora = {.rank = 4, .alpha = 8, .dropout = one.dropout};
    spec.targets = one.targets;
    spec.gate = one.gate;
    attach(*model, spec);
    model->activations = one.activations;
    return model;
}

const MicroBatches kPlannedCuts{{0, 3, 5}, {1, 2, 4, 6}};

/// What a real step holds, counted by the memory itself.
struct HeldMemory {
    std::size_t lasting = 0, reach = 0;
};

template <class Build>
HeldMemory measured(Build build, const Dataset& data) {
    const std::size_t before = Buffer::lasting_bytes();
    const auto model = build();
    Context context({.threads = 2});
    Trainer<float> trainer(context, *model, {"balance", "z"}, {});
    for (int n = 0; n < 3; ++n) trainer.step(data, kPlannedCuts, 1e-3);
    return {Buffer::lasting_bytes() - before, pages::round_up(context.arena().reach())};
}

/// Tells whether the plan has every byte; the words say which part has not.
void check_plan(const MemoryPlan& plan, const HeldMemory& held) {
    CHECK(plan.step == held.reach);
    CHECK(plan.total() - plan.step == held.lasting);
}

/// A model whose every layer keeps one more tensor alive until its backward has run.
struct KeepingRouter {
    AnyRouter<float> inner;
    Index extra = 0;

    Index slots() const { return inner.slots(); }
    Index experts() const { return inner.experts(); }
    RouterScope scope() const { return RouterScope::token; }
    std::vector<Parameter<float>*> parameters() { return inner.parameters(); }
    Routing<float> route(Tape& tape, const RouteInput<float>& input) {
        const auto kept = tape.make<float>({extra});
        tape.record([kept] {});
        return inner.route(tape, input);
    }
};

}  // namespace

TEST_CASE("memory plan: equals what a step takes, to the byte") {
    const auto data = ragged_samples(8, 48);
    for (const auto& one : kPlannedCases) {
        CAPTURE(one.name);
        const auto build = [&] { return planned_model(one); };
        check_plan(plan_memory<float>(build, data, kPlannedCuts, {}), measured(build, data));
    }
}

TEST_CASE("memory plan: one more tensor kept alive moves plan and step alike") {
    const auto data = ragged_samples(8, 48);
    const auto build = [&](Index extra) {
        return [extra] {
            auto model = planned_model(kPlannedCases[3]);
            for (auto& layer : model->layers()) {
                auto& moe = layer.moe.front();
                moe.router = KeepingRouter{std::move(moe.router), extra};
            }
            return model;
        };
    };
    const auto lean = plan_memory<float>(build(16), data, kPlannedCuts, {});
    const auto fat = plan_memory<float>(build(100000), data, kPlannedCuts, {});
    CHECK(fat.step - lean.step > 2 * 100000 * sizeof(float) - 8192);  // one per layer
    check_plan(lean, measured(build(16), data));
    check_plan(fat, measured(build(100000), data));
}

TEST_CASE("memory plan: what was reserved does for the whole run, in one piece") {
    const auto data = ragged_samples(8, 48);
    const auto build = [] { return planned_model(kPlannedCases[5]); };
    const auto plan = plan_memory<float>(build, data, kPlannedCuts, longest_samples(data, 1));
    const auto model = build();
    Context context({.threads = 2});
    context.arena().reserve(plan.step);
    Trainer<float> trainer(context, *model, {"balance", "z"}, {});
    trainer.evaluate(data);
    for (int n = 0; n < 3; ++n) trainer.step(data, kPlannedCuts, 1e-3);
    CHECK(context.arena().system_allocations() == 1);
    CHECK(context.arena().held() == plan.step);
}

TEST_CASE("memory plan: of a GPU has room for what a step and an evaluation take there") {
    if (!has_cuda()) return;
    const auto data = ragged_samples(8, 48);
    const auto longest = longest_samples(data, 4);
    const auto check = [&]<class Real>(Real, const PlannedCase& one) {
        CAPTURE(one.name);
        const auto build = [&] { return planned_model<Real>(one); };
        const auto plan = plan_memory<Real>(build, data, kPlannedCuts, longest, Device::cuda);
        const auto model = build();
        move_to(*model, Device::cuda);
        Context context({.device = Device::cuda, .threads = 2});
        Trainer<Real> trainer(context, *model, {"balance", "z"}, {.micro_batch = 4, .graphs = false});
        trainer.evaluate(longest);
        for (int n = 0; n < 2; ++n) trainer.step(data, kPlannedCuts, 1e-3);
        CHECK(pages::round_up(context.arena().reach()) <= plan.step);
    };
    for (const auto& one : kPlannedCases) {
        if (one.quantise == Quantisation::nf4) continue;
        check(float(), one);
        check(bf16(), one);
    }
}

TEST_CASE("memory plan: of a model of 90 GB in bf16, 175 GiB here, with next to no memory") {
    ModelConfig config = small_config(ModelFamily::mixtral, 4096, 14336);  // Mixtral-8x7B
    config.num_hidden_layers = 32;
    config.num_attention_heads = 32;
    config.num_key_value_heads = 8;
    config.head_dim = 128;
    config.vocab_size = 32000;
    config.num_local_experts = 8;
    validate(config);
    const auto before = process_memory();
    const auto build = [&] {
        auto model = make_model<float>(config);
        AdapterSpec spec;
        spec.lora = {.rank = 16, .alpha = 32};
        spec.targets = {"attention", "experts"};
        attach(*model, spec);
        return model;
    };
    const Dataset data{language_sample(std::vector<std::int32_t>(512, 0))};
    const auto plan = plan_memory<float>(build, data, {{0}}, {});
    CHECK(plan.parameters ==
          46702792704);  // as the checkpoint's index counts them: 93405585408 bytes of bf16
    CHECK(plan.base == 4 * std::size_t{46702792704});
    CHECK(plan.moments == 2 * plan.adapter);
    if (before.highest > 0) CHECK(process_memory().highest < before.highest + (std::size_t{64} << 20));
}

TEST_CASE("memory plan: the largest micro-batches of ragged data are those that need most") {
    RunConfig config;
    config.batch = 4;
    config.micro_batch = 2;
    const auto data = ragged_samples(20, 48);
    StepOrder order(data, config), again(data, config);
    const auto largest = largest_micro_batches(data, order, 10);
    std::size_t most = 0, found = 0;
    const auto tokens = [&](const std::vector<std::int32_t>& picks) {
        std::size_t sum = 0;
        for (const auto pick : picks) sum += data[static_cast<std::size_t>(pick)].token.size();
        return sum;
    };
    for (Index n = 0; n < 10; ++n) {
        for (const auto& picks : again.step(n)) most = std::max(most, tokens(picks));
    }
    for (const auto& picks : largest) found = std::max(found, tokens(picks));
    CHECK(found == most);
    CHECK(longest_samples({}, 3).empty());
}
