// noisy_top_k: values and gradients with its noise, what it starts from, and what its penalties are worth.

#include "support/routing_golden.hpp"

#include <doctest/doctest.h>

using namespace moegrad;

namespace {

NoisyTopKRouter<double> noisy_router(const Tensor<double>& gate, const Tensor<double>& noise, Index k) {
    NoisyTopKRouter<double> router;
    router.gate = test::gate_of(gate);
    router.noise_gate = Gate<double>(test::parameter_of(noise, "noise"));
    router.k = k;
    router.seed = 5;
    return router;
}

const Tensor<double> kNoisyX =
    Tensor<double>::from({5, 3}, {1.541, -0.293, -2.179, 0.568, -1.085, -1.399, 0.403, 0.838, -0.719, -0.403,
                                  -0.597, 0.182, -0.857, 1.101, -1.071});
const Tensor<double> kNoisyGate = Tensor<double>::from(
    {4, 3}, {0.123, -0.566, 0.373, -0.892, -1.509, 0.37, 1.457, 0.94, 0.775, 0.192, 1.264, -1.29});
const Tensor<double> kNoisyNoise = Tensor<double>::from(
    {4, 3}, {-0.554, -0.015, -0.503, 0.363, -0.919, 0.134, 0.38, -1.553, 0.181, -0.721, -0.351, 0.191});

void noisy_close(const Tensor<double>& got, const std::vector<double>& want) {
    REQUIRE(got.values().size() == want.size());
    for (std::size_t i = 0; i < want.size(); ++i) CHECK(std::abs(got.values()[i] - want[i]) < 1e-12);
}

/// dx, dW_g and dW_n in training, at step 0, of the weights or of a penalty.
void check_noisy_gradients(const std::string& of, const std::vector<double>& dx,
                           const std::vector<double>& dgate, const std::vector<double>& dnoise) {
    CAPTURE(of);
    AnyRouter<double> router = noisy_router(kNoisyGate, kNoisyNoise, 2);
    const auto batch = test::batch_of(kNoisyX);
    const auto G = Tensor<double>::from({5, 2}, {1, -.5, .25, 2, .3, 1, -1, .7, .6, .1});
    noisy_close(
        of == "task" ? test::task_gradient(router, batch, G) : test::penalty_gradient(router, batch, of), dx);
    const auto learned = test::parameter_gradients(router);
    noisy_close(learned.at(0), dgate);
    noisy_close(learned.at(1), dnoise);
}

}  // namespace

TEST_CASE("noisy_top_k golden: choice, weights and penalties with the noise of Philox, by PyTorch") {
    // Philox and Box-Muller in Python (seed 5, module 0, step 0); torch, float64: softplus, topk, softmax, scatter,
    // Normal.cdf, var / mean^2; autograd.
    AnyRouter<double> router = noisy_router(kNoisyGate, kNoisyNoise, 2);
    const auto got = test::decide_and_learn(router, test::batch_of(kNoisyX));
    const std::vector<std::int32_t> choice{3, 2, 2, 1, 3, 2, 1, 0, 3, 1};
    for (std::size_t i = 0; i < 10; ++i) CHECK(got.expert.values()[i] == choice[i]);
    noisy_close(got.weight, {0.683513345978545, 0.316486654021455, 0.61472287250947, 0.385277127490531,
                             0.73454837624019, 0.265451623759809, 0.746961155080515, 0.253038844919485,
                             0.957561773755315, 0.0424382262446854});
    noisy_close(test::penalty_value(got, "importance"), {0.48415540490572});
    noisy_close(test::penalty_value(got, "load"), {0.16915628506615});
    check_noisy_gradients(
        "task",
        {-0.532795490306421, 0.619099751441364, -0.730601762300952, -1.13597626382523, -0.263084483469397,
         -0.251292550900678, 0.157164291750987, -0.0560643292516405, 0.286655436125597, 0.138150959013049,
         0.493807000363245, -0.128467133373486, 0.0247954290844432, 0.0638518896621357, -0.0357566254517703},
        {-0.129490879717477, -0.191826439680729, 0.0584797521304736, 0.38232156040581, -0.28024176215559,
         -0.616558774630369, -0.68044205319294, 0.659150712781503, 1.18875450988985, 0.427611372504607,
         -0.187082510945184, -0.630675487389955},
        {-0.0810565243263662, -0.120076290379257, 0.0366061722764234, 0.178633642833596, -0.0499462058471195,
         -0.251132588713161, -0.835095224514905, 0.724506079304836, 1.52410549734346, 0.00833830996973489,
         0.0130058282635415, 4.10443388614354e-05});
    check_noisy_gradients(
        "importance",
        {-0.178672589079026, 0.207614661724318, -0.245006781834686, 0.00608890657711878, 0.00141014992367928,
         0.00134694439900334, -0.112939143343873, 0.0402881420918527, -0.205992207455012, -0.0319561103364174,
         -0.114223969932867, 0.0297161157476917, 0.0254105564606755, 0.0654359334478504, -0.0366436792358432},
        {0.0299529215676354, 0.044371945845852, -0.0135271258692547, -0.0133697406085639, -0.064887306611816,
         0.0389361950829785, -0.205950455145755, -0.0527211308358108, 0.304522940230201, 0.189367274186683,
         0.0732364916017748, -0.329932009443925},
        {0.0187494263765133, 0.0277752048307157, -0.00846748287971568, -0.0151991099703291,
         -0.0345583689298688, 0.0162217645996171, -0.169489039922371, 0.0275807972314501, 0.238083451266151,
         -0.00294397060527546, -0.0208376230639717, 0.0222157223813512});
    check_noisy_gradients("load",
                          {-0.00174235690260062, -0.00952652791891653, 0.000342562268045497,
                           0.0351290916895038, 0.192022277263468, -0.119095915186631, 0.0216043189078131,
                           0.0167378618266854, 0.0105150442390407, 0.14176053659753, 0.0660700124485932,
                           0.0298876194261379, 0.109711247448795, 0.119030253035079, 0.0286270227665505},
                          {0.0514383665228987, 0.0149011855063078, 0.0835794017818071, -0.00361517068877453,
                           0.0420066821407424, 0.0843492947119704, -0.0925942340436466, 0.0338052508515916,
                           -0.0545771894275899, 0.0447710382095225, -0.0907131184986418, -0.113351507066187},
                          {-0.0256053763869369, 4.99410132396094e-05, 0.0537531035474053, -0.011919408471551,
                           3.2877401935552e-05, 0.0194164897495549, -0.0139030136410622, -0.0258062555777488,
                           0.0030320031652888, 0.0180173681425344, -0.0420011113504974, -0.0488735006456463});
}

