// Dispatch and combine together, on whole numbers so that every sum is exact: nothing is lost, nothing is doubled.

#include "support/routing_layers.hpp"

#include <doctest/doctest.h>

using namespace moegrad;

TEST_CASE("dispatch and combine: identity experts return the token times the sum of its weights, exactly") {
    for (std::uint64_t seed = 0; seed < 1000; ++seed) {
        Random random(seed, 3);
        const auto below = [&](std::uint64_t n) { return static_cast<Index>(random.next_below(n)); };
        const Index T = below(9), E = 1 + below(6), D = 1 + below(5),
                    K = 1 + below(static_cast<std::uint64_t>(E));
        auto expert = Tensor<std::int32_t>::zeros({T, K});
        auto weight = Tensor<float>::zeros({T, K}), x = Tensor<float>::zeros({T, D});
        auto want = Tensor<float>::zeros({T, D});
        for (float& value : x.values()) value = static_cast<float>(below(9) - 4);
        std::vector<Index> used(static_cast<std::size_t>(E));
        for (Index t = 0; t < T; ++t) {
            std::vector<std::int32_t> all(static_cast<std::size_t>(E));
            std::iota(all.begin(), all.end(), 0);
            shuffle(std::span<std::int32_t>(all), random);
            for (Index k = 0; k < K; ++k) {
                const std::int32_t e = below(4) == 0 ? kNull : all[static_cast<std::size_t>(k)];
                expert.matrix()(t, k) = e;
                weight.matrix()(t, k) = e < 0 ? 0.0f : static_cast<float>(below(7) - 3);
                if (e >= 0) ++used[static_cast<std::size_t>(e)];
                for (Index d = 0; d < D; ++d) want.matrix()(t, d) += weight.matrix()(t, k) * x.matrix()(t, d);
            }
        }
        auto identity = Tensor<float>::zeros({E, D, D});
        for (Index e = 0; e < E; ++e) {
            for (Index d = 0; d < D; ++d) identity.slice(e).matrix()(d, d) = 1;
        }
        Tape tape(test::routing_context(), Mode::inference);
        const auto plan = dispatch(tape, expert, E);
        Index rows = 0;
        for (Index e = 0; e < E; ++e) {
            const Index count = plan.expert_begin.data()[e + 1] - plan.expert_begin.data()[e];
            CHECK(count == used[static_cast<std::size_t>(e)]);
            rows += count;
        }
        const auto chosen =
            std::count_if(expert.values().begin(), expert.values().end(), [](auto e) { return e >= 0; });
        CHECK(rows == chosen);
        const auto h = grouped_linear(tape, Var<float>(x), Var<float>(identity), plan, RowSource::tokens);
        CHECK(test::same_values(test::copy_of(combine(tape, h, Var<float>(weight), plan).value()), want));
    }
}
