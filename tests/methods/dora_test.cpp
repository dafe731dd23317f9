// DoRA: identity at the start, the golden numbers of PEFT, what is held constant, and the rule of its dropout.

#include "support/nf4_small.hpp"
#include "support/routing_models.hpp"

#include <moegrad/methods/dora.hpp>
#include <moegrad/models/quantised.hpp>

#include <doctest/doctest.h>

using namespace moegrad;

namespace {

AdapterSpec dora_spec(double dropout = 0) {
    AdapterSpec spec;
    spec.set_method("dora");
    spec.lora = {.rank = 3, .alpha = 6, .dropout = dropout};
    spec.targets = {"attention", "mlp"};
    spec.seed = 4;
    return spec;
}

/// A Linear of tests: 3 columns, 2 rows, rank 2, alpha 3.
struct DoraLinear {
    Linear<double> linear{"k_proj.weight", 2, 3};
    Dora<double>* dora = nullptr;

    explicit DoraLinear(double dropout = 0) {
        put(linear.weight, {-0.75, -0.125, 0.5, -0.5, 0.125, 0.75});
        auto made = std::make_unique<Dora<double>>(
            linear, LoraOptions{.rank = 2, .alpha = 3, .dropout = dropout}, 1, 7);
        dora = made.get();
        linear.adapter = std::move(made);
    }
    /// Values that are exact in binary.
    void move() {
        put(dora->lora().A, {-0.75, -0.375, 0.0, 0.375, 0.75, -0.5});
        put(dora->lora().B, {-0.75, -0.25, 0.25, 0.75});
        put(dora->magnitude(), {1.25, 0.75});
    }
    static void put(Parameter<double>& parameter, std::initializer_list<double> values) {
        std::copy(values.begin(), values.end(), parameter.value().values().begin());
    }
};

struct DoraOutcome {
    Tensor<double> y, dx;
};

const Tensor<double> dora_x = Tensor<double>::from({2, 3}, {-0.75, 0.0, 0.75, -0.25, 0.5, -0.5});
const Tensor<double> dora_dy = Tensor<double>::from({2, 2}, {-1.25, 0.0, 1.25, -0.25});

DoraOutcome run_dora(DoraLinear& one) {
    Tape tape(test::routing_context());
    const auto token = Tensor<std::int32_t>::zeros({2});
    const auto segments = Segments::of_lengths({2});
    Forward<double> forward{tape, token, segments};
    const auto x = Var<double>(dora_x, std::make_shared<Gradient<double>>(Tensor<double>::zeros({2, 3})));
    const auto y = one.linear(forward, x);
    copy_values(dora_dy, y.gradient()->target().tensor);
    DoraOutcome outcome{test::copy_of(y.value()), {}};
    tape.backward();
    outcome.dx = x.gradient()->tensor();
    return outcome;
}

void check_dora_close(const Tensor<double>& got, std::initializer_list<double> want) {
    REQUIRE(got.size() == static_cast<Index>(want.size()));
    Index i = 0;
    for (const double value : want) CHECK(got.data()[i++] == doctest::Approx(value).epsilon(1e-12));
}

}  // namespace

TEST_CASE("dora: step-0 exactness, to the bit in float and in double, with NF4 too") {
    const auto check = []<class Real>(Real, [[maybe_unused]] bool nf4) {
        auto base = test::tiny_llama<Real>(), model = test::tiny_llama<Real>();
        if constexpr (std::is_same_v<Real, float>) {
            if (nf4) test::quantise_weights(base), test::quantise_weights(model);
        }
        attach(model, dora_spec());
        const auto batch = test::random_tokens({5, 3}, 40, 2);
        const auto a = test::model_logits<Real>(base, batch), b = test::model_logits<Real>(model, batch);
        CHECK(test::largest_difference(a, b) == 0);
    };
    check(0.0f, false);
    check(0.0, false);
    check(0.0f, true);
}

TEST_CASE("dora golden: PEFT 0.21.2 with use_dora, forward and every gradient") {
    // peft.LoraConfig(r=2, lora_alpha=3, use_dora=True) over nn.Linear(3, 2, bias=False) in float64.
    DoraLinear one;
    check_dora_close(one.dora->magnitude().value(), {0.9100137361600648, 0.9100137361600648});
    one.move();
    const auto outcome = run_dora(one);
    check_dora_close(outcome.y,
                     {0.9988441177466282, 0.33363852132097627, -0.587972069311845, 0.33363852132097627});
    check_dora_close(total_gradient(one.dora->magnitude()), {-1.5868161870584732, -0.11121284044032544});
    check_dora_close(total_gradient(one.dora->lora().A),
                     {-1.2560550919536457, -1.3132502670372417, 3.2259304925095083, -0.36784487502135216,
                      -0.5394304002721401, 1.1769904754295624});
    check_dora_close(total_gradient(one.dora->lora().B),
                     {-1.9126802254722668, 4.0378804759970075, 0.0, -0.1620529960701885});
    check_dora_close(outcome.dx, {0.10626001252623696, -0.0354200041754123, -1.5584801837181432,
                                  -0.033177288808308836, -0.13298801134850913, 1.520350066995746});
}