TEST_CASE("noisy_top_k: without training it is top-k, to the bit; noise changes with the step") {
    const auto batch = test::random_batch<double>(3, {40}, 1);
    AnyRouter<double> noisy = noisy_router(kNoisyGate, kNoisyNoise, 2);
    AnyRouter<double> top = TopKRouter<double>{.gate = test::gate_of(kNoisyGate), .k = 2};
    const auto want = test::decide(top, batch), got = test::decide(noisy, batch);
    CHECK(test::same_values(got.expert, want.expert));
    CHECK(test::same_values(got.weight, want.weight));
    const auto first = test::decide_and_learn(noisy, batch), again = test::decide_and_learn(noisy, batch);
    CHECK(test::same_values(first.expert, again.expert));
    CHECK_FALSE(test::same_values(first.expert, want.expert));
    test::routing_context().scalars().step = 1;
    CHECK_FALSE(test::same_values(test::decide_and_learn(noisy, batch).expert, first.expert));
    test::routing_context().scalars().step = 0;
}

TEST_CASE("noisy_top_k: from zero gates every expert is drawn equally often") {
    const auto zeros = Tensor<double>::zeros({4, 3});
    AnyRouter<double> router = noisy_router(zeros, zeros, 2);
    const auto got = test::decide_and_learn(router, test::random_batch<double>(3, {8000}, 2));
    for (const auto n : got.stats.slots()) CHECK(std::abs(static_cast<double>(n) - 4000) < 200);
    CHECK(test::penalty_value(got, "importance").data()[0] < 1e-3);
    CHECK(test::penalty_value(got, "load").data()[0] < 1e-3);
}

TEST_CASE(
    "noisy_top_k: one expert that gets everything costs E; K = 1 learns by the penalties alone; K = E has no "
    "load") {
    // Logits far apart: expert 0 always wins.
    auto gate = Tensor<double>::zeros({4, 3});
    gate.matrix()(0, 0) = 50;
    auto batch = test::random_batch<double>(3, {20}, 3);
    for (Index t = 0; t < 20; ++t) batch.x.matrix()(t, 0) = 1 + std::abs(batch.x.matrix()(t, 0));
    AnyRouter<double> one = noisy_router(gate, Tensor<double>::zeros({4, 3}), 1);
    const auto got = test::decide_and_learn(one, batch);
    CHECK(test::penalty_value(got, "importance").data()[0] == doctest::Approx(4));
    CHECK(test::penalty_value(got, "load").data()[0] == doctest::Approx(4));
    AnyRouter<double> drawn = noisy_router(kNoisyGate, kNoisyNoise, 1);
    const auto ones = Tensor<double>::from({5, 1}, {1, 2, 3, 4, 5});
    const auto dtask = test::task_gradient(drawn, test::batch_of(kNoisyX), ones);
    for (double g : dtask.values()) CHECK(g == 0);
    const auto dload = test::penalty_gradient(drawn, test::batch_of(kNoisyX), "load");
    CHECK(std::any_of(dload.values().begin(), dload.values().end(), [](double g) { return g != 0; }));
    AnyRouter<double> all = noisy_router(kNoisyGate, kNoisyNoise, 4);
    CHECK(test::penalty_value(test::decide_and_learn(all, batch), "load").data()[0] == 0);
}

TEST_CASE("noisy_top_k: a new gate starts at zero, a checkpoint's stays; W_n starts at zero") {
    for (const bool fresh : {false, true}) {
        Gate<double> gate(
            test::parameter_of(kNoisyGate, fresh ? "layer.router.gate.weight" : "layer.gate.weight"));
        auto router = NoisyTopKRouter<double>::make(
            {.path = "layer.router", .experts = 4, .features = 3, .gate = std::move(gate)});
        CHECK(router.gate.weight->value().data()[0] == (fresh ? 0 : kNoisyGate.data()[0]));
        for (double w : router.noise_gate.weight->value().values()) CHECK(w == 0);
        CHECK(router.noise_gate.weight->name() == "layer.router.noise.weight");
    }
}
