#pragma once
// Which weights of a decoder are for NF4, as QLoRA has it (Dettmers et al. 2023): every Linear of attention and
// feed-forward, and the stacks of experts. Embedding, head, norms and the gates of routers stay as they are stored: they are
// small, and routing or every token hangs on them.

#include <algorithm>
#include <string>
#include <vector>

#include <moegrad/models/decoder.hpp>

namespace moegrad {

/// Frozen or not: a weight that trains refuses NF4 by name.
template <class Real>
std::vector<Parameter<Wide<Real>>*> quantisable_parameters(Decoder<Real>& model) {
    std::vector<Parameter<Wide<Real>>*> all;
    for (auto& layer : model.layers()) {
        for (auto& [name, linear] : model.linears(layer)) all.push_back(&linear->weight);
        for (auto& moe : layer.moe) all.insert(all.end(), {&moe.experts.gate_up, &moe.experts.down});
    }
    return all;
}

/// Whether any weight is kept in NF4.
template <class Real>
bool is_quantised(Decoder<Real>& model) {
    const auto all = quantisable_parameters(model);
    return std::any_of(all.begin(), all.end(), [](const auto* p) { return p->quantised().defined(); });
}

/// For whoever writes or changes base weights: NF4 has lost what they were.
template <class Real>
void require_dense(Decoder<Real>& model, const std::string& place) {
    if (!is_quantised(model)) return;
    throw Error{ErrorCode::unsupported, place, "a base with the weights it was stored with", "a base in NF4",
                "load it without model.quantise; an adapter trained on NF4 fits it too"};
}

/// Room in place of the values of an empty model, for a plan of its memory.
template <class Real>
void reserve_quantised(Decoder<Real>& model) {
    for (auto* parameter : quantisable_parameters(model))
        parameter->set_quantised(Nf4Matrix::zeros(parameter->shape(), parameter->name()));
}

}  // namespace moegrad
