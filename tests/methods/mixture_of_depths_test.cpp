// Mixture-of-Depths: against the layer run by hand on the chosen tokens, gradients, causality, save and load, a GPU.

#include <moegrad/methods/mixture_of_depths.hpp>

#include <moegrad/methods/model_routers.hpp>
#include <moegrad/train/adapter_files.hpp>

#include "io/support.hpp"
#include "support/routing_models.hpp"

#include <doctest/doctest.h>

using namespace moegrad;

namespace {

AdapterSpec depth_spec(const std::string& options = "capacity=0.4") {
    AdapterSpec spec;
    spec.set_method("mod");
    spec.options = options;
    spec.targets = {"attention", "mlp"};
    spec.lora = {.rank = 2, .alpha = 4};
    spec.seed = 9;
    return spec;
}

/// Two layers, of which the second is routed.
template <class Real = double>
Llama<Real> depth_model(const std::string& options = "capacity=0.4") {
    auto model = test::tiny_llama<Real>();
    attach(model, depth_spec(options));
    return model;
}

struct DepthRun {
    Tensor<double> x, y;          // [T, D] around the routed layer
    Tensor<std::int32_t> expert;  // [T, 1]
};

DepthRun run_depth(Llama<double>& model, const test::TokenBatch& batch, const Tensor<double>& x,
                   bool training) {
    Tape tape(test::routing_context(), training ? Mode::training : Mode::inference);
    Forward<double> forward{tape, batch.token, batch.segments};
    const auto y = model.layers()[1](forward, Var<double>(x));
    REQUIRE(forward.routings.size() == 1);
    const auto& routing = forward.routings[0].routing;
    CHECK(routing.penalties.size() == (training ? 1 : 0));
    return {x, test::copy_of(y.value()), test::copy_of(routing.expert)};
}

Tensor<double> depth_input(Index T, std::uint64_t seed) {
    return test::random_batch<double>(16, {T}, seed).x;
}

/// r_t of every token.
Tensor<double> depth_scores_by_hand(Llama<double>& model, const Tensor<double>& x) {
    const auto w = test::parameter_named(model, "mod.weight").value();
    auto r = Tensor<double>::zeros({x.extent(0)});
    for (Index t = 0; t < x.extent(0); ++t) {
        for (Index d = 0; d < 16; ++d) r.data()[t] += w.data()[d] * x.matrix()(t, d);
    }
    return r;
}
/// The layer's update of the rows `chosen`, run on nothing else.
Tensor<double> depth_update_by_hand(Llama<double>& model, const test::TokenBatch& batch,
                                    const Tensor<double>& x, const std::vector<Index>& chosen) {
    std::vector<Index> lengths(static_cast<std::size_t>(batch.segments.count()), 0);
    for (const Index t : chosen) ++lengths[static_cast<std::size_t>(batch.segments.segment.data()[t])];
    auto segments = Segments::of_lengths(lengths);
    segments.longest = batch.segments.longest;
    auto rows = Tensor<double>::zeros({static_cast<Index>(chosen.size()), 16});
    auto token = Tensor<std::int32_t>::zeros({static_cast<Index>(chosen.size())});
    for (std::size_t i = 0; i < chosen.size(); ++i) {
        std::copy_n(x.data() + chosen[i] * 16, 16, rows.data() + static_cast<Index>(i) * 16);
        segments.position.values()[i] = batch.segments.position.data()[chosen[i]];
        token.values()[i] = batch.token.data()[chosen[i]];
    }
    Tape tape(test::routing_context(), Mode::inference);
    Forward<double> forward{tape, token, segments};
    return test::copy_of(model.layers()[1].update(forward, Var<double>(rows)).value());
}

std::vector<Index> depth_chosen_of(const DepthRun& run) {
    std::vector<Index> rows;
    for (Index t = 0; t < run.expert.extent(0); ++t) {
        if (run.expert.data()[t] == 0) rows.push_back(t);
    }
    return rows;
}

/// y = x + r f(x) on the chosen rows, x on the others.
void check_depth_output(Llama<double>& model, const test::TokenBatch& batch, const DepthRun& run) {
    const auto chosen = depth_chosen_of(run);
    const auto f = depth_update_by_hand(model, batch, run.x, chosen);
    const auto r = depth_scores_by_hand(model, run.x);
    auto want = test::copy_of(run.x);
    for (std::size_t i = 0; i < chosen.size(); ++i) {
        for (Index d = 0; d < 16; ++d) {
            want.matrix()(chosen[i], d) += r.data()[chosen[i]] * f.matrix()(static_cast<Index>(i), d);
        }
    }
    for (Index t = 0; t < run.x.extent(0); ++t) {
        const bool computed = run.expert.data()[t] == 0;
        for (Index d = 0; d < 16; ++d) {
            const double difference = std::abs(run.y.matrix()(t, d) - want.matrix()(t, d));
            CHECK(difference <= (computed ? 1e-12 : 0));
        }
    }
}

}  // namespace

