// Dispatch and combine together, on whole numbers so that every sum is exact: nothing is lost, nothing is doubled.

#include "support/op_check_basics.hpp"
#include "support/routing_layers.hpp"

#include <doctest/doctest.h>

using namespace moegrad;

namespace {

template <class T>
Tensor<T> whole_numbers(const Shape& shape, std::uint64_t seed) {
    Random random(seed, 3);
    auto t = Tensor<T>::zeros(shape);
    for (T& value : t.values()) value = static_cast<T>(static_cast<float>(random.next_below(9)) - 4);
    return t;
}

template <class T>
std::vector<T> on_host(const Tensor<T>& tensor) {
    const auto values = host(tensor);
    return {values.values().begin(), values.values().end()};
}

/// A plan, y, dh and dweight of one way of routing.
struct Combined {
    std::vector<std::int32_t> begin, row_token, row_slot, slot_row;
    std::vector<float> y, dh, dweight;
    bool operator==(const Combined&) const = default;
};

Combined combined_on(Context& context, const Tensor<std::int32_t>& expert, Index E, Index D) {
    const Index T = expert.extent(0), K = expert.extent(1);
    const auto variable = [&](const Shape& shape, std::uint64_t seed) {
        const auto gradient = Tensor<float>::zeros(shape, context.device());  // rows of no slot stay 0
        return Var<float>(test::tensor_on(context, whole_numbers<float>(shape, seed)),
                          std::make_shared<Gradient<float>>(gradient));
    };
    const auto h = variable({T * K, D}, 1), weight = variable({T, K}, 2);
    Tape tape(context);
    const auto plan = dispatch(tape, test::tensor_on(context, expert), E);
    const auto y = combine(tape, h, weight, plan);
    copy_values(whole_numbers<float>({T, D}, 4), y.gradient()->target().tensor);
    Combined all{on_host(plan.expert_begin),
                 on_host(plan.row_token),
                 on_host(plan.row_slot),
                 on_host(plan.slot_row),
                 on_host(y.value()),
                 {},
                 {}};
    tape.backward();
    all.dh = on_host(h.gradient()->tensor());
    all.dweight = on_host(weight.gradient()->tensor());
    return all;
}

}  // namespace

TEST_CASE(
    "dispatch and combine: 65,536 tokens and 2^17 slots on a GPU give the plan and the numbers of the CPU") {
    if (!has_cuda()) return;
    constexpr Index T = 65536, K = 2, E = 8, D = 12;
    Random random(5, 3);
    for (const char* way : {"spread", "all on one", "none on any"}) {
        CAPTURE(way);
        auto expert = Tensor<std::int32_t>::zeros({T, K});
        for (std::int32_t& e : expert.values()) {
            const auto any = static_cast<std::int32_t>(random.next_below(E + 2)) - 2;
            e = way[0] == 's' ? any : way[0] == 'a' ? 5 : kNull;
        }
        const Combined want = combined_on(test::context(), expert, E, D);
        CHECK((combined_on(test::cuda_context(), expert, E, D) == want));
        CHECK((way[0] == 's') == (want.begin[1] > 0));
    }
}

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
