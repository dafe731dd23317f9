// TextGuidedMoe (Parrot): values and gradients of PyTorch, one gate per image, both residual forms, every image its own pass.

#include <moegrad/nn/text_guided_moe.hpp>

#include "support/op_check_basics.hpp"

#include <doctest/doctest.h>

#include <cmath>

using namespace moegrad;

namespace {

constexpr Index kParrotT = 4, kParrotD = 3, kParrotE = 2, kParrotF = 2, kParrotN = 5;

/// 0.5 sin(0.7 i + shift): what the reference fills its tensors with.
template <class Real>
void fill_waves(const Tensor<Real>& values, double shift) {
    for (std::size_t i = 0; i < values.values().size(); ++i)
        values.values()[i] = static_cast<Real>(0.5 * std::sin(0.7 * static_cast<double>(i) + shift));
}

template <class Real>
struct ParrotCase {
    Context context;
    TextGuidedMoe<Real> moe;
    Tensor<Real> visual = Tensor<Real>::zeros({kParrotT, kParrotD}),
                 text = Tensor<Real>::zeros({kParrotN, kParrotD});

    explicit ParrotCase(Device device = Device::cpu)
        : context({.device = device, .threads = 1, .fill = Arena::Fill::poison}) {
        moe.name = "visual_moe";
        moe.gate = Gate<Real>(std::make_shared<Parameter<Real>>("gate.weight", Shape{kParrotE, kParrotD}));
        moe.experts = Experts<Real>("experts", kParrotE, kParrotD, kParrotF);
        fill_waves(visual, 0.1);
        fill_waves(text, 0.3);
        fill_waves(moe.gate.weight->value(), 0.5);
        fill_waves(moe.experts.gate_up.value(), 0.7);
        fill_waves(moe.experts.down.value(), 0.9);
        for (auto* p : moe.parameters()) {
            p->set_trainable(true);
            p->move_to(device);
        }
    }

    struct Result {
        Tensor<Real> y, p, dvisual, dtext, dgate;
        double sum_up = 0, sum_down = 0;
    };
    /// Images of the given numbers of tokens and of text rows.
    Result run(std::vector<Index> images, std::vector<std::int32_t> begin) {
        const Device device = context.device();
        const auto segments = placed(Segments::of_lengths(std::span<const Index>(images)), device);
        const auto token = Tensor<std::int32_t>::zeros({kParrotT}, device);
        Tape tape(context);
        Forward<Real> forward{tape, token, segments};
        const auto x = tape.input(placed(visual, device)), t = tape.input(placed(text, device));
        const auto rows = Tensor<std::int32_t>::from({static_cast<Index>(begin.size())}, begin);
        const auto y = moe(forward, x, {t, placed(rows, device)});
        Result result;
        result.y = host(y.value());
        const auto& routing = forward.routings.at(0).routing;
        const auto weight = host(routing.weight.value());
        const auto expert = host(routing.expert);
        result.p = Tensor<Real>::zeros(weight.shape());
        for (Index i = 0; i < weight.size(); ++i)
            result.p.data()[i / kParrotE * kParrotE + expert.data()[i]] = weight.data()[i];
        auto dy = Tensor<Real>::zeros(y.shape());
        fill_waves(dy, 1.1);
        copy_values(dy, y.gradient()->target().tensor);
        forward.routings.clear();
        tape.backward();
        result.dvisual = host(x.gradient()->tensor());
        result.dtext = host(t.gradient()->tensor());
        const auto of = [](Parameter<Real>& p) { return host(p.gradients().at(0)->tensor()); };
        result.dgate = of(*moe.gate.weight);
        const auto up = of(moe.experts.gate_up), down = of(moe.experts.down);
        for (const Real g : up.values()) result.sum_up += static_cast<double>(g);
        for (const Real g : down.values()) result.sum_down += static_cast<double>(g);
        for (auto* p : moe.parameters()) p->forget_gradients();
        return result;
    }
};

template <class Real>
void check_values(const Tensor<Real>& got, std::initializer_list<double> want, double room) {
    REQUIRE(got.size() == static_cast<Index>(want.size()));
    Index i = 0;
    for (const double value : want) CHECK(std::abs(static_cast<double>(got.data()[i++]) - value) <= room);
}

/// Two images of two tokens, with two and three rows of text (PyTorch 2, float64).
template <class Real>
void check_against_torch(Device device, double room) {
    ParrotCase<Real> parrot(device);
    const auto got = parrot.run({2, 2}, {0, 2, 5});
    check_values(got.y,
                 {-0.007759427, 0.027678376, 0.059841979, 0.039877532, 0.007675937, -0.023035872,
                  -0.062205694, -0.057327741, -0.014325982, -0.002562179, 0.029472566, 0.055945464},
                 room);
    check_values(got.p,
                 {0.566082994, 0.433917006, 0.566082994, 0.433917006, 0.478857919, 0.521142081, 0.478857919,
                  0.521142081},
                 room);
    check_values(got.dvisual,
                 {0.024688396, 0.028115048, 0.018318753, 0.002821638, -0.034542796, -0.055661213,
                  -0.057649096, -0.031452045, 0.009537394, 0.028821785, 0.032190535, 0.020419574},
                 room);
    check_values(got.dtext,
                 {1.8807e-05, -0.001676515, -0.002583346, 6.5239e-05, -0.00086235, -0.001384362, 0.000115306,
                  0.001152387, 0.001647481, -0.000231318, 0.000371985, 0.000800338, 3.9449e-05, 0.000788455,
                  0.001166638},
                 room);
    check_values(got.dgate, {-0.001348823, -0.001499847, -0.00094547, 0.001348823, 0.001499847, 0.00094547},
                 room);
    CHECK(got.sum_up == doctest::Approx(-0.02509625432500427).epsilon(10 * room));
    CHECK(got.sum_down == doctest::Approx(-0.11877180656607839).epsilon(10 * room));
}

}  // namespace

