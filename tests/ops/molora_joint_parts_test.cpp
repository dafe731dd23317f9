// molora_joint where only a part of it is asked, frozen or chosen, and how accurate its router is.

#include <moegrad/ops/molora_joint.hpp>
#include <moegrad/ops/take.hpp>

#include "support/bits.hpp"
#include "support/device_status.hpp"
#include "support/joint_inputs.hpp"

#include <cmath>

using namespace moegrad;

namespace {

/// rms of the error as a part of the rms.
template <class T>
double rms_error(const Tensor<T>& got, const Tensor<double>& want) {
    return test::detail::rms(test::detail::difference(test::to_double(got), want)) / test::detail::rms(want);
}

/// Where dy is 0, everything comes from the router: dx is one rounding of dz g.
template <class Real>
void check_accuracy(Context& context, Index T, Index D, Index C) {
    const auto all = test::joint_inputs(test::joint_shapes(D, 3, 3, 2, 2, C)(T));
    const auto narrow = [&](std::size_t n) {
        return test::tensor_on(context, test::convert_through_float<Real>(all[n]));
    };
    const auto w = test::convert<float>(all[5]), dz = test::random_tensor<float>({T, C}, 9);
    Tape tape(context);
    const auto x = tape.input(narrow(0));
    const auto router = tape.input(test::tensor_on(context, w));
    const auto reading = read_joint<Real>(tape, x, Weight<Real>(narrow(2)), router, test::kJointScale);
    const Var<Wide<Real>> weight(test::tensor_on(context, test::random_tensor<Wide<Real>>({T, 2}, 5)));
    const auto y = molora_joint<Real>(tape, reading, x, Weight<Real>(narrow(1)), Weight<Real>(narrow(3)),
                                      placed(test::joint_choices(T, 2, 2), context.device()), weight);
    copy_values(dz, reading.z.gradient()->target().tensor);
    copy_values(Tensor<Real>::zeros(y.shape()), y.gradient()->target().tensor);
    const auto z = host(reading.z.value());
    tape.backward();
    Tape exact(test::context());
    const auto in = exact.input(test::to_double(host(x.value()))), factor = exact.input(test::to_double(w));
    const auto want = linear(exact, in, factor);
    copy_values(test::to_double(dz), want.gradient()->target().tensor);
    exact.backward();
    CHECK(rms_error(z, want.value()) < 2e-7 * std::sqrt(D));
    CHECK(rms_error(host(router.gradient()->tensor()), factor.gradient()->tensor()) < 2e-7 * std::sqrt(T));
    const auto& dx = in.gradient()->tensor();
    const double rounding = std::is_same_v<Real, bf16> ? rms_error(test::rounded(dx), dx) : 2e-7;
    CHECK(rms_error(host(x.gradient()->tensor()), dx) < 1.02 * rounding);
}

}  // namespace

TEST_CASE("molora_joint: logits and the router's gradient are as accurate as float, dx as one rounding") {
    test::on_each_device([](Context& context) {
        for (const Index D : {8, 37, 1024}) {
            for (const Index C : {5, 13}) {
                CAPTURE(D);
                CAPTURE(C);
                check_accuracy<float>(context, 65, D, C);
                if (context.device() == Device::cuda) check_accuracy<bf16>(context, 65, D, C);
            }
        }
    });
}

TEST_CASE("molora_joint: what nobody chose contributes nothing and gets exact zeros") {
    test::on_each_device([](Context& context) {
        const Index T = 6, E = 3, D = 9, O = 5;
        const auto in = [&](const Shape& shape, int seed) {
            return test::tensor_on(context,
                                   test::random_tensor<float>(shape, static_cast<std::uint64_t>(seed)));
        };
        auto none = Tensor<std::int32_t>::zeros({T, 2}), some = Tensor<std::int32_t>::zeros({T, 2});
        for (Index i = 0; i < 2 * T; ++i) {
            none.data()[i] = static_cast<std::int32_t>(-1 - i % 3);
            some.data()[i] = static_cast<std::int32_t>(i % 2 == 0 ? 2 : -1);
        }
        auto large = test::random_tensor<float>({E, 2, D}, 2);
        std::fill_n(large.data(), 2 * D, 3e38f);  // u of expert 0 is infinite, where no token chooses it
        for (const auto& expert : {none, some}) {
            Tape tape(context);
            const auto x = tape.input(in({T, D}, 1)), A = tape.input(test::tensor_on(context, large)),
                       B = tape.input(in({E, O, 2}, 3)), router = tape.input(in({E, D}, 4)),
                       weight = tape.input(in({T, 2}, 5));
            const Var<float> w(in({O, D}, 6));
            const auto reading = read_joint<float>(tape, x, A, router, 2);
            const auto y =
                molora_joint<float>(tape, reading, x, w, B, placed(expert, context.device()), weight);
            const bool all = expert.data() == none.data();
            const auto plain = linear(tape, x, w);
            const auto got = host(y.value());
            if (all) CHECK(test::relative_error(got, host(plain.value())) < 1e-6);
            for (const float value : got.values()) CHECK(std::isfinite(value));
            copy_values(test::random_tensor<float>({T, O}, 7), y.gradient()->target().tensor);
            tape.backward();
            const auto dA = host(A.gradient()->tensor()), dB = host(B.gradient()->tensor());
            const auto dweight = host(weight.gradient()->tensor());
            for (Index i = 0; i < dA.size(); ++i) CHECK((dA.data()[i] == 0) == (all || i < 2 * 2 * D));
            for (Index i = 0; i < dB.size(); ++i) CHECK((dB.data()[i] == 0) == (all || i < 2 * O * 2));
            for (Index i = 0; i < 2 * T; ++i) CHECK((dweight.data()[i] == 0) == (expert.data()[i] < 0));
            CHECK_FALSE(router.gradient()->written());
        }
    });
}

