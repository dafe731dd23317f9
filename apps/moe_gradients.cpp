// The gradients of one MoE layer, as a safetensors file that any framework reads:
//     moe_gradients OUT.safetensors [adamoe]
// x [T, D], y [T, D], expert and weight [T, K], and grad.x, grad.mlp.gate.weight, grad.mlp.experts.gate_up_proj
// [E, 2F, D], grad.mlp.experts.down_proj [E, D, F] of the objective 0.5 sum y^2. `adamoe` adds null experts.

#include <cstdio>
#include <cstring>

#include <moegrad/io.hpp>
#include <moegrad/moegrad.hpp>

using namespace moegrad;

namespace {

constexpr Index kTokens = 64, kFeatures = 32, kWidth = 48, kExperts = 8;

template <class Number>
void add_tensor(SafetensorsWriter& file, const std::string& name, const Tensor<Number>& tensor) {
    std::vector<Index> shape;
    for (int axis = 0; axis < tensor.shape().rank(); ++axis) shape.push_back(tensor.extent(axis));
    const StoredType type = sizeof(Number) == 4 && Number(0.5) == 0 ? StoredType::i32 : StoredType::f32;
    file.add(name, type, shape, std::span<const Number>(tensor.values()));
}

/// The layer's gate with eight null experts beside the true ones, three slots per token.
AnyRouter<float> null_router(MoeLayer<float>& layer) {
    NullExpertRouter<float> router{.gate = Gate<float>(layer.gate), .gate2 = {}, .k = 3};
    router.gate2 = Gate<float>(copy_gate(*layer.gate, kExperts, "mlp.gate2.weight"));
    router.gate2.weight->set_trainable(true);
    router.check();
    return router;
}

void write_gradients(const std::string& path, bool nulls) {
    auto layer = random_moe_layer<float>(kExperts, kFeatures, kWidth, 7);
    if (nulls) layer.router = null_router(layer);
    SafetensorsWriter file;

    Context context;
    Tape tape(context);
    const auto values = Tensor<float>::zeros({kTokens, kFeatures});
    fill_normal(values, 1.0, 7, 9);
    const auto x = tape.input(values);
    const auto token = Tensor<std::int32_t>::zeros({kTokens});
    const auto segments = Segments::of_lengths({kTokens});
    Forward<float> forward{tape, token, segments};
    {
        const auto y = layer(forward, x);
        const auto& routing = forward.routings.at(0).routing;
        add_tensor(file, "x", x.value());
        add_tensor(file, "y", y.value());
        add_tensor(file, "expert", routing.expert);
        add_tensor(file, "weight", routing.weight.value());
        // d (0.5 sum y^2) / dy = y
        const auto dy = y.gradient()->target().tensor;
        std::copy(y.value().values().begin(), y.value().values().end(), dy.values().begin());
    }
    forward.routings.clear();
    tape.backward();
    add_tensor(file, "grad.x", x.gradient()->tensor());
    auto parameters = layer.router.parameters();
    for (auto* parameter : layer.experts.parameters()) parameters.push_back(parameter);
    for (auto* parameter : parameters) {
        const auto& gradient = parameter->gradients().at(0)->tensor();
        double squares = 0;
        for (float g : gradient.values()) squares += static_cast<double>(g) * static_cast<double>(g);
        std::printf("%-28s norm of the gradient %.6f\n", parameter->name().c_str(), std::sqrt(squares));
        add_tensor(file, "grad." + parameter->name(), gradient);
    }
    file.save(path);
    std::printf("written to %s\n", path.c_str());
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 2) {
        std::fprintf(stderr, "usage: moe_gradients OUT.safetensors [adamoe]\n");
        return 2;
    }
    try {
        write_gradients(argv[1], argc > 2 && std::strcmp(argv[2], "adamoe") == 0);
    } catch (const Error& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
    return 0;
}