TEST_CASE("parrot: values and gradients of PyTorch, in double, in float and on a GPU") {
    check_against_torch<double>(Device::cpu, 2e-9);
    check_against_torch<float>(Device::cpu, 2e-6);
    if (has_cuda()) check_against_torch<float>(Device::cuda, 2e-6);
}

TEST_CASE("parrot: p is the same for all tokens of an image") {
    ParrotCase<double> parrot;
    const auto p = parrot.run({3, 1}, {0, 2, 5}).p;
    for (Index t = 1; t < 3; ++t) {
        for (Index e = 0; e < kParrotE; ++e) CHECK(p.matrix()(t, e) == p.matrix()(0, e));
    }
    CHECK(p.matrix()(3, 0) != p.matrix()(0, 0));
}

TEST_CASE("parrot: the weight stands on the identity (code) or on the experts (paper)") {
    ParrotCase<double> parrot;
    const auto code = parrot.run({2, 2}, {0, 2, 5}).y;
    parrot.moe.residual = TextGuidedResidual::expert;
    parrot.moe.weight = 0.3;
    const auto paper = parrot.run({2, 2}, {0, 2, 5}).y;
    check_values(paper,
                 {0.046091379, 0.356221217, 0.501737662, 0.404084015, 0.118338706, -0.221533177, -0.463002188,
                  -0.482276595, -0.271380283, 0.055757711, 0.362391754, 0.501077162},
                 2e-9);
    // code = M + 0.1 H and paper = H + 0.3 M, so paper = H + 0.3 (code - 0.1 H).
    for (Index i = 0; i < code.size(); ++i) {
        const double H = parrot.visual.data()[i];
        CHECK(paper.data()[i] == doctest::Approx(H + 0.3 * (code.data()[i] - 0.1 * H)).epsilon(1e-12));
    }
}

TEST_CASE("parrot: every image makes a pass of its own, also where a sample has several") {
    ParrotCase<double> parrot;
    const auto both = parrot.run({2, 2}, {0, 2, 5}).y;
    // The first image again, beside another one with other text.
    const auto other = parrot.run({2, 1, 1}, {0, 2, 3, 5}).y;
    for (Index i = 0; i < 2 * kParrotD; ++i) CHECK(other.data()[i] == both.data()[i]);
}

TEST_CASE("parrot: with zero experts and the weight on them, the start is the identity") {
    ParrotCase<double> parrot;
    parrot.moe.residual = TextGuidedResidual::expert;
    parrot.moe.weight = 1;
    for (double& value : parrot.moe.experts.down.value().values()) value = 0;
    const auto y = parrot.run({4}, {0, 5}).y;
    for (Index i = 0; i < y.size(); ++i) CHECK(y.data()[i] == parrot.visual.data()[i]);
}

TEST_CASE("parrot: text of another number of images is an error that says so") {
    ParrotCase<double> parrot;
    try {
        parrot.run({2, 2}, {0, 5});
        FAIL("no error");
    } catch (const Error& error) {
        CHECK(error.expected == "text of 2 images");
        CHECK(error.got == "of 1");
    }
}

TEST_CASE("parrot: an image without tokens is an error that names it") {
    ParrotCase<double> parrot;
    CHECK_THROWS_WITH_AS(parrot.run({2, 0, 2}, {0, 2, 3, 5}), doctest::Contains("none in image 1"), Error);
}