namespace {

/// Inputs x, w, A, B, weight, router of 9 tokens; what is not learnt is a constant. asked: of y, of z.
struct Parts {
    std::size_t only = kAll;  // this input learns, or all
    int times = 1;            // the same step again, added to the gradients that are there
    bool y = true, z = true;  // which output has a gradient, that of z beside what it gets as a weight
    bool weigh = true;        // z is part of the weights
    Index T = 9, O = 8;
    static constexpr std::size_t kAll = 6;
};

/// The gradients of the inputs in double; empty where there is none.
template <class Real>
std::vector<Tensor<double>> gradients_of(Context& context, const Parts& parts, bool jointly = true) {
    using W = Wide<Real>;
    const auto in = test::joint_inputs(test::joint_shapes(16, parts.O, 3, 4, 2, 6)(parts.T));
    const auto var = [&]<class T, class G>(std::size_t n, T, G) {
        const auto value = test::tensor_on(context, test::convert_through_float<T>(in[n]));
        if (parts.only != n && parts.only != Parts::kAll) return Var<T, G>(value);
        const auto gradient = test::poisoned<G>(value.shape(), context.device());
        return Var<T, G>(value, std::make_shared<Gradient<G>>(gradient));
    };
    const auto x = var(0, Real(), Real());
    const auto w = var(1, Real(), W()), A = var(2, Real(), W()), B = var(3, Real(), W());
    const auto weight = var(4, W(), W()), router = var(5, W(), W());
    const auto expert = placed(test::joint_choices(parts.T, 2, 4), context.device());
    for (int n = 0; n < parts.times; ++n) {
        Tape tape(context);
        const auto reading = jointly ? read_joint<Real>(tape, x, A, router, test::kJointScale)
                                     : JointReading<Real>{wide_linear<Real>(tape, x, router), nullptr};
        const auto weights = parts.weigh ? add(tape, weight, take(tape, reading.z, expert)) : weight;
        const auto y =
            jointly ? molora_joint<Real>(tape, reading, x, w, B, expert, weights)
                    : molora_linear<Real>(tape, x, w, {A, B, test::kJointScale, {}}, expert, weights, {});
        const auto ask = [&]<class T>(const Var<T>& output, std::uint64_t seed) {
            if (!output.needs_gradient()) return;
            copy_values(test::convert_through_float<T>(test::random_tensor(output.shape(), seed)),
                        output.gradient()->target().tensor);
        };
        if (parts.y) ask(y, 8);
        if (parts.z) ask(reading.z, 9);
        tape.backward();
    }
    std::vector<Tensor<double>> all;
    const auto keep = [&](const auto& v) {
        const bool there = v.needs_gradient() && v.gradient()->written();
        all.push_back(there ? test::to_double(host(v.gradient()->tensor())) : Tensor<double>());
    };
    keep(x), keep(w), keep(A), keep(B), keep(weight), keep(router);
    return all;
}

/// check(context, number, bound) for each device and type: a GPU may sum other shapes in another order, and bf16 rounds dx.
template <class Check>
void on_each_type(const Check& check) {
    check(test::context(), double(), 1e-14);
    if (!has_cuda()) return;
    check(test::cuda_context(), float(), 1e-5);
    check(test::cuda_context(), bf16(), 1.0 / 64);
}

}  // namespace