TEST_CASE("dora: dm equals finite differences, with the norm held as it does not depend on m") {
    auto model = test::tiny_llama<double>();
    attach(model, dora_spec());
    test::disturb(model, 0.1, 3);
    test::Objective objective(model, test::random_tokens({5, 4}, 40, 2), 0);
    objective.backward();
    for (const char* name :
         {"0.self_attn.q_proj.lora_magnitude_vector", "1.mlp.down_proj.lora_magnitude_vector"}) {
        auto& m = test::parameter_named(model, name);
        const auto gradient = total_gradient(m);
        for (std::size_t i = 0; i < gradient.values().size(); ++i) {
            const double numeric = objective.numeric(m.value().values()[i]);
            CHECK(std::abs(gradient.values()[i] - numeric) < 1e-7 + 1e-6 * std::abs(numeric));
        }
    }
}

TEST_CASE("dora: dA and dB are those of a norm that is a constant") {
    // The same function with n frozen at its value: central differences of it, not of the true one.
    DoraLinear one;
    one.move();
    run_dora(one);
    const auto n = host(lora_norm<double>(test::routing_context(), matrix_of(one.linear.weight),
                                          {one.dora->lora().A.use(), one.dora->lora().B.use(), 1.5}));
    const auto held = [&](Tape& tape, const std::vector<Var<double>>& in) {
        const auto y = lora_linear<double>(tape, Var<double>(dora_x), matrix_of(one.linear.weight),
                                           {in[0], in[1], 1.5}, {});
        return std::vector{scale_columns(tape, y, one.dora->magnitude().use(), n)};
    };
    const auto loss = [&](Tensor<double>& moved, Index i, double by) {
        const double kept = moved.data()[i];
        moved.data()[i] += by;
        Tape tape(test::routing_context(), Mode::inference);
        const auto y =
            held(tape, {Var<double>(one.dora->lora().A.value()), Var<double>(one.dora->lora().B.value())})[0];
        moved.data()[i] = kept;
        double sum = 0;
        for (Index j = 0; j < 4; ++j) sum += y.value().data()[j] * dora_dy.data()[j];
        return sum;
    };
    for (auto* parameter : {&one.dora->lora().A, &one.dora->lora().B}) {
        const auto gradient = total_gradient(*parameter);
        Tensor<double> values = parameter->value();
        for (Index i = 0; i < values.size(); ++i) {
            const double numeric = (loss(values, i, 1e-5) - loss(values, i, -1e-5)) / 2e-5;
            CHECK(gradient.data()[i] == doctest::Approx(numeric).epsilon(1e-7));
        }
    }
}

TEST_CASE("dora: dropout leaves the base product alone and drops the change") {
    // y = W x + (m/n - 1) W x~ + (m/n) s B A x~ with the mask of ops/dropout.hpp, by hand.
    DoraLinear one(0.5);
    one.move();
    test::routing_context().scalars().step = 3;
    const auto outcome = run_dora(one);
    Tape tape(test::routing_context());
    const auto x = tape.input(dora_x);
    const auto kept = dropout(tape, x, Segments::of_lengths({2}), {0.5, 7});
    CHECK(test::largest_difference(kept.value(), dora_x) > 0);
    const auto n = host(lora_norm<double>(test::routing_context(), matrix_of(one.linear.weight),
                                          {one.dora->lora().A.use(), one.dora->lora().B.use(), 1.5}));
    const auto W = one.linear.weight.value().view<2>(), A = one.dora->lora().A.value().view<2>(),
               B = one.dora->lora().B.value().view<2>();
    for (Index t = 0; t < 2; ++t) {
        for (Index o = 0; o < 2; ++o) {
            const double factor = one.dora->magnitude().value().data()[o] / n.data()[o];
            double y = 0;
            for (Index d = 0; d < 3; ++d) {
                const double dropped = kept.value().view<2>()(t, d);
                y += W(o, d) * dora_x.view<2>()(t, d) + (factor - 1) * W(o, d) * dropped;
                for (Index r = 0; r < 2; ++r) y += factor * 1.5 * B(o, r) * A(r, d) * dropped;
            }
            CHECK(outcome.y.view<2>()(t, o) == doctest::Approx(y).epsilon(1e-12));
        }
    }
    one.dora->clear_dropout();
    check_dora_close(run_dora(one).y,
                     {0.9988441177466282, 0.33363852132097627, -0.587972069311845, 0.33363852132097627});
}

TEST_CASE("dora: what trains, and the experts of a Mixtral are refused by name") {
    auto model = test::tiny_llama<float>();
    attach(model, dora_spec());
    CHECK(trainable_parameters(model).size() == 2 * 7 * 3);
    auto mixtral = test::tiny_mixtral<float>();
    auto spec = dora_spec();
    spec.targets = {"attention"};
    attach(mixtral, spec);
    CHECK(trainable_parameters(mixtral).size() == 2 * 4 * 3);
    auto refused = test::tiny_mixtral<float>();
    spec.targets = {"attention", "experts"};
    CHECK_THROWS_WITH_AS(attach(refused, spec), doctest::Contains("Linears for method dora"), Error);
    spec.targets = {"attention"};
    spec.options = "rank=3";
    auto optioned = test::tiny_mixtral<float>();
    CHECK_THROWS_WITH_AS(attach(optioned, spec), doctest::Contains("rank"), Error);
}