TEST_CASE("mod: the C best tokens of a sequence get x + r f(x), f run on them alone; others x to the bit") {
    auto model = depth_model();
    test::disturb(model, 0.2, 3);
    auto batch = test::random_tokens({11, 0, 7, 1}, 40, 3);
    for (const bool padded : {false, true}) {
        if (padded) {
            for (const Index t : {2, 3, 12}) batch.segments.valid.data()[t] = 0;
        }
        const auto run = run_depth(model, batch, depth_input(19, 5), true);
        std::vector<Index> count(4, 0);
        for (const Index t : depth_chosen_of(run))
            ++count[static_cast<std::size_t>(batch.segments.segment.data()[t])];
        CHECK(count == (padded ? std::vector<Index>{4, 0, 3, 1} : std::vector<Index>{5, 0, 3, 1}));
        const auto r = depth_scores_by_hand(model, run.x);
        std::vector<double> in, out;
        for (Index t = 0; t < 11; ++t) {
            if (batch.segments.valid.data()[t] != 0)
                (run.expert.data()[t] == 0 ? in : out).push_back(r.data()[t]);
        }
        CHECK(*std::min_element(in.begin(), in.end()) >= *std::max_element(out.begin(), out.end()));
        check_depth_output(model, batch, run);
    }
}

TEST_CASE("mod: capacity 1 with r = 1 is the plain layer") {
    auto model = depth_model("capacity=1");
    auto& w = test::parameter_named(model, "mod.weight");
    std::fill(w.value().values().begin(), w.value().values().end(), 0.0);
    w.value().data()[0] = 1;
    const auto batch = test::random_tokens({9, 4}, 40, 3);
    auto x = depth_input(13, 6);
    for (Index t = 0; t < 13; ++t) x.matrix()(t, 0) = 1;
    const auto run = run_depth(model, batch, x, true);
    Tape tape(test::routing_context(), Mode::inference);
    Forward<double> forward{tape, batch.token, batch.segments};
    const auto want = model.layers()[1].plain(forward, Var<double>(x));
    CHECK(test::largest_difference(run.y, want.value()) <= 1e-14);
}

TEST_CASE("mod: at inference a token passes by its own score, and no later token changes an earlier one") {
    auto model = depth_model();
    test::disturb(model, 0.2, 3);
    const auto batch = test::random_tokens({12, 5}, 40, 3);
    auto x = depth_input(17, 7);
    const auto run = run_depth(model, batch, x, false);
    const auto r = depth_scores_by_hand(model, x);
    Index passing = 0;
    for (Index t = 0; t < 17; ++t) {
        CHECK((run.expert.data()[t] == 0) == (r.data()[t] >= 0));
        passing += run.expert.data()[t] == 0;
    }
    CHECK(passing > 2);
    CHECK(passing < 15);
    check_depth_output(model, batch, run);
    // The last token of the first sequence becomes its best, or its worst where it was among the best.
    const auto before = run_depth(model, batch, depth_input(17, 7), true);
    const double factor = (r.data()[11] > 0) == (before.expert.data()[11] < 0) ? 100 : -100;
    for (Index d = 0; d < 16; ++d) x.matrix()(11, d) *= factor;
    const auto other = run_depth(model, batch, x, false);
    CHECK(test::same_values(other.y.rows(0, 11), run.y.rows(0, 11)));
    CHECK(test::same_values(other.y.rows(12, 17), run.y.rows(12, 17)));
    // In training it does: the best of a sequence are chosen together.
    const auto after = run_depth(model, batch, x, true);
    CHECK_FALSE(test::same_values(after.expert.rows(0, 11), before.expert.rows(0, 11)));
}

