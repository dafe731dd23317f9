#pragma once
// What trains, before it does.

#include <map>
#include <string>

#include <moegrad/methods/trainable_parameters.hpp>
#include <moegrad/models/decoder.hpp>

namespace moegrad {

/// A line per kind of trainable parameter, and their share of the base.
template <class Real>
std::string trainable_table(Decoder<Real>& model) {
    struct Count {
        Index tensors = 0, values = 0;
    };
    std::map<std::string, Count> kinds;
    Index base = 0, trained = 0;
    for (auto* p : model.base_parameters()) base += p->size();
    for (auto* p : trainable_parameters(model)) {
        // The first that fits: a Mo-LoRA's router lies inside self_attn or mlp.
        std::string kind = "other";
        for (const char* part : {"router", "mlp.experts", "gate.", "gate2.", "self_attn", "mlp"}) {
            if (kind == "other" && p->name().find(part) != std::string::npos) kind = part;
        }
        ++kinds[kind].tensors;
        kinds[kind].values += p->size();
        trained += p->size();
    }
    std::string text;
    for (const auto& [kind, count] : kinds) {
        text += format("  {:<12} {:>4} tensors {:>12} parameters\n", kind, count.tensors, count.values);
    }
    return text + format("  trainable {} beside {} of the base ({:.2f} %)\n", trained, base,
                         100.0 * static_cast<double>(trained) / static_cast<double>(base));
}

}  // namespace moegrad
