// Penalties, acceptance item of methods.md 14: total == CE + sum coef * aux. What a step reports are the terms, raw; what it
// trains is their sum, each once.

#include <doctest/doctest.h>

#include <moegrad/train/trainer.hpp>

#include "support/model_small.hpp"

using namespace moegrad;

namespace {

using Coefficients = std::map<std::string, double>;

/// One step at rate 0: its report, and the gradients of all trainable parameters, one behind the other.
struct TotalStep {
    StepReport report;
    std::vector<double> gradient;
    double evaluated = 0;
};

/// move: what is added to the trainable parameters before it.
TotalStep total_step(const Coefficients& coefficients, Index micro_batch = 8,
                     const std::vector<double>& move = {}) {
    const auto model = test::small_model<double>(test::small_config(ModelFamily::mixtral));
    AdapterSpec spec;
    spec.lora = {.rank = 4, .alpha = 8};
    spec.gate = GateMode::full;
    spec.balance = BalanceLoss::switch_share;
    spec.z_loss = true;
    attach(*model, spec);
    Context context({.device = Device::cpu, .threads = 1});
    Trainer<double> trainer(context, *model, {"balance", "z"}, {.clip = 0, .micro_batch = micro_batch});
    auto at = move.begin();
    for (auto* parameter : trainer.parameters()) {
        if (move.empty()) break;
        for (double& value : parameter->value().values()) value += *at++;
    }
    const std::vector<std::int32_t> picks{0, 1, 2, 3, 4, 5, 6, 7};
    const auto data = test::ragged_samples(8, 48);
    TotalStep step;
    step.report = trainer.step(data, picks, 0, coefficients);
    for (auto* parameter : trainer.parameters()) {
        const auto gradient = total_gradient(*parameter);
        step.gradient.insert(step.gradient.end(), gradient.values().begin(), gradient.values().end());
    }
    step.evaluated = trainer.evaluate(data);
    return step;
}

double total_of(const StepReport& report, const Coefficients& coefficients) {
    double total = report.cross_entropy;
    for (const auto& [name, c] : coefficients) total += c * report.penalties.at(name);
    return total;
}

double squares(const std::vector<double>& values) {
    double sum = 0;
    for (const double value : values) sum += value * value;
    return sum;
}

/// max |a - (b + c d)| over max |a|.
double apart_from_sum(const std::vector<double>& a, const std::vector<double>& b, double c,
                      const std::vector<double>& d) {
    double worst = 0, largest = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
        worst = std::max(worst, std::abs(a[i] - (b[i] + c * d[i])));
        largest = std::max(largest, std::abs(a[i]));
    }
    return worst / largest;
}

std::vector<double> gradient_alone(const TotalStep& with, const TotalStep& without) {
    auto all = with.gradient;
    for (std::size_t i = 0; i < all.size(); ++i) all[i] -= without.gradient[i];
    return all;
}

}  // namespace

TEST_CASE("penalties acceptance: total == CE + sum coef * aux: the report's terms are raw, to the bit") {
    const auto plain = total_step({});
    CHECK(plain.report.penalties.at("balance") > 0.5);
    CHECK(plain.report.penalties.at("z") > 0.5);
    CHECK(plain.report.cross_entropy == plain.evaluated);  // nothing is folded into either
    for (const Coefficients& coefficients :
         {Coefficients{{"balance", 1}}, Coefficients{{"z", 1}}, Coefficients{{"balance", 0.3}, {"z", 7}}}) {
        for (const Index micro_batch : {8, 3}) {
            const auto step = total_step(coefficients, micro_batch);
            CHECK(step.report.cross_entropy == plain.report.cross_entropy);
            CHECK(step.report.penalties == plain.report.penalties);
            double total = step.report.cross_entropy;
            for (const auto& [name, value] : step.report.weighted()) total += value;
            CHECK(total == doctest::Approx(total_of(plain.report, coefficients)).epsilon(1e-15));
            CHECK(step.evaluated == plain.evaluated);
        }
    }
}

TEST_CASE("penalties acceptance: total == CE + sum coef * aux: a step trains by the gradient of that sum") {
    const auto plain = total_step({});
    const auto balance = gradient_alone(total_step({{"balance", 1}}), plain);
    const auto z = gradient_alone(total_step({{"z", 1}}), plain);
    auto sum = plain.gradient;
    for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += 0.3 * balance[i];
    const auto total = total_step({{"balance", 0.3}, {"z", 7}});
    CHECK(apart_from_sum(total.gradient, sum, 7, z) <= 1e-13);
    // And each of them once: along its own gradient g the total rises by |g|^2 per unit.
    for (const Coefficients& coefficients :
         {Coefficients{}, Coefficients{{"balance", 1}}, Coefficients{{"z", 1}}}) {
        const auto gradient =
            coefficients.empty() ? plain.gradient : gradient_alone(total_step(coefficients), plain);
        const double h = 1e-5 / std::sqrt(squares(gradient));
        const auto total_at = [&](double distance) {
            auto move = gradient;
            for (double& value : move) value *= distance;
            const auto report = total_step({}, 8, move).report;
            return total_of(report, coefficients) - (coefficients.empty() ? 0 : report.cross_entropy);
        };
        const double slope = (total_at(h) - total_at(-h)) / (2 * h);
        CHECK(slope == doctest::Approx(squares(gradient)).epsilon(1e-6));
    }
}
