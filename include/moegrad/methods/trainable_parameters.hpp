#pragma once
// all_parameters: everything a model computes with. trainable_parameters: what a step updates, whoever attached it.
// move_to: a model to another device; require_on_gpu: that nothing was left behind.

#include <algorithm>
#include <vector>

#include <moegrad/models/decoder.hpp>

namespace moegrad {

/// The base, then adapters and routers layer by layer, each once.
template <class Real>
std::vector<Parameter<Wide<Real>>*> all_parameters(Decoder<Real>& model) {
    auto all = model.base_parameters();
    const auto take = [&all](const std::vector<Parameter<Wide<Real>>*>& some) {
        for (auto* p : some) {
            if (std::find(all.begin(), all.end(), p) == all.end()) all.push_back(p);
        }
    };
    for (auto& layer : model.layers()) {
        for (auto& [name, linear] : model.linears(layer)) {
            if (linear->adapter) take(linear->adapter->parameters());
        }
        for (auto& moe : layer.moe) {
            take(moe.experts.parameters());
            take(moe.router.parameters());
        }
        take(added_parameters(layer));
    }
    return all;
}

/// In the order of all_parameters.
template <class Real>
std::vector<Parameter<Wide<Real>>*> trainable_parameters(Decoder<Real>& model) {
    auto all = all_parameters(model);
    std::erase_if(all, [](const auto* p) { return !p->trainable(); });
    return all;
}

/// Values and moments of every parameter; what is there already stays. Host memory goes back one by one.
template <class Real>
void move_to(Decoder<Real>& model, Device device) {
    for (auto* p : all_parameters(model)) p->move_to(device);
}

/// Throws for the first weight of which values, compute copy or NF4 codes lie on the host: a kernel would read them there.
template <class Real>
void require_on_gpu(Decoder<Real>& model) {
    const auto left = [](const auto& tensor) { return tensor.defined() && tensor.on_host(); };
    for (const auto* p : all_parameters(model)) {
        if (!left(p->value()) && !left(p->compute_copy()) && !left(p->quantised().code)) continue;
        throw Error{ErrorCode::state, p->name(), "a weight on the GPU", "one on the host",
                    "move_to(model, Device::cuda)"};
    }
}

}  // namespace moegrad
