// A router from scratch: no base class, every function written out. It goes into a MoE layer, and the gradient of its
// own bias is printed beside a central difference.

#include <cstdio>

#include <moegrad/moegrad.hpp>

using namespace moegrad;

namespace {

/// Every expert whose probability reaches `floor`, at most K: p = softmax(x W^T + b), w_e = p_e.
template <class Real>
struct ThresholdRouter {
    std::shared_ptr<Parameter<Real>> weight;  // W [E, D]
    std::shared_ptr<Parameter<Real>> bias;    // b [E, 1]
    Index k = 3;
    Real floor = Real(0.2);

    Index slots() const { return k; }                         // K: how many experts a token can have
    Index experts() const { return weight->shape()[0]; }      // E
    RouterScope scope() const { return RouterScope::token; }  // what it looks at
    std::vector<Parameter<Real>*> parameters() { return {weight.get(), bias.get()}; }

    Routing<Real> route(Tape& tape, const RouteInput<Real>& input) {
        auto one = tape.make<Real>({input.x.extent(0), 1});
        std::fill(one.values().begin(), one.values().end(), Real(1));
        const auto z = add(tape, linear(tape, input.x, weight->use()),
                           linear(tape, Var<Real>(one), bias->use()));  // [T, E]
        const auto p = softmax(tape, z);                                // [T, E]
        const auto best = top_k(tape, z.value(), k);                    // [T, K], best first
        Routing<Real> routing;
        routing.expert = classify_slots<Real>(tape, best, input.segments, experts());
        for (Index t = 0; t < best.extent(0); ++t) {
            for (Index slot = 0; slot < k; ++slot) {
                std::int32_t& expert = routing.expert.matrix()(t, slot);
                if (expert >= 0 && p.value().matrix()(t, expert) < floor) expert = kUnused;
            }
        }
        routing.weight = take(tape, p, routing.expert);  // 0 where there is no expert
        routing.stats = route_stats(tape, routing.expert, routing.expert, p.value(), input.segments);
        return routing;
    }
};
static_assert(Router<ThresholdRouter<double>, double>);

/// The sum of the layer's output over five random tokens; with backward, gradients are left in the parameters.
double objective(MoeLayer<double>& layer, bool backward) {
    Context context;
    Tape tape(context, backward ? Mode::training : Mode::inference);
    const auto x = Tensor<double>::zeros({5, 8});
    fill_normal(x, 1.0, 2, 0);
    const auto token = Tensor<std::int32_t>::zeros({5});
    const auto segments = Segments::of_lengths({5});
    Forward<double> forward{tape, token, segments};
    double sum = 0;
    {
        const auto y = layer(forward, Var<double>(x));
        for (double value : y.value().values()) sum += value;
        if (backward) seed(tape, y, 0);
    }
    tape.backward();
    return sum;
}

}  // namespace

int main() {
    auto layer = random_moe_layer<double>(4, 8, 16, 1);  // E = 4, D = 8, F = 16
    auto bias = std::make_shared<Parameter<double>>("bias", Shape{4, 1});
    bias->set_trainable(true);
    layer.router = ThresholdRouter<double>{layer.gate, bias};

    std::printf("objective %.6f\n", objective(layer, true));
    double worst = 0;
    for (Index e = 0; e < 4; ++e) {
        const double gradient = bias->gradients().at(0)->tensor().data()[e];
        double& value = bias->value().data()[e];
        value += 1e-5;
        const double above = objective(layer, false);
        value -= 2e-5;
        const double below = objective(layer, false);
        value += 1e-5;
        const double numeric = (above - below) / 2e-5;
        worst = std::max(worst, std::abs(gradient - numeric));
        std::printf("d objective / d bias[%d] = %9.6f   by differences %9.6f\n", static_cast<int>(e),
                    gradient, numeric);
    }
    return worst < 1e-8 ? 0 : 1;
}
