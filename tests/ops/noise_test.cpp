#include <moegrad/ops/noise.hpp>

#include "support/op_check.hpp"

using namespace moegrad;

namespace {

constexpr NoiseRange kNormal = NoiseRange::normal(), kJitter = NoiseRange::between(0.99, 1.01);

template <class Real>
Tensor<Real> drawn_noise(const Segments& segments, Index C, const NoiseRange& range, const DrawKey& key,
                         std::uint64_t step = 0, Context& context = test::context()) {
    context.scalars().step = step;
    Tape tape(context);
    const auto numbers = host(noise<Real>(tape, placed(segments, context.device()), C, range, key))
                             .reshape({segments.tokens(), C});
    context.scalars().step = 0;
    auto kept = Tensor<Real>::zeros(numbers.shape());
    std::copy(numbers.values().begin(), numbers.values().end(), kept.values().begin());
    return kept;
}

/// The definition, number by number.
double noise_reference(const Segments& segments, Index t, Index c, const NoiseRange& range,
                       std::uint64_t seed, std::uint64_t step, std::uint32_t module) {
    const auto words =
        philox({static_cast<std::uint32_t>(step), static_cast<std::uint32_t>(step >> 32), module, 0x6e6f6973},
               philox_key(seed));
    const bool uniform = range.uniform;
    const auto drawn = philox({static_cast<std::uint32_t>(segments.sample.data()[t]),
                               static_cast<std::uint32_t>(segments.position.data()[t]),
                               static_cast<std::uint32_t>(uniform ? c / 4 : c / 2), uniform ? 1u : 0u},
                              {words[0], words[1]});
    if (uniform)
        return range.low + (range.high - range.low) *
                               static_cast<double>(uniform_open(drawn[static_cast<std::size_t>(c % 4)]));
    const auto pair = normal_pair(drawn);
    return c % 2 == 0 ? pair.first : pair.second;
}

template <class Real>
void check_noise(Context& context, double room) {
    for (Index T : {0, 1, 7, 301}) {
        const Segments segments = Segments::of_lengths({T / 2, T - T / 2});
        for (Index C : {1, 2, 5, 8, 33}) {
            for (const auto& range : {kNormal, kJitter}) {
                for (bool by_step : {false, true}) {
                    const auto got = drawn_noise<Real>(segments, C, range, {7, 3, by_step}, 9, context);
                    double worst = 0;
                    for (Index t = 0; t < T; ++t)
                        for (Index c = 0; c < C; ++c) {
                            const double want =
                                noise_reference(segments, t, c, range, 7, by_step ? 9 : ~std::uint64_t{0}, 3);
                            worst = std::max(worst, std::abs(static_cast<double>(got.matrix()(t, c)) - want));
                        }
                    CHECK(worst <= room);
                }
            }
        }
    }
}

}  // namespace

TEST_CASE("noise: the words of Philox, on the CPU") {
    check_noise<double>(test::context(), 0);
    check_noise<float>(test::context(), 2.5e-7);
    test::add_reference_record(noise_slot, Number::float64);
    test::add_reference_record(noise_slot, Number::float32);
}

TEST_CASE("noise: a GPU draws the same") {
    if (!has_cuda()) return;
    check_noise<float>(test::cuda_context(), 2.5e-7);
    test::add_reference_record(noise_slot, Number::float32, Device::cuda);
}

TEST_CASE("noise: moments and ranges of 60000 draws") {
    const auto segments = Segments::of_lengths({20000});
    const auto moments = [&](const NoiseRange& range) {
        double mean = 0, square = 0, low = INFINITY, high = -INFINITY;
        const auto numbers = drawn_noise<double>(segments, 3, range, {1, 0, false});
        for (double x : numbers.values()) {
            mean += x / 60000;
            square += x * x / 60000;
            low = std::min(low, x);
            high = std::max(high, x);
        }
        return std::array{mean, square, low, high};
    };
    const auto normal = moments(kNormal);
    CHECK(std::abs(normal[0]) < 0.016);      // 4 deviations of the mean
    CHECK(std::abs(normal[1] - 1) < 0.024);  // likewise
    const auto jitter = moments(kJitter);
    CHECK(std::abs(jitter[0] - 1) < 1e-4);
    CHECK(jitter[2] > 0.99);
    CHECK(jitter[3] < 1.01);
    CHECK(jitter[2] < 0.9901);
    CHECK(jitter[3] > 1.0099);
}

TEST_CASE("noise: an empty range is an error, not another distribution") {
    CHECK_THROWS_WITH_AS(NoiseRange::between(1, 1), doctest::Contains("low < high"), Error);
    CHECK_THROWS_AS(NoiseRange::between(1, NAN), Error);
}
