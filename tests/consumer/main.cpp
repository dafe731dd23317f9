// A program of somebody else's: a router of its own in a Mixtral, trained for ten steps.
#include <cstdio>

#include <moegrad/data.hpp>
#include <moegrad/moegrad.hpp>
#include <moegrad/train/trainer.hpp>

using namespace moegrad;

namespace {

/// One expert per token, weighted by its sigmoid score (Llama-4 style): w = sigmoid(z_e), e = argmax z.
template <class Real>
struct SigmoidTopOne {
    std::shared_ptr<Parameter<Real>> score;  // [E, D]

    Index slots() const { return 1; }
    Index experts() const { return score->shape()[0]; }
    RouterScope scope() const { return RouterScope::token; }
    std::vector<Parameter<Real>*> parameters() { return {score.get()}; }

    Routing<Real> route(Tape& tape, const RouteInput<Real>& input) {
        const auto z = linear(tape, input.x, score->use());
        // sigmoid(z) is the first of softmax([z, 0]).
        const auto zero = Var<Real>(Tensor<Real>::zeros({z.extent(0), 1}));
        Routing<Real> routing;
        routing.expert = classify_slots<Real>(tape, top_k(tape, z.value(), 1), input.segments, experts());
        const auto best = take(tape, z, routing.expert);
        const auto first = Tensor<std::int32_t>::zeros({z.extent(0), 1});
        routing.weight =
            keep_true(tape, take(tape, softmax(tape, concat(tape, best, zero)), first), routing.expert);
        routing.stats =
            route_stats(tape, routing.expert, routing.expert, softmax(tape, z).value(), input.segments);
        return routing;
    }
};
static_assert(Router<SigmoidTopOne<float>, float>);

ModelConfig tiny() {
    ModelConfig config;
    config.model_type = ModelFamily::mixtral;
    config.hidden_size = 32;
    config.intermediate_size = 48;
    config.num_hidden_layers = 2;
    config.num_attention_heads = 4;
    config.num_key_value_heads = 2;
    config.head_dim = 8;
    config.vocab_size = 64;
    config.num_local_experts = 4;
    config.num_experts_per_tok = 2;
    config.initializer_range = 0.1;
    return config;
}

}  // namespace

int main() {
    Mixtral<float> model(tiny());
    model.initialize(1);
    for (auto* parameter : model.base_parameters()) parameter->set_trainable(true);
    for (auto& layer : model.layers())
        layer.moe.front().router = SigmoidTopOne<float>{layer.moe.front().gate};

    Dataset data;
    Random random(7);
    for (int n = 0; n < 8; ++n) {
        std::vector<std::int32_t> ids{static_cast<std::int32_t>(random.next_below(64))};
        while (ids.size() < 24) ids.push_back((ids.back() * 5 + 3) % 64);  // a rule worth learning
        data.push_back(language_sample(ids));
    }
    Context context;
    Trainer<float> trainer(context, model, {}, {.micro_batch = 4});
    SampleOrder order(8, 8, 0);
    double first = 0, last = 0;
    for (int n = 0; n < 10; ++n) {
        const auto report = trainer.step(data, order.step(n), 1e-2);
        if (report.routers.size() != 2) return 1;  // both layers' routers were counted
        (n == 0 ? first : last) = report.cross_entropy;
    }
    std::printf("moegrad %s: ten steps with a router of our own, loss %.3f -> %.3f\n", kVersion, first, last);
    return last < first && last > 0 ? 0 : 1;
}
