#include <moegrad/autograd/checkpoint.hpp>
#include <moegrad/core/math_complex.hpp>
#include <moegrad/cpu/dropout.hpp>
#include <moegrad/ops/dropout.hpp>

#include "support/bits.hpp"

using namespace moegrad;

MOEGRAD_TEST_COMPLEX_SEAT(dropout);

namespace {

const auto op = []<class Real>(Tape& tape, const test::Inputs<Real>& in) {
    const test::Dropping dropping(tape);
    const auto segments = placed(Segments::of_lengths({in[0].extent(0)}), tape.device());
    return std::vector{dropout<Real>(tape, in[0], segments, {0.4, 11})};
};

/// The mask of T rows of ones under the given step and dropout, as 0 and 1.
Tensor<float> mask_of(const StepScalars& scalars, const Dropout& options, Index T, Index D,
                      std::uint32_t expert = 0) {
    const DropoutMask mask = dropout_mask(scalars, options, expert);
    auto kept = Tensor<float>::zeros({T, D});
    for (Index t = 0; t < T; ++t) {
        for (Index c = 0; c < D; ++c) {
            kept.data()[t * D + c] =
                dropout_keep(mask, static_cast<std::int32_t>(t % 3), static_cast<std::int32_t>(t), c);
        }
    }
    return kept;
}

double difference(const Tensor<float>& a, const Tensor<float>& b) {
    double different = 0;
    for (std::size_t i = 0; i < a.values().size(); ++i) different += a.values()[i] != b.values()[i];
    return different / static_cast<double>(a.size());
}

}  // namespace

TEST_CASE("dropout: gradients and float against double") {
    test::check_op(
        {&dropout_slot},
        [](Index T) {
            return std::vector{Shape{T, 5}};
        },
        op);
    test::check_op(
        {&dropout_slot},
        [](Index T) {
            return std::vector{Shape{T, 1}};
        },
        op);
    test::check_op(
        {&dropout_slot},
        [](Index T) {
            return std::vector{Shape{T, 67}};
        },
        op);
    test::OpCheckOptions options;
    options.cuda_rows = {301};
    test::check_op(
        {&dropout_slot},
        [](Index T) {
            return std::vector{Shape{T, 24}};
        },
        op, options);
}

TEST_CASE("dropout: a GPU makes the bits of the CPU, forward and backward, in sums too") {
    if (!has_cuda()) return;
    const Index T = 37;
    const auto run = [&](Context& context, Index D) {
        context.scalars().seed = 0x123456789abcdef0u;
        context.scalars().step = 0x500000007u;
        const auto segments = placed(Segments::of_lengths({20, 1, 16}), context.device());
        Tape tape(context);
        const auto x = tape.input(test::tensor_on(context, test::random_tensor<float>({T, D}, 4)));
        const Var<float> y[] = {dropout(tape, x, segments, {0.3, 5}), dropout(tape, x, segments, {0.1, 6})};
        const auto dy = test::tensor_on(context, test::random_tensor<float>({T, D}, 5));
        for (const auto& each : y) copy_values(dy, each.gradient()->target().tensor);
        tape.backward();
        return std::vector{host(y[0].value()), host(y[1].value()), host(x.gradient()->tensor())};
    };
    for (Index D : {1, 6, 64, 75, 260}) {
        CAPTURE(D);
        const StepScalars kept = test::context().scalars();
        const auto want = run(test::context(), D), got = run(test::cuda_context(), D);
        test::context().scalars() = kept;
        for (std::size_t n = 0; n < want.size(); ++n) CHECK(test::same_bits(got[n], want[n]));
    }
}

TEST_CASE("dropout: complex step") {
    test::check_complex_step(op, {test::random_tensor({3, 9}, 1)});
}

TEST_CASE("dropout: the mask is the documented function of its keys") {
    Context own({.device = Device::cpu, .threads = 1, .fill = Arena::Fill::poison});
    own.scalars().seed = 0x123456789abcdef0u;
    own.scalars().step = 0x500000007u;
    Segments segments = Segments::of_lengths({4, 2});
    segments.sample.data()[5] = 77;
    Tape tape(own);
    const auto x = tape.input(test::random_tensor<float>({6, 75}, 1));
    const auto y = dropout(tape, x, segments, {0.25, 9});
    const PhiloxCounter key = philox({7, 5, 9, 0}, {0x9abcdef0u, 0x12345678u});
    for (Index t = 0; t < 6; ++t) {
        const auto sample = static_cast<std::uint32_t>(segments.sample.data()[t]);
        const auto position = static_cast<std::uint32_t>(segments.position.data()[t]);
        for (Index c = 0; c < 75; ++c) {
            const auto words =
                philox({sample, position, static_cast<std::uint32_t>(c / 4), 0}, {key[0], key[1]});
            const bool keep =
                static_cast<double>(words[static_cast<std::size_t>(c % 4)]) < 0.75 * 4294967296.0;
            const float want = keep ? x.view<2>()(t, c) * float(1 / 0.75) : 0.0f;
            CHECK(y.view<2>()(t, c) == want);
        }
    }
}

