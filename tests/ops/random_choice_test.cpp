#include <moegrad/ops/random_choice.hpp>

#include "support/op_check.hpp"

#include <numeric>

using namespace moegrad;

namespace {

/// The definition, with the list of columns that are left.
std::vector<std::int32_t> reference(const Segments& segments, Index E, Index K, std::uint64_t seed,
                                    std::uint64_t step, std::uint32_t module) {
    const PhiloxCounter words =
        philox({static_cast<std::uint32_t>(step), static_cast<std::uint32_t>(step >> 32), module, 0x72616e64},
               philox_key(seed));
    std::vector<std::int32_t> all;
    for (Index t = 0; t < segments.tokens(); ++t) {
        std::vector<std::int32_t> left(static_cast<std::size_t>(E));
        std::iota(left.begin(), left.end(), 0);
        for (Index k = 0; k < K; ++k) {
            const auto drawn = philox(
                {static_cast<std::uint32_t>(segments.sample.data()[t]),
                 static_cast<std::uint32_t>(segments.position.data()[t]), static_cast<std::uint32_t>(k), 0},
                {words[0], words[1]});
            const auto at = static_cast<std::ptrdiff_t>((std::uint64_t{drawn[0]} * left.size()) >> 32);
            all.push_back(left[static_cast<std::size_t>(at)]);
            left.erase(left.begin() + at);
        }
    }
    return all;
}

template <class Real>
std::vector<std::int32_t> drawn(const Segments& segments, Index E, Index K, const DrawKey& key,
                                std::uint64_t step = 0, Context& context = test::context()) {
    context.scalars().step = step;
    Tape tape(context);
    const auto choice = host(random_choice<Real>(tape, placed(segments, context.device()), E, K, key));
    context.scalars().step = 0;
    CHECK(choice.shape() == Shape{segments.tokens(), K});
    return {choice.values().begin(), choice.values().end()};
}

}  // namespace

TEST_CASE_TEMPLATE("random_choice: the list of what is left gives the same columns", Real, float, double) {
    for (Index T : {0, 1, 7, 301}) {
        const Segments segments = Segments::of_lengths({T / 2, T - T / 2});
        for (Index E : {1, 2, 5, 8, 33, 200}) {
            for (Index K : {Index{1}, Index{2}, Index{3}, Index{16}, E}) {
                if (K > E) continue;
                CHECK(drawn<Real>(segments, E, K, {5, 3, false}, 9) ==
                      reference(segments, E, K, 5, ~std::uint64_t{0}, 3));
                CHECK(drawn<Real>(segments, E, K, {5, 3, true}, 9) == reference(segments, E, K, 5, 9, 3));
            }
        }
    }
    test::add_reference_record(random_choice_slot, number_of<Real>());
}

TEST_CASE("random_choice: a GPU draws the same") {
    if (!has_cuda()) return;
    for (Index T : {0, 1, 7, 301}) {
        const Segments segments = Segments::of_lengths({T / 2, T - T / 2});
        for (const auto& [E, K] : {std::pair<Index, Index>{1, 1}, {8, 2}, {8, 8}, {200, 16}}) {
            for (bool by_step : {false, true}) {
                CHECK(drawn<float>(segments, E, K, {5, 3, by_step}, 9, test::cuda_context()) ==
                      drawn<float>(segments, E, K, {5, 3, by_step}, 9));
            }
        }
    }
    test::add_reference_record(random_choice_slot, Number::float32, Device::cuda);
}

TEST_CASE("random_choice: fixed numbers (Philox in Python)") {
    const auto segments = Segments::of_lengths({4});
    CHECK(drawn<float>(segments, 8, 2, {1, 0, false}) == std::vector<std::int32_t>{7, 6, 5, 0, 6, 7, 6, 1});
}

TEST_CASE("random_choice: draws change with the step in training only; K must fit") {
    Tape training(test::context()), plain(test::context(), Mode::inference);
    CHECK(DrawKey::of(training, 1, 2).by_step);
    CHECK_FALSE(DrawKey::of(plain, 1, 2).by_step);
    Selections selections;
    plain.set_selections(&selections);
    CHECK(DrawKey::of(plain, 1, 2).by_step);
    const auto segments = Segments::of_lengths({2});
    CHECK_THROWS_WITH_AS(random_choice<float>(plain, segments, 3, 4, {}), doctest::Contains("K in [1, 3]"),
                         Error);
    CHECK_THROWS_AS(random_choice<float>(plain, segments, 3, 0, {}), Error);
}
