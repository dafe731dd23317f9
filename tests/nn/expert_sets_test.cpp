// Expert sets that methods bring: the same numbers on every device, and what a router that is always on says.

#include <moegrad/nn/adapter_experts.hpp>
#include <moegrad/nn/always_router.hpp>
#include <moegrad/nn/lora_experts.hpp>
#include <moegrad/nn/mix_lora_experts.hpp>

#include "support/grouped_reference.hpp"

using namespace moegrad;

namespace {

constexpr Index kSetWidth = 24, kSetHidden = 40, kSetTokens = 21;

enum class SetKind { lora, adapter, mix_lora };

/// Values, input and weight gradients, then those of the parameters, as double.
using SetResult = std::vector<Tensor<double>>;

template <class Real>
void fill_set(Parameter<Wide<Real>>& parameter, std::uint64_t seed) {
    set_values<Real>(parameter, test::random_tensor<Wide<Real>>(parameter.shape(), seed, 0.3));
}

template <class Real>
std::unique_ptr<ExpertSet<Real>> expert_set(SetKind kind, FeedForward<Real>& dense, double rate) {
    const LoraOptions options{.rank = 8, .alpha = 8, .dropout = rate};
    const auto lora = [&](Index out, Index in, std::uint32_t module) {
        return LoraParameters<Real>(format("set.{}", module), test::kRoutedExperts, out, in, options, 1,
                                    module);
    };
    if (kind == SetKind::lora) return std::make_unique<LoraExperts<Real>>(lora(kSetWidth, kSetWidth, 3));
    if (kind == SetKind::adapter) {
        return std::make_unique<AdapterExperts<Real>>("set", test::kRoutedExperts, 8, kSetWidth,
                                                      Dropout{rate, 3});
    }
    return std::make_unique<MixLoraExperts<Real>>(
        dense,
        typename MixLoraExperts<Real>::Adapters{
            lora(kSetHidden, kSetWidth, 3), lora(kSetHidden, kSetWidth, 4), lora(kSetWidth, kSetHidden, 5)});
}

template <class Real>
SetResult run_set(Context& context, SetKind kind, double rate) {
    FeedForward<Real> dense("mlp", kSetWidth, kSetHidden);
    const auto set = expert_set<Real>(kind, dense, rate);
    std::uint64_t seed = 10;
    std::vector<Parameter<Wide<Real>>*> all{&dense.gate.weight, &dense.up.weight, &dense.down.weight};
    for (auto* parameter : set->parameters()) all.push_back(parameter);
    for (auto* parameter : all) {
        fill_set<Real>(*parameter, ++seed);
        parameter->move_to(context.device());
    }
    Tape tape(context);
    const auto on = [&](const auto& tensor) { return test::tensor_on(context, tensor); };
    const auto x =
        tape.input(on(test::convert_through_float<Real>(test::random_tensor({kSetTokens, kSetWidth}, 1))));
    const auto weight =
        tape.input(on(test::convert<Wide<Real>>(test::random_tensor({kSetTokens, test::kRoutedSlots}, 2))));
    const Tensor<std::int32_t> no_tokens;
    const auto segments = test::routed_segments(tape, kSetTokens);
    Forward<Real> forward{tape, no_tokens, segments};
    const auto y = set->forward(forward, x, on(test::routed_experts(kSetTokens, false)), weight);
    copy_values(on(test::convert_through_float<Real>(test::random_tensor(y.shape(), 3))),
                y.gradient()->target().tensor);
    tape.backward();
    SetResult result{test::to_double(host(y.value())), test::to_double(host(x.gradient()->tensor())),
                     test::to_double(host(weight.gradient()->tensor()))};
    for (auto* parameter : set->parameters()) {
        result.push_back(test::to_double(host(parameter->gradients().at(0)->tensor())));
    }
    return result;
}

void check_set(const SetResult& got, const SetResult& want, double bound) {
    REQUIRE(got.size() == want.size());
    for (std::size_t i = 0; i < want.size(); ++i) {
        INFO("result ", i);
        const auto flat = want[i].reshape({want[i].size()});
        CHECK(test::relative_error(got[i].reshape({want[i].size()}), flat) < bound);
        CHECK(std::any_of(flat.values().begin(), flat.values().end(), [](double v) { return v != 0; }));
    }
}

}  // namespace

TEST_CASE("expert sets: float and bf16 against double, on every device, with and without dropout") {
    for (const SetKind kind : {SetKind::lora, SetKind::adapter, SetKind::mix_lora}) {
        for (const double rate : {0.0, 0.3}) {
            CAPTURE(static_cast<int>(kind));
            CAPTURE(rate);
            const auto want = run_set<double>(test::context(), kind, rate);
            test::on_each_device(
                [&](Context& context) { check_set(run_set<float>(context, kind, rate), want, 1e-5); });
            if (has_cuda()) check_set(run_set<bf16>(test::cuda_context(), kind, rate), want, 3e-2);
        }
    }
}

TEST_CASE("always router: every expert with weight 1, nothing for padding") {
    test::on_each_device([](Context& context) {
        AnyRouter<float> router = AlwaysRouter<float>{3};
        auto segments = Segments::of_lengths({5});
        segments.valid.data()[3] = 0;
        const auto there = placed(segments, context.device());
        const Tensor<std::int32_t> no_tokens;
        Tape tape(context);
        const Var<float> x(test::tensor_on(context, test::random_tensor<float>({5, 4}, 1)));
        const auto routing = router.route(tape, {.x = x, .token = no_tokens, .segments = there});
        const auto expert = host(routing.expert);
        const auto weight = host(routing.weight.value());
        for (Index t = 0; t < 5; ++t) {
            for (Index j = 0; j < 3; ++j) {
                CHECK(expert.data()[3 * t + j] == (t == 3 ? kUnused : j));
                CHECK(weight.data()[3 * t + j] == (t == 3 ? 0 : 1));
            }
        }
        RoutingTotals totals;
        totals.add(routing.stats);
        CHECK(totals.load() == 3);
        CHECK(router.parameters().empty());
    });
}
