#include <moegrad/core/math_complex.hpp>
#include <moegrad/cpu/rope.hpp>
#include <moegrad/ops/rope.hpp>

#include "support/device_status.hpp"
#include "support/op_check.hpp"

using namespace moegrad;

MOEGRAD_TEST_COMPLEX_SEAT(rope);

namespace {

/// T rows in segments of 3, so that positions repeat.
Segments in_threes(Index T) {
    std::vector<Index> lengths;
    for (Index left = T; left > 0; left -= 3) lengths.push_back(std::min<Index>(3, left));
    return Segments::of_lengths(lengths);
}

template <Index head>
constexpr auto op = []<class Real>(Tape& tape, const test::Inputs<Real>& in) {
    const RopeTable<Wide<Real>> table(head, 100);
    const auto segments = placed(in_threes(in[0].extent(0)), tape.device());
    return std::vector{rope<Real>(tape, in[0], table, segments), rope<Real>(tape, in[0], table, segments)};
};

/// bf16: the gradient of each use is rounded before they are added.
template <Index head>
constexpr auto rounded_op = [](Tape& tape, const test::Inputs<double>& in) {
    const RopeTable<double> table(head, 100);
    const auto segments = in_threes(in[0].extent(0));
    return std::vector{rope(tape, test::rounded(tape, in[0]), table, segments),
                       rope(tape, test::rounded(tape, in[0]), table, segments)};
};

}  // namespace

TEST_CASE("rope: gradients and float against double") {
    test::check_op(
        {&rope_slot},
        [](Index T) {
            return std::vector{Shape{T, 2}};
        },
        op<2>, {}, rounded_op<2>);
    test::check_op(
        {&rope_slot},
        [](Index T) {
            return std::vector{Shape{T, 18}};
        },
        op<6>, {}, rounded_op<6>);
    test::check_op(
        {&rope_slot},
        [](Index T) {
            return std::vector{Shape{T, 68}};
        },
        op<34>, {}, rounded_op<34>);
}

TEST_CASE("rope: heads of 16 bytes and more on a GPU") {
    test::OpCheckOptions options;
    options.rows = {1, 7};
    options.float_bound = 1e-6;
    options.cuda_rows = {0, 40};
    test::check_op(
        {&rope_slot},
        [](Index T) {
            return std::vector{Shape{T, 2 * 8}};
        },
        op<8>, options, rounded_op<8>);
    test::check_op(
        {&rope_slot},
        [](Index T) {
            return std::vector{Shape{T, 3 * 32}};
        },
        op<32>, options, rounded_op<32>);
}

TEST_CASE("rope: a position that the table of a GPU does not hold gives no number") {
    if (!has_cuda()) return;
    const RopeTable<float> table(4, 10000);
    auto segments = Segments::of_lengths({3});
    segments.position.data()[1] = 64;  // the table is made for 64 positions
    segments.position.data()[2] = -1;
    Tape tape(test::cuda_context());
    const Var<float> x(test::tensor_on(test::cuda_context(), test::random_tensor<float>({3, 4}, 1)));
    const auto y = host(rope(tape, x, table, placed(segments, Device::cuda)).value());
    for (Index i = 0; i < 12; ++i) CHECK(std::isnan(y.data()[i]) == (i >= 4));
    if (test::device_reports()) CHECK(test::take_status().bad_index == 1);
}

TEST_CASE("rope: complex step") {
    test::check_complex_step(op<4>, {test::random_tensor({5, 8}, 1)});
}

TEST_CASE("rope: pairs are the columns i and i + head/2, turned by position times frequency") {
    Tape tape(test::context());
    const RopeTable<double> table(4, 10000);
    const auto x = test::random_tensor({3, 8}, 3);
    const auto y = rope(tape, Var<double>(x), table, Segments::of_lengths({3})).value().view<2>();
    for (Index t = 0; t < 3; ++t) {
        for (Index h = 0; h < 2; ++h) {
            for (Index i = 0; i < 2; ++i) {
                const std::complex<double> pair(x.view<2>()(t, h * 4 + i), x.view<2>()(t, h * 4 + i + 2));
                const auto turned = pair * std::polar(1.0, double(t) * (i == 0 ? 1 : 0.01));
                CHECK(y(t, h * 4 + i) == doctest::Approx(turned.real()).epsilon(1e-14));
                CHECK(y(t, h * 4 + i + 2) == doctest::Approx(turned.imag()).epsilon(1e-14));
            }
        }
    }
}

TEST_CASE("rope: the scores of queries and keys see relative positions only") {
    // <R(m) q, R(n) k> depends on m - n.
    const RopeTable<double> table(16, 500000, {RopeScaling::Kind::llama3, 8, 1, 4, 8192});
    const auto q = test::random_tensor({1, 16}, 4), k = test::random_tensor({1, 16}, 5);
    const auto score = [&](Index m, Index n) {
        Tape tape(test::context());
        auto segments = Segments::of_lengths({1, 1});
        segments.position.data()[0] = static_cast<std::int32_t>(m);
        segments.position.data()[1] = static_cast<std::int32_t>(n);
        auto both = Tensor<double>::zeros({2, 16});
        std::copy_n(q.data(), 16, both.data());
        std::copy_n(k.data(), 16, both.data() + 16);
        const auto y = rope(tape, Var<double>(both), table, segments).value().view<2>();
        double sum = 0;
        for (Index d = 0; d < 16; ++d) sum += y(0, d) * y(1, d);
        return sum;
    };
    CHECK(score(7, 4) == doctest::Approx(score(131071, 131068)).epsilon(1e-9));
    CHECK(std::abs(score(7, 4) - score(7, 5)) > 1e-3);
}

