#include <moegrad/ops/local_balance.hpp>

#include "support/device_status.hpp"
#include "support/op_check.hpp"

using namespace moegrad;

namespace {

using Form = LocalBalanceOptions::Form;

/// Four segments, one of them empty, one all padding where there are tokens enough; padding in the others too.
Segments local_segments(Index T) {
    const Index first = T / 2, second = T > 4 ? 2 : 0;
    Segments segments = Segments::of_lengths({first, 0, second, T - first - second});
    segments.task = Tensor<std::int32_t>::from({4}, {1, 0, kNoTask, 0});
    if (second == 0) segments.task.data()[2] = 0;
    for (Index t = 0; t < T; ++t)
        segments.valid.data()[t] = t % 5 != 2 && (second == 0 || segments.segment.data()[t] != 2);
    return segments;
}

/// Twice, so that the second gradient accumulates.
auto op(const LocalBalanceOptions& options) {
    return [=]<test::NeverRounded Real>(Tape& tape, const test::Inputs<Real>& in) {
        const auto segments = placed(local_segments(in[0].extent(0)), tape.device());
        return std::vector{local_balance(tape, in[0], segments, options),
                           local_balance(tape, in[0], segments, options)};
    };
}

/// p[t] = softmax of ((7 t + 3 e^2) mod 11) / 4 - 1; 7 tokens in 3 segments, token 4 padding.
Tensor<double> reference_p() {
    auto p = Tensor<double>::zeros({7, 4});
    for (int t = 0; t < 7; ++t) {
        double sum = 0;
        for (int e = 0; e < 4; ++e) sum += p.matrix()(t, e) = std::exp((7 * t + 3 * e * e) % 11 / 4.0 - 1);
        for (int e = 0; e < 4; ++e) p.matrix()(t, e) /= sum;
    }
    return p;
}
Segments reference_segments() {
    auto segments = Segments::of_lengths({3, 2, 2});
    segments.task = Tensor<std::int32_t>::from({3}, {1, 0, 0});
    segments.valid.data()[4] = 0;
    return segments;
}

double loss_of(const Tensor<double>& p, const Segments& segments, const LocalBalanceOptions& options) {
    Tape tape(test::context(), Mode::inference);
    return local_balance(tape, Var<double>(p), segments, options).value().data()[0];
}

}  // namespace

TEST_CASE("local_balance: gradients and float against double, both forms") {
    for (Form form : {Form::squared, Form::plain}) {
        for (Index E : {1, 5, 70}) {
            for (Index types : {2, 3}) {
                test::check_op({&local_balance_slot},
                               [&](Index T) {
                                   return std::vector{Shape{T, E}};
                               },
                               op({form, 0.1, types}),
                               {.rows = {0, 1, 7, 15},
                                .float_bound = 3e-5,
                                .scale = {0.05},
                                .shift = {0.4},
                                .cuda_rows = {129, 700}});
            }
        }
    }
}

TEST_CASE("local_balance: var / mean and the squared coefficient of variation (golden)") {
    // methods.md 7: Q of two samples as one token each, types 1 and 0, experts of the types 1, 1, 0, 0.
    const auto Q = Tensor<double>::from({2, 4}, {.4, .3, .2, .1, .1, .2, .3, .4});
    auto segments = Segments::of_lengths({1, 1});
    segments.task = Tensor<std::int32_t>::from({2}, {1, 0});
    CHECK(std::abs(loss_of(Q, segments, {Form::plain, 0.1, 2}) - .069808) < 1e-6);
    CHECK(std::abs(loss_of(Q, segments, {Form::squared, 0.1, 2}) - .306847) < 1e-6);
}