TEST_CASE("molora_joint: any part may be frozen, the others keep their gradients") {
    on_each_type([]<class Real>(Context& context, Real, double bound) {
        const auto all = gradients_of<Real>(context, {});
        for (std::size_t only = 0; only < Parts::kAll; ++only) {
            CAPTURE(only);
            const auto some = gradients_of<Real>(context, {.only = only});
            CHECK(test::relative_error(some[only], all[only]) <= bound);
        }
    });
}

TEST_CASE("molora_joint: gradients of a second step are added") {
    on_each_type([]<class Real>(Context& context, Real, double bound) {
        for (const bool weigh : {true, false}) {
            const auto once = gradients_of<Real>(context, {.weigh = weigh}),
                       twice = gradients_of<Real>(context, {.times = 2, .weigh = weigh});
            for (std::size_t n = 0; n < once.size(); ++n) {
                CAPTURE(n);
                for (double& value : once[n].values()) value *= 2;
                CHECK(test::relative_error(twice[n], once[n]) <= (n == 0 ? bound : std::min(bound, 1e-5)));
            }
        }
    });
}

TEST_CASE("molora_joint: where dy is read once, parts are frozen and gradients added likewise") {
    if (!has_cuda()) return;
    const Index T = 64, O = 16392;
    REQUIRE(rank_cut(T, O, JointRanks<bf16>(4 * 3, 6).experts).slice == 128);
    const auto once = gradients_of<bf16>(test::cuda_context(), {.T = T, .O = O}),
               twice = gradients_of<bf16>(test::cuda_context(), {.times = 2, .T = T, .O = O});
    for (std::size_t n = 0; n < once.size(); ++n) {
        CAPTURE(n);
        const auto alone = gradients_of<bf16>(test::cuda_context(), {.only = n, .T = T, .O = O});
        CHECK(test::relative_error(alone[n], once[n]) <= 1.0 / 64);
        for (double& value : once[n].values()) value *= 2;
        CHECK(test::relative_error(twice[n], once[n]) <= (n == 0 ? 1.0 / 64 : 1e-5));
    }
}

TEST_CASE("molora_joint: only the router is asked, or only the experts") {
    on_each_type([]<class Real>(Context& context, Real, double bound) {
        for (const Parts& parts : {Parts{.y = false}, Parts{.z = false, .weigh = false}, Parts{.z = false},
                                   Parts{.weigh = false}}) {
            CAPTURE(parts.y);
            CAPTURE(parts.z);
            CAPTURE(parts.weigh);
            const auto got = gradients_of<Real>(context, parts),
                       want = gradients_of<Real>(context, parts, false);
            for (std::size_t n = 0; n < want.size(); ++n) {
                CAPTURE(n);
                REQUIRE(got[n].defined() == want[n].defined());
                if (want[n].defined()) CHECK(test::relative_error(got[n], want[n]) <= bound);
            }
        }
    });
}

TEST_CASE("molora_joint: choices and shapes that do not fit are errors, on a GPU reported") {
    const auto call = [](Context& context, const Tensor<std::int32_t>& expert) {
        Tape tape(context);
        const auto zeros = [&](const Shape& shape) {
            return Var<float>(Tensor<float>::zeros(shape, context.device()));
        };
        const auto x = zeros({2, 4});
        const auto reading = read_joint<float>(tape, x, zeros({2, 1, 4}), zeros({2, 4}), 1);
        molora_joint<float>(tape, reading, x, zeros({3, 4}), zeros({2, 3, 1}),
                            placed(expert, context.device()), zeros({2, 2}));
    };
    const auto beyond = Tensor<std::int32_t>::from({2, 2}, {0, 1, 2, -1}),
               twice = Tensor<std::int32_t>::from({2, 2}, {0, 1, 1, 1}),
               right = Tensor<std::int32_t>::from({2, 2}, {0, 1, -1, -1});
    CHECK_THROWS_WITH_AS(call(test::context(), beyond), doctest::Contains("expert 2 in slot 0 of token 1"),
                         Error);
    CHECK_THROWS_WITH_AS(call(test::context(), twice),
                         doctest::Contains("expert 1 in slots 0 and 1 of token 1"), Error);
    CHECK_THROWS_WITH_AS(call(test::context(), right.rows(0, 1)), doctest::Contains("expert [1, 2]"), Error);
    call(test::context(), right);
    if (!test::device_reports()) return;
    test::take_status();
    call(test::cuda_context(), right);
    CHECK(test::take_status().bad_index == 0);
    for (const auto& wrong : {beyond, twice}) {
        call(test::cuda_context(), wrong);
        CHECK(test::take_status().bad_index == 1);
    }
}
