// Two experts, a task of two halves, and a picture of who took what:  two_expert_toy [OUT.svg]
// Points of the plane are turned left above the line a + 2 b = 0 and right below it. One expert cannot do both well; a
// top-1 router finds the line. The picture is text on the terminal, and an SVG where a file is named.

#include <cstdio>
#include <string>

#include <moegrad/io/atomic_file.hpp>
#include <moegrad/moegrad.hpp>

using namespace moegrad;

namespace {

constexpr Index kPoints = 256, kWidth = 32, kColumns = 57, kRows = 25;

/// Top-1, weighted by its probability, so that the choice has a gradient.
template <class Real>
struct TopOne : GateRouter<Real> {
    Routing<Real> route(Tape& tape, const RouteInput<Real>& input) {
        const auto z = this->gate.logits(tape, input.x, input.segments);
        Routing<Real> routing;
        routing.expert =
            classify_slots<Real>(tape, top_k(tape, z.value(), 1), input.segments, this->experts());
        routing.weight = take(tape, softmax(tape, z), routing.expert);
        return routing;
    }
};

bool left(float a, float b) {
    return a + 2 * b > 0;
}

/// One step on fresh points; the mean squared error before it.
double step(Context& context, MoeLayer<float>& layer, std::uint64_t number) {
    Tape tape(context);
    const auto x = Tensor<float>::zeros({kPoints, 2});
    fill_normal(x, 1.0, 3, number);
    const auto token = Tensor<std::int32_t>::zeros({kPoints});
    const auto segments = Segments::of_lengths({kPoints});
    Forward<float> forward{tape, token, segments};
    double loss = 0;
    {
        const auto y = layer(forward, Var<float>(x));
        const auto dy = y.gradient()->target().tensor;
        for (Index t = 0; t < kPoints; ++t) {
            const float a = x.matrix()(t, 0), b = x.matrix()(t, 1), turn = left(a, b) ? 1.0f : -1.0f;
            const float error[2] = {y.value().matrix()(t, 0) + turn * b, y.value().matrix()(t, 1) - turn * a};
            for (Index d = 0; d < 2; ++d) {
                dy.matrix()(t, d) = error[d] / static_cast<float>(kPoints);
                loss += static_cast<double>(error[d] * error[d]) / kPoints;
            }
        }
    }
    forward.routings.clear();
    tape.backward();
    context.scalars().step = number;
    auto parameters = layer.router.parameters();
    for (auto* parameter : layer.experts.parameters()) parameters.push_back(parameter);
    for (auto* parameter : parameters) {
        adamw_update(context.stream(), GradientUses<float>(parameter->gradients()), parameter->value(),
                     parameter->first_moment(), parameter->second_moment(), {.weight_decay = 0});
        parameter->forget_gradients();
    }
    return loss;
}

/// The expert of every point of a grid over [-2, 2] x [-2, 2], from the top row down.
std::vector<std::int32_t> experts_of_grid(Context& context, MoeLayer<float>& layer) {
    Tape tape(context, Mode::inference);
    const Index T = kColumns * kRows;
    const auto x = Tensor<float>::zeros({T, 2});
    for (Index t = 0; t < T; ++t) {
        x.matrix()(t, 0) = -2 + 4 * (static_cast<float>(t % kColumns) + 0.5f) / kColumns;
        x.matrix()(t, 1) = 2 - 4 * (static_cast<float>(t / kColumns) + 0.5f) / kRows;
    }
    const auto token = Tensor<std::int32_t>::zeros({T});
    const auto segments = Segments::of_lengths({T});
    const RouteInput<float> input{.x = Var<float>(x), .token = token, .segments = segments};
    const auto routing = layer.router.route(tape, input);
    return {routing.expert.values().begin(), routing.expert.values().end()};
}

void draw(const std::vector<std::int32_t>& expert, const std::string& path) {
    std::string svg = format("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\">\n",
                             kColumns * 8, kRows * 18);
    for (Index row = 0; row < kRows; ++row) {
        for (Index column = 0; column < kColumns; ++column) {
            const auto e = expert[static_cast<std::size_t>(row * kColumns + column)];
            std::putchar(e == 0 ? '.' : '#');
            svg += format("<rect x=\"{}\" y=\"{}\" width=\"8\" height=\"18\" fill=\"{}\"/>\n", column * 8,
                          row * 18, e == 0 ? "#9ecae1" : "#e6550d");
        }
        std::putchar('\n');
    }
    if (!path.empty()) write_file_atomically(path, svg + "</svg>\n");
}

}  // namespace

int main(int argc, char** argv) {
    auto layer = random_moe_layer<float>(2, 2, kWidth, 5);
    layer.router = TopOne<float>{{Gate<float>(layer.gate), 1}};
    Context context;
    context.scalars().learning_rate = 1e-2;
    for (std::uint64_t n = 0; n < 400; ++n) {
        const double loss = step(context, layer, n);
        if (n % 100 == 0 || n == 399) std::printf("step %3d   error %.4f\n", static_cast<int>(n), loss);
    }
    draw(experts_of_grid(context, layer), argc > 1 ? argv[1] : "");
    return 0;
}