TEST_CASE("rope: the table grows, is shared by its copies, and never wraps") {
    Tape tape(test::context());
    const RopeTable<double> table(8, 10000);
    const RopeTable<double> copy = table;
    auto segments = Segments::of_lengths({1});
    segments.position.data()[0] = 131071;
    const Var<double> x(Tensor<double>::from({1, 8}, {1, 1, 1, 1, 0, 0, 0, 0}));
    const auto y = rope(tape, x, table, segments).value();
    CHECK(copy.positions() >= 131072);
    // cos and sin of 131071 and 13107.1 from 40 digits.
    CHECK(std::abs(y.values()[0] - -0.8179834993879490807) < 1e-15);
    CHECK(std::abs(y.values()[4] - -0.5752416837547893711) < 1e-15);
    CHECK(std::abs(y.values()[1] - 0.9303429898443914975) < 4e-12);
    CHECK(std::abs(y.values()[5] - 0.3666904978962482727) < 4e-12);
    const RopeTable<float> in_float(8, 10000);
    in_float.reach(131072);
    CHECK(in_float.cos().view<2>()(131071, 0) == float(-0.8179834993879490807));
    CHECK(in_float.sin().view<2>()(131071, 1) == float(0.3666904978962482727));
}

TEST_CASE("rope: growth leaves a recorded backward alone") {
    Tape tape(test::context());
    const RopeTable<double> table(4, 10);
    auto x = tape.input(test::random_tensor({2, 4}, 6));
    auto y = rope(tape, x, table, Segments::of_lengths({2}));
    auto dy = y.gradient()->target();
    std::copy_n(y.value().data(), 8, dy.tensor.data());
    table.reach(5000);
    tape.backward();
    for (std::size_t i = 0; i < 8; ++i) {
        CHECK(x.gradient()->tensor().values()[i] == doctest::Approx(x.value().values()[i]).epsilon(1e-14));
    }
}

TEST_CASE("rope: frequencies of the scalings") {
    // Computed with Python from the published formulas (wavelength form).
    const auto plain = rope_frequencies(8, 10000);
    const double plain_want[] = {1, 0.1, 0.01, 0.001};
    const auto linear = rope_frequencies(8, 10000, {.kind = RopeScaling::Kind::linear, .factor = 4});
    for (std::size_t i = 0; i < 4; ++i) {
        CHECK(plain[i] == doctest::Approx(plain_want[i]).epsilon(1e-14));
        CHECK(linear[i] == doctest::Approx(plain_want[i] / 4).epsilon(1e-14));
    }
    // Llama 3.1: theta 500000, head 128, factor 8, low 1, high 4, original 8192.
    const auto llama3 = rope_frequencies(128, 500000, {RopeScaling::Kind::llama3, 8, 1, 4, 8192});
    const std::pair<std::size_t, double> want[] = {
        {0, 1.0},
        {10, 0.12868737343265052},
        {28, 0.0032114459947525913},
        {29, 0.0021665707635033591},
        {31, 0.00085675141291963208},
        {34, 0.00017850781276799638},
        {35, 9.5562123539646833e-05},
        {63, 3.0689259889145111e-07},
    };
    REQUIRE(llama3.size() == 64);
    for (const auto& [i, value] : want) CHECK(llama3[i] == doctest::Approx(value).epsilon(1e-13));
}

TEST_CASE("rope: errors") {
    Tape tape(test::context());
    const RopeTable<float> table(4, 10000);
    Var<float> x(Tensor<float>::zeros({2, 6}));
    CHECK_THROWS_WITH_AS(rope(tape, x, table, Segments::of_lengths({2})), doctest::Contains("x [2, 6]"),
                         Error);
    Var<float> y(Tensor<float>::zeros({2, 4}));
    CHECK_THROWS_WITH_AS(rope(tape, y, table, Segments::of_lengths({3})), doctest::Contains("x [2, 4]"),
                         Error);
    auto negative = Segments::of_lengths({2});
    negative.position.data()[1] = -5;
    CHECK_THROWS_WITH_AS(rope(tape, y, table, negative), doctest::Contains("-5"), Error);
    negative.position.data()[1] = 2000000000;
    CHECK_THROWS_WITH_AS(rope(tape, y, table, negative), doctest::Contains("2000000000"), Error);
    CHECK_THROWS_WITH_AS(RopeTable<float>(5, 10000), doctest::Contains("even"), Error);
    CHECK_THROWS_AS(rope_frequencies(4, 0.5), Error);
    CHECK_THROWS_AS(rope_frequencies(4, 10, {.kind = RopeScaling::Kind::linear, .factor = 0}), Error);
    CHECK_THROWS_AS(rope_frequencies(4, 10, {RopeScaling::Kind::llama3, 8, 4, 4, 8192}), Error);
}
