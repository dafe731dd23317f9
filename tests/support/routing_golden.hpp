#pragma once
// Vectors for routers: tensors of tests/golden/ops.safetensors, gates with given weights, and gradients from a given
// dL/dweight or of one penalty. With the unit matrix as gate the logits are the input, and dx is dL/dlogits.

#include <moegrad/testing/router_cases.hpp>

#include <moegrad/io/safetensors.hpp>

namespace moegrad::test {

inline const SafetensorsFile& golden_ops() {
    static const SafetensorsFile file(MOEGRAD_SOURCE_DIR "/tests/golden/ops.safetensors");
    return file;
}

namespace detail {
template <class T>
Tensor<T> read_golden(const std::string& name) {
    const TensorInfo& info = golden_ops().at(name);
    Shape shape;
    switch (info.shape.size()) {
        case 1: shape = Shape{info.shape[0]}; break;
        case 2: shape = Shape{info.shape[0], info.shape[1]}; break;
        default: shape = Shape{info.shape[0], info.shape[1], info.shape[2]}; break;
    }
    auto tensor = Tensor<T>::zeros(shape);
    golden_ops().read(info, tensor.values());
    return tensor;
}
}  // namespace detail

inline Tensor<double> golden(const std::string& name) {
    return detail::read_golden<double>(name);
}
/// Logits of six tokens over four experts, for the golden numbers of switch and gshard.
inline Tensor<double> capacity_logits() {
    return Tensor<double>::from({6, 4}, {1.2,  -0.3, 0.4, 0,   0.1, 0.9, -0.2, 0.8, 2, 0,   1.9,  -1,
                                         -0.5, 0.2,  0.3, 0.1, 0.7, 0.6, -0.4, 0.5, 0, 0.1, -0.1, 1.5});
}
inline Tensor<std::int32_t> golden_choice(const std::string& name) {
    return detail::read_golden<std::int32_t>(name);
}

/// The largest |a - b|; infinite where the shapes differ or something is not finite.
template <class A, class B>
double largest_difference(const Tensor<A>& a, const Tensor<B>& b) {
    if (!(a.shape() == b.shape())) return INFINITY;
    double worst = 0;
    for (std::size_t i = 0; i < a.values().size(); ++i) {
        const double d = std::abs(static_cast<double>(a.values()[i]) - static_cast<double>(b.values()[i]));
        worst = std::isfinite(d) ? std::max(worst, d) : INFINITY;
    }
    return worst;
}

/// A trainable parameter with these values.
inline std::shared_ptr<Parameter<double>> parameter_of(const Tensor<double>& values,
                                                       const std::string& name = "w") {
    auto parameter = std::make_shared<Parameter<double>>(name, values.shape());
    std::copy(values.values().begin(), values.values().end(), parameter->value().values().begin());
    parameter->set_trainable(true);
    return parameter;
}
inline Gate<double> gate_of(const Tensor<double>& values) {
    return Gate<double>(parameter_of(values));
}

/// Rows [begin, end) of the unit matrix of C columns.
inline Tensor<double> unit_rows(Index begin, Index end, Index C) {
    auto rows = Tensor<double>::zeros({end - begin, C});
    for (Index r = begin; r < end; ++r) rows.matrix()(r - begin, r) = 1;
    return rows;
}

/// The gate whose logits are its input.
inline Gate<double> unit_gate(Index C) {
    return gate_of(unit_rows(0, C, C));
}

/// What a router is made from, with logits that are its input; the balance loss is the method's.
inline RouterBuild<double> build_on_logits(Index E, const std::string& options = "", Index top_k = 2,
                                           std::uint64_t seed = 3) {
    return {.path = "layer.router",
            .experts = E,
            .features = E,
            .top_k = top_k,
            .seed = seed,
            .gate = unit_gate(E),
            .penalties = {.balance = BalanceLoss::by_method},
            .options = RouterOptions(options)};
}

/// A null-expert router whose logits are its input: E true columns, then M nulls.
inline NullExpertRouter<double> null_router_on_logits(Index E, Index M, Index K) {
    NullExpertRouter<double> router{.gate = gate_of(unit_rows(0, E, E + M)), .gate2 = {}, .k = K};
    if (M > 0) router.gate2 = gate_of(unit_rows(E, E + M, E + M));
    return router;
}

inline RouterBatch<double> batch_of(const Tensor<double>& x) {
    auto batch = random_batch<double>(x.extent(1), {x.extent(0)}, 0);
    std::copy(x.values().begin(), x.values().end(), batch.x.values().begin());
    return batch;
}

inline Tensor<double> softmax_of(const Tensor<double>& z) {
    Tape tape(routing_context());
    return copy_of(softmax(tape, Var<double>(z)).value());
}

/// What a router that is used once decides.
template <class R>
Outcome<double> decided(R router, const RouterBatch<double>& batch) {
    AnyRouter<double> any = std::move(router);
    return decide(any, batch);
}

/// dL/dx of the task loss with the given dL/dweight [T, K]; parameter gradients are left in the router.
inline Tensor<double> task_gradient(AnyRouter<double>& router, const RouterBatch<double>& batch,
                                    const Tensor<double>& dweight) {
    forget(router);
    Tape tape(routing_context());
    const Var<double> x(batch.x, std::make_shared<Gradient<double>>(Tensor<double>::zeros(batch.x.shape())));
    auto routing = call_router(router, tape, x, batch.segments);
    auto target = routing.weight.gradient()->target();
    std::copy(dweight.values().begin(), dweight.values().end(), target.tensor.values().begin());
    tape.backward();
    return x.gradient()->tensor();
}

/// dL/dx of one penalty with coefficient 1.
inline Tensor<double> penalty_gradient(AnyRouter<double>& router, const RouterBatch<double>& batch,
                                       const std::string& name) {
    forget(router);
    Tape tape(routing_context());
    const Var<double> x(batch.x, std::make_shared<Gradient<double>>(Tensor<double>::zeros(batch.x.shape())));
    auto routing = call_router(router, tape, x, batch.segments);
    for (const auto& penalty : routing.penalties) {
        if (penalty.name == name) detail::seed_constant(penalty.value, 1.0);
    }
    tape.backward();
    return x.gradient()->tensor();
}

template <class Real>
const Tensor<Real>& penalty_value(const Outcome<Real>& outcome, const std::string& name) {
    for (const auto& penalty : outcome.penalties) {
        if (penalty.name == name) return penalty.value;
    }
    throw Error{ErrorCode::state, "penalty", name, "none of that name"};
}

}  // namespace moegrad::test
