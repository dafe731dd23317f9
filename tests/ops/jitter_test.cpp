#include <moegrad/cpu/jitter.hpp>
#include <moegrad/ops/jitter.hpp>
#include <moegrad/ops/multiply.hpp>

#include "support/bits.hpp"

using namespace moegrad;

namespace {

constexpr DrawKey kKey{7, 3, true};

Segments two_segments(Tape& tape, Index T) {
    return placed(Segments::of_lengths({T / 3, T - T / 3}), tape.device());
}

const auto op = []<class Real>(Tape& tape, const test::Inputs<Real>& in) {
    return std::vector{jitter<Real>(tape, in[0], two_segments(tape, in[0].extent(0)), 0.3, kKey)};
};
const auto twice = []<class Real>(Tape& tape, const test::Inputs<Real>& in) {
    const auto segments = two_segments(tape, in[0].extent(0));
    return std::vector{jitter<Real>(tape, in[0], segments, 0.3, kKey),
                       jitter<Real>(tape, in[0], segments, 0.1, {7, 4, true})};
};
auto columns(Index D) {
    return [D](Index T) { return std::vector{Shape{T, D}}; };
}

}  // namespace

TEST_CASE("jitter: gradients, and float and bf16 against double") {
    for (Index D : {1, 4, 5, 8, 67}) test::check_op({&jitter_slot}, columns(D), op);
    test::check_op({&jitter_slot}, columns(64), op, {.cuda_rows = {129}});
    test::check_op({&jitter_slot}, columns(24), twice, {.cuda_rows = {64}});
    test::check_op({&jitter_slot}, columns(7), twice);
}

TEST_CASE("jitter: on a CPU the bits of noise times x, forward and backward") {
    const Index T = 29;
    for (Index D : {3, 66}) {
        Tape tape(test::context());
        const auto segments = two_segments(tape, T);
        const auto x = tape.input(test::random_tensor<float>({T, D}, 1)),
                   other = tape.input(test::random_tensor<float>({T, D}, 1));
        const Var<float> u(noise<float>(tape, segments, D, NoiseRange::between(0.7, 1.3), kKey));
        const auto y = jitter(tape, x, segments, 0.3, kKey), product = multiply(tape, u, other);
        CHECK(test::same_bits(y.value(), product.value()));
        const auto dy = test::random_tensor<float>({T, D}, 2);
        copy_values(dy, y.gradient()->target().tensor);
        copy_values(dy, product.gradient()->target().tensor);
        tape.backward();
        CHECK(test::same_bits(x.gradient()->tensor(), other.gradient()->tensor()));
    }
}

TEST_CASE("jitter: another step, seed or module is another draw") {
    const auto x = test::random_tensor<float>({9, 12}, 1);
    const auto values = [&](const DrawKey& key, std::uint64_t step) {
        Context& context = test::context();
        context.scalars().step = step;
        Tape tape(context);
        const auto y = jitter(tape, Var<float>(x), Segments::of_lengths({9}), 0.3, key).value();
        context.scalars().step = 0;
        auto kept = Tensor<float>::zeros(y.shape());
        copy_values(y, kept);
        return kept;
    };
    const auto first = values(kKey, 5);
    CHECK(test::same_bits(first, values(kKey, 5)));
    CHECK_FALSE(test::same_bits(first, values(kKey, 6)));
    CHECK_FALSE(test::same_bits(first, values({8, 3, true}, 5)));
    CHECK_FALSE(test::same_bits(first, values({7, 4, true}, 5)));
}

TEST_CASE("jitter: shapes and amounts that do not fit are errors") {
    Tape tape(test::context());
    const Var<float> x(Tensor<float>::zeros({3, 4}));
    CHECK_THROWS_WITH_AS(jitter(tape, x, Segments::of_lengths({4}), 0.1, kKey), doctest::Contains("x [4, D]"),
                         Error);
    CHECK_THROWS_AS(jitter(tape, x, Segments::of_lengths({3}), 0.0, kKey), Error);
    CHECK_THROWS_AS(jitter(tape, x, Segments::of_lengths({3}), 1e-20, kKey), Error);
}
