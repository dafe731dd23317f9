// AdaMoE, acceptance items of methods.md 2 that are about loads: at step 0 without the loss, and after the first update.

#include "support/routing_models.hpp"

#include <moegrad/data/dataset.hpp>
#include <moegrad/train/model_files.hpp>
#include <moegrad/train/trainer.hpp>

#include <doctest/doctest.h>

using namespace moegrad;

namespace {

/// Of a router with random gates of one distribution, before any update.
double load_at_start(Index E, Index M, Index K, std::uint64_t seed) {
    constexpr Index D = 16, T = 256;
    const RouterSize size{.features = D, .experts = E, .nulls = M, .slots = K};
    const auto gate = [&](const char* name, Index rows, std::uint32_t stream) {
        return detail::random_gate<float>(name, rows, size, GateTraining::full, seed, stream);
    };
    NullExpertRouter<float> router{.gate = gate("gate", E, 0), .gate2 = gate("gate2", M, 8), .k = K};
    AnyRouter<float> any = std::move(router);
    return test::decide(any, test::random_batch<float>(D, {T}, 1000 + seed)).stats.load();
}

/// Loads of the first `steps` steps of AdaMoE (8, 3) with gates that train in full and Eq 6 at 0.02.
std::vector<double> first_loads(double learning_rate, std::uint64_t seed, int steps) {
    auto model = test::tiny_mixtral<double>(8, seed);
    AdapterSpec spec{.method = Method::adamoe, .targets = {"attention", "experts"}, .seed = 9};
    spec.top_k = 3;
    spec.null_experts = 8;
    spec.gate = GateMode::full;
    attach(model, spec);
    Dataset data;
    std::vector<std::int32_t> picks;
    for (std::int32_t n = 0; n < 16; ++n) {
        const auto sample = test::random_tokens({64}, 40, static_cast<std::uint64_t>(n));
        data.push_back(language_sample({sample.token.values().begin(), sample.token.values().end()}));
        picks.push_back(n);
    }
    Context context({.device = Device::cpu, .threads = 1});
    Trainer<double> trainer(context, model, {"balance"}, {});
    std::vector<double> loads;
    for (int n = 0; n < steps; ++n)
        loads.push_back(trainer.step(data, picks, learning_rate, {{"balance", 0.02}}).load());
    return loads;
}

}  // namespace

TEST_CASE("adamoe acceptance: step-0 loads of symmetric random routers lie around k E / (E + M)") {
    // The reference's own four draws. It gives neither their gates nor their tokens, so they cannot be had to the digit:
    // each must be one that our draws surround, and the mean of ours the value that symmetry gives.
    struct Setting {
        Index E, M, K;
        double target, seen;
    };
    for (const auto& [E, M, K, target, seen] :
         {Setting{8, 8, 3, 1.5, 1.575}, Setting{8, 16, 4, 1.333, 1.424}, Setting{4, 5, 4, 1.778, 1.769},
          Setting{4, 7, 4, 1.455, 1.432}}) {
        CAPTURE(M);
        CAPTURE(K);
        constexpr int kDraws = 100;
        double mean = 0, lowest = INFINITY, highest = 0;
        for (int n = 0; n < kDraws; ++n) {
            const double load = load_at_start(E, M, K, static_cast<std::uint64_t>(n));
            mean += load / kDraws;
            lowest = std::min(lowest, load);
            highest = std::max(highest, load);
        }
        CHECK(std::abs(mean / target - 1) < 0.02);
        CHECK(lowest < seen);
        CHECK(seen < highest);
        CHECK(lowest > 0.75 * target);
        CHECK(highest < 1.25 * target);
    }
}

TEST_CASE("adamoe acceptance: one AdamW step takes the load from 2.0 to about 1.15, at 5e-5 and at 1e-3") {
    // The first step of Adam is the sign of the gradient: it breaks ties the same way at any small rate. With gates that
    // train by LoRA it is 1.25, for A mixes the columns.
    for (const std::uint64_t seed : {1, 2, 3, 4}) {
        CAPTURE(seed);
        const auto slow = first_loads(5e-5, seed, 2), fast = first_loads(1e-3, seed, 2);
        CHECK(slow[0] == 2.0);
        CHECK(fast[0] == 2.0);
        CHECK(std::abs(slow[1] - 1.15) <= 0.06);
        CHECK(std::abs(fast[1] - 1.15) <= 0.06);
        CHECK(std::abs(fast[1] - slow[1]) <= 0.01);
    }
}