TEST_CASE("local_balance: values and gradients of PyTorch's autograd") {
    const struct {
        Form form;
        double loss;
        double dp[4][4];  // of the tokens 0, 3, 4, 5; those of a segment are equal
    } wanted[] = {
        {Form::squared,
         0.38822583323195403,
         {{-0.12758928101580538, 0.3387158797862692, -0.08711982706104192, 0.10907183332353453},
          {-0.032931885237027995, -0.39005504596591045, -0.4944066211155466, -0.4073846686751066},
          {0, 0, 0, 0},
          {-0.14539854947059172, -0.25586680450496085, 0.031442136834503906, -0.07689182960206918}}},
        {Form::plain,
         0.17705478165659871,
         {{-0.025566780473777855, 0.18709696151329455, -0.013041456337593162, 0.07643396909470301},
          {0.01167156733782767, -0.15119848878640849, -0.19285797673070013, -0.1531706311967738},
          {0, 0, 0, 0},
          {-0.03962012676131878, -0.09000042374534191, 0.04696129610891222, -0.002445634423607503}}}};
    for (const auto& want : wanted) {
        Tape tape(test::context());
        const auto p = tape.input(reference_p());
        const auto loss = local_balance(tape, p, reference_segments(), {want.form, 0.1, 2});
        CHECK(loss.value().data()[0] == doctest::Approx(want.loss).epsilon(1e-13));
        loss.gradient()->target().tensor.data()[0] = 1;
        tape.backward();
        const Index token[] = {0, 3, 4, 5};
        for (int i = 0; i < 4; ++i) {
            for (int e = 0; e < 4; ++e)
                CHECK(std::abs(p.gradient()->tensor().matrix()(token[i], e) - want.dp[i][e]) < 1e-13);
        }
    }
}

TEST_CASE("local_balance: squared does not grow with the length of samples, plain does") {
    const auto p = reference_p();
    auto doubled = Tensor<double>::zeros({14, 4});
    for (Index t = 0; t < 14; ++t) std::copy_n(p.data() + t / 2 * 4, 4, doubled.data() + t * 4);
    auto segments = Segments::of_lengths({6, 4, 4});
    segments.task = Tensor<std::int32_t>::from({3}, {1, 0, 0});
    segments.valid.data()[8] = segments.valid.data()[9] = 0;
    CHECK(loss_of(doubled, segments, {Form::squared, 0.1, 2}) ==
          doctest::Approx(0.38822583323195403).epsilon(1e-9));
    CHECK(loss_of(doubled, segments, {Form::plain, 0.1, 2}) ==
          doctest::Approx(2 * 0.17705478165659871).epsilon(1e-12));
}

TEST_CASE("local_balance: one value is no imbalance, and neither is a batch without a valid token") {
    for (Form form : {Form::squared, Form::plain}) {
        auto one = Segments::of_lengths({2});
        one.task = Tensor<std::int32_t>::from({1}, {0});
        CHECK(loss_of(Tensor<double>::from({2, 1}, {0.3, 0.4}), one, {form, 0.1, 2}) == 0);
        one.valid.data()[0] = one.valid.data()[1] = 0;
        one.task.data()[0] = 9;  // nobody's
        CHECK(loss_of(Tensor<double>::from({2, 2}, {0.3, 0.7, 0.4, 0.6}), one, {form, 0.1, 2}) == 0);
    }
}

TEST_CASE("local_balance: a sample without a task or of an unknown one is an error") {
    auto segments = reference_segments();
    segments.task.data()[1] = kNoTask;
    CHECK_THROWS_WITH_AS(loss_of(reference_p(), segments, {}), doctest::Contains("none for segment 1"),
                         Error);
    segments.task.data()[1] = 2;
    CHECK_THROWS_WITH_AS(loss_of(reference_p(), segments, {}), doctest::Contains("2 for segment 1"), Error);
    segments.task = {};
    CHECK_THROWS_WITH_AS(loss_of(reference_p(), segments, {}), doctest::Contains("tasks none"), Error);
    if (!test::device_reports()) return;
    test::take_status();
    segments.task = Tensor<std::int32_t>::from({3}, {1, 2, 0});
    Tape tape(test::cuda_context(), Mode::inference);
    const auto p = test::convert<float>(reference_p());
    host(
        local_balance(tape, Var<float>(placed(p, Device::cuda)), placed(segments, Device::cuda), {}).value());
    CHECK(test::take_status().bad_index == 1);
}
