#pragma once
// MoleHook: a layer run once with each of E frozen LoRAs, and the mean of what they make of it, weighed per sequence.
//     y = sum_e G_e E_e(x),                  E_e(x): the whole layer with LoRA e, residual included
//     y = F(x) + sum_e G_e E_e(x)            with MoleSum::paper, F(x): the layer without LoRA
// The second is the paper's equation; there the residual stream doubles in every layer, of which a pretrained model makes
// nothing, so the first, equal to F + sum_e G_e (E_e - F), is the default. G: routing/mole_gate.hpp.
// MoleLora: the E LoRAs of one Linear, of which the hook picks one or none before it runs the layer.
// Wu et al. 2024 (arXiv 2404.13628), section 3.3.

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <moegrad/nn/branch.hpp>
#include <moegrad/nn/lora.hpp>
#include <moegrad/ops/add.hpp>
#include <moegrad/ops/concat.hpp>
#include <moegrad/ops/mix.hpp>
#include <moegrad/ops/scatter.hpp>

namespace moegrad {

/// Which of the LoRAs runs; below 0: none.
using ActiveLora = std::shared_ptr<int>;

template <class Real>
class MoleLora final : public LinearAdapter<Real> {
public:
    MoleLora(std::vector<LoraParameters<Real>> all, ActiveLora active)
        : all_(std::move(all)), active_(std::move(active)) {}

    Var<Real> forward(Forward<Real>& forward, const Var<Real>& x, const Matrix<Real>& w) override {
        if (*active_ < 0) return linear(forward.tape, x, w);
        auto& lora = all_[static_cast<std::size_t>(*active_)];
        return lora_linear(forward.tape, x, w, LoraWeights<Real>{lora.A.use(), lora.B.use(), lora.scale},
                           forward.segments);
    }
    std::vector<Parameter<Wide<Real>>*> parameters() override {
        std::vector<Parameter<Wide<Real>>*> all;
        for (auto& lora : all_) all.insert(all.end(), {&lora.A, &lora.B});
        return all;
    }
    void follow(ActiveLora active) { active_ = std::move(active); }

private:
    std::vector<LoraParameters<Real>> all_;
    ActiveLora active_;
};

enum class MoleSum { experts, paper };

template <class Real>
class MoleHook final : public LayerHook<Real> {
public:
    MoleHook(std::string name, AnyRouter<Wide<Real>> gate, ActiveLora active, MoleSum sum)
        : name_(std::move(name)), gate_(std::move(gate)), active_(std::move(active)), sum_(sum) {}

    Var<Real> forward(Forward<Real>& forward, DecoderLayer<Real>& layer, const Var<Real>& x) override {
        if (forward.cache != nullptr) {
            throw Error{ErrorCode::unsupported, name_, "a pass over whole sequences", "one token at a time",
                        "the gate of mole looks at a whole sequence: score texts with eval or forward"};
        }
        Tape& tape = forward.tape;
        Var<Wide<Real>> outputs = cast<Wide<Real>>(tape, run(forward, layer, x, 0));
        const std::size_t after = forward.routings.size();
        for (Index e = 1; e < gate_.experts(); ++e) {
            outputs =
                concat(tape, outputs, cast<Wide<Real>>(tape, run(forward, layer, x, static_cast<int>(e))));
        }
        Var<Real> base;
        if (sum_ == MoleSum::paper) base = run(forward, layer, x, -1);
        // The layer's own routers, where there are some, decided E times; the first stands for them.
        forward.routings.resize(after);
        const RouteInput<Wide<Real>> input{.x = outputs,
                                           .token = forward.token,
                                           .segments = forward.segments,
                                           .layer = layer.index,
                                           .mode = tape.mode()};
        auto routing = gate_.route(tape, input);
        const auto weights = scatter(tape, routing.weight, routing.expert, gate_.experts());
        const auto mixed = cast<Real>(tape, mix(tape, weights, outputs));
        forward.routings.push_back({name_, layer.index, std::move(routing)});
        return sum_ == MoleSum::paper ? add(tape, base, mixed) : mixed;
    }
    std::vector<Parameter<Wide<Real>>*> parameters() override { return gate_.parameters(); }
    AnyRouter<Wide<Real>>* router() override { return &gate_; }

private:
    Var<Real> run(Forward<Real>& forward, DecoderLayer<Real>& layer, const Var<Real>& x, int lora) {
        *active_ = lora;
        auto y = layer.plain(forward, x);
        *active_ = -1;
        return y;
    }

    std::string name_;
    AnyRouter<Wide<Real>> gate_;
    ActiveLora active_;
    MoleSum sum_;
};

}  // namespace moegrad