TEST_CASE("mod: gradients against central differences, kept and recomputed activations alike") {
    auto model = depth_model();
    test::disturb(model, 0.2, 4);
    auto batch = test::random_tokens({9, 6}, 40, 5);
    batch.segments.valid.data()[3] = 0;
    CHECK(test::Objective(model, batch, 0).worst(7) <= 1);
    const auto gradients = [&](Activations activations) {
        model.activations = activations;
        for (auto* parameter : trainable_parameters(model)) parameter->forget_gradients();
        auto& scalars = test::routing_context().scalars();
        scalars.coefficient[0] = 1;
        scalars.coefficient[1] = 0.3;
        Tape tape(test::routing_context());
        const std::vector<std::string> names{"mod"};
        Forward<double> forward{tape, batch.token, batch.segments, {}, &names};
        const auto nll = model.loss(forward, model.hidden(forward), batch.target);
        seed(tape, nll, 0);
        if (activations == Activations::kept) seed_penalties(forward);
        tape.backward();
        std::vector<Tensor<double>> all;
        for (auto* parameter : trainable_parameters(model)) all.push_back(total_gradient(*parameter));
        return all;
    };
    const auto kept = gradients(Activations::kept), recomputed = gradients(Activations::recomputed);
    for (std::size_t i = 0; i < kept.size(); ++i) {
        CHECK(test::same_values(kept[i], recomputed[i]));
        CHECK(std::any_of(kept[i].values().begin(), kept[i].values().end(), [](double g) { return g != 0; }));
    }
}

TEST_CASE("mod: every other layer, options, and what is refused") {
    auto model = test::tiny_llama<double>();
    attach(model, depth_spec(""));
    CHECK_FALSE(model.layers()[0].hook);
    REQUIRE(model.layers()[1].hook);
    CHECK(test::parameter_named(model, "mod.weight").name() == "model.layers.1.mod.weight");
    CHECK(model_routers(model).back().first == "model.layers.1");
    auto all = test::tiny_llama<double>();
    attach(all, depth_spec("every=1"));
    CHECK(all.layers()[0].hook);
    for (const char* bad : {"every=0", "every=3", "capacity=0", "capacity=1.5", "depth=2"}) {
        auto refused = test::tiny_llama<double>();
        CHECK_THROWS_AS(attach(refused, depth_spec(bad)), Error);
    }
    auto mixture = test::tiny_mixtral<double>();
    auto spec = depth_spec();
    spec.targets = {"attention"};
    CHECK_THROWS_WITH_AS(attach(mixture, spec), doctest::Contains("a dense model for mod"), Error);
    const auto batch = test::random_tokens({3}, 40, 3);
    Tape tape(test::routing_context(), Mode::inference);
    KeyValueCache<double> cache;
    Forward<double> forward{tape, batch.token, batch.segments};
    forward.cache = &cache;
    CHECK_THROWS_WITH_AS(model.layers()[1](forward, Var<double>(depth_input(3, 1))),
                         doctest::Contains("cache"), Error);
}

TEST_CASE("mod: an adapter that was saved and loaded computes the same") {
    auto model = depth_model<float>();
    Random random(4);
    for (auto* parameter : trainable_parameters(model)) {
        for (float& value : parameter->value().values())
            value += static_cast<float>(0.1 * random.next_normal());
    }
    const io_test::TemporaryFolder folder;
    save_adapter(model, depth_spec(), folder.file("adapter"));
    auto again = test::tiny_llama<float>();
    CHECK(load_adapter(again, folder.file("adapter")).options == "capacity=0.4");
    const auto batch = test::random_tokens({8, 5}, 40, 3);
    CHECK(test::same_values(test::model_logits(again, batch), test::model_logits(model, batch)));
}

TEST_CASE("mod: a GPU chooses and computes as the CPU does") {
    if (!has_cuda()) return;
    const auto batch = test::random_tokens({19, 1, 12}, 40, 3);
    const auto run = [&](Device device, Mode mode) {
        auto model = depth_model<float>();
        move_to(model, device);
        Tape tape(test::routing_context(1, device), mode);
        const auto token = placed(batch.token, device), target = placed(batch.target, device);
        std::vector<std::int32_t> rows(32);
        std::iota(rows.begin(), rows.end(), 0);
        const auto all = Tensor<std::int32_t>::from({32}, std::span<const std::int32_t>(rows));
        const auto segments = placed(batch.segments, device);
        Forward<float> forward{tape, token, segments};
        auto nll = model.loss(forward, model.hidden(forward), target, placed(all, device));
        std::vector<Tensor<float>> results{test::copy_of(host(nll.value())),
                                           test::copy_of(host(forward.routings[0].routing.weight.value()))};
        if (mode == Mode::inference) return results;
        test::routing_context(1, device).scalars().coefficient[0] = 1;
        seed(tape, nll, 0);
        tape.backward();
        for (auto* parameter : trainable_parameters(model))
            results.push_back(host(total_gradient(*parameter)));
        return results;
    };
    for (const Mode mode : {Mode::inference, Mode::training}) {
        const auto cpu = run(Device::cpu, mode), gpu = run(Device::cuda, mode);
        for (std::size_t i = 0; i < cpu.size(); ++i) {
            CAPTURE(i);
            CHECK(test::largest_difference(gpu[i], cpu[i]) <= 2e-5);
        }
    }
}