TEST_CASE("dropout: frequency, and other keys give other masks") {
    const StepScalars scalars{.seed = 1, .step = 2};
    for (double rate : {0.05, 0.3, 0.9}) {
        const auto kept = mask_of(scalars, {rate, 3}, 400, 50);
        double sum = 0;
        for (float value : kept.values()) sum += value;
        // Five standard deviations of a binomial of 20000.
        CHECK(std::abs(sum / 20000 - (1 - rate)) < 5 * std::sqrt(rate * (1 - rate) / 20000));
    }
    const auto base = mask_of(scalars, {0.5, 3}, 400, 50);
    CHECK(difference(base, mask_of(scalars, {0.5, 3}, 400, 50)) == 0);
    // Independent fair masks differ in half of their places.
    CHECK(difference(base, mask_of(scalars, {0.5, 4}, 400, 50)) == doctest::Approx(0.5).epsilon(0.05));
    CHECK(difference(base, mask_of(scalars, {0.5, 3}, 400, 50, 1)) == doctest::Approx(0.5).epsilon(0.05));
    CHECK(difference(base, mask_of({.seed = 1, .step = 3}, {0.5, 3}, 400, 50)) ==
          doctest::Approx(0.5).epsilon(0.05));
    CHECK(difference(base, mask_of({.seed = 2, .step = 2}, {0.5, 3}, 400, 50)) ==
          doctest::Approx(0.5).epsilon(0.05));
}

TEST_CASE("dropout: bits do not depend on threads or on the cut into micro-batches") {
    const auto segments = Segments::of_lengths({20, 1, 16});
    test::check_bits<float>({test::random_tensor<float>({37, 65}, 1)}, {},
                            [&](Tape& tape, const auto& rows, const auto&, Index begin, Index end) {
                                return dropout(tape, rows[0], test::cut(segments, begin, end), {0.3, 5});
                            });
}

TEST_CASE("dropout: a token keeps its mask wherever it lies in the batch") {
    const Index T = 6;
    auto segments = Segments::of_lengths({T}), turned = Segments::of_lengths({T});
    for (Index t = 0; t < T; ++t) turned.position.data()[t] = static_cast<std::int32_t>(T - 1 - t);
    auto ones = Tensor<float>::zeros({T, 33});
    for (float& value : ones.values()) value = 1;
    Tape tape(test::context());
    const auto y = dropout(tape, Var<float>(ones), segments, {0.5, 1});
    const auto z = dropout(tape, Var<float>(ones), turned, {0.5, 1});
    for (Index t = 0; t < T; ++t) {
        CHECK(test::same_bits(y.value().rows(t, t + 1), z.value().rows(T - 1 - t, T - t)));
    }
}

TEST_CASE("dropout: nothing happens at rate 0 and where no gradient will be taken") {
    const auto segments = Segments::of_lengths({2});
    Tape recording(test::context()), looking(test::context(), Mode::inference);
    const auto x = recording.input(test::random_tensor<float>({2, 3}, 1));
    CHECK(dropout(recording, x, segments, {}).value().data() == x.value().data());
    CHECK(dropout(looking, x, segments, {0.5, 1}).value().data() == x.value().data());
    CHECK(dropout(recording, x, segments, {0.5, 1}).value().data() != x.value().data());
}

TEST_CASE("dropout: a checkpointed segment drops in its first run as in its second") {
    const auto segments = Segments::of_lengths({5});
    const auto segment = [&](Tape& tape, const Var<float>& x) {
        return dropout(tape, x, segments, {0.5, 1});
    };
    Tape plain(test::context()), kept(test::context());
    const auto x = test::random_tensor<float>({5, 9}, 1);
    CHECK(test::same_bits(segment(plain, plain.input(x)).value(),
                          checkpoint<float>(kept, kept.input(x), segment).value()));
}

TEST_CASE("dropout: impossible rates and missing keys are errors") {
    Tape tape(test::context());
    const auto x = tape.input(Tensor<float>::zeros({2, 3}));
    const auto segments = Segments::of_lengths({2});
    CHECK_THROWS_WITH_AS(dropout(tape, x, segments, {1.0, 0}), doctest::Contains("[0, 1)"), Error);
    CHECK_THROWS_AS(dropout(tape, x, segments, {-0.1, 0}), Error);
    CHECK_THROWS_AS(dropout(tape, x, segments, {NAN, 0}), Error);
    CHECK_THROWS_WITH_AS(dropout(tape, x, Segments::of_lengths({3}), {0.5, 0}), doctest::Contains("3 tokens"),
                         Error);
}
