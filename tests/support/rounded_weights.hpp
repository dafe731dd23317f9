#pragma once
// The Linears of a Llama, Mistral or Mixtral checkpoint and of its adapter (PEFT's LoRA or DoRA of Linears, LoRA of fused
// experts) as plain matrices in double, by the modules' names in the files: what support/rounded_model.hpp computes with.

#include <doctest/doctest.h>

#include <cmath>
#include <map>
#include <string>
#include <utility>

#include <moegrad/io/checkpoint_index.hpp>
#include <moegrad/io/json.hpp>
#include <moegrad/io/model_config_json.hpp>

#include "support/op_check_basics.hpp"

namespace moegrad::test {

/// none: the model of the files. weights: what a bf16 model reads of them. all: those, and everything it computes.
enum class Rounded { none, weights, all };

using Doubles = Tensor<double>;  // [rows, columns]

inline double& entry(const Doubles& x, Index row, Index column) {
    return x.data()[row * x.extent(1) + column];
}
template <class Value>
void set_entries(const Doubles& x, Value value) {
    for (Index row = 0; row < x.extent(0); ++row)
        for (Index column = 0; column < x.extent(1); ++column) entry(x, row, column) = value(row, column);
}

/// w [O, D], A [R, D], B [O, R]; factor [1, O] = m / |w + scale B A| of DoRA. Without an adapter w alone is defined.
struct RoundedLinear {
    Doubles w, A, B, factor;
    double scale = 1;
};

class RoundedWeights {
public:
    /// The router's weight and DoRA's m are float in a bf16 model, all other weights bf16.
    RoundedWeights(const std::string& folder, const std::string& adapter, Rounded rounded)
        : config(load_model_config(folder)), rounded_(rounded) {
        CheckpointIndex files(folder);
        for (const std::string& name : files.names()) {
            const auto& shape = files.info(name).shape;
            const auto w = zeros(shape);
            files.read(name, std::span<const Index>(shape), w.values());
            linear_[name.substr(0, name.rfind(".weight"))].w = name.ends_with(".gate.weight") ? w : read(w);
        }
        if (!adapter.empty()) read_adapter(adapter);
    }

    const ModelConfig config;

    const RoundedLinear& at_module(const std::string& module) const { return linear_.at(module); }

private:
    struct Pair {
        Doubles A, B, magnitude;
    };

    /// A vector is one row.
    static Doubles zeros(const std::vector<Index>& shape) {
        return shape.size() == 2 ? Doubles::zeros({shape[0], shape[1]}) : Doubles::zeros({1, shape[0]});
    }
    Doubles read(const Doubles& w) const { return rounded_ == Rounded::none ? w : rounded(w); }

    void read_adapter(const std::string& folder) {
        const Json json = parse_json_file(folder + "/adapter_config.json");
        const double alpha = JsonRef(json, folder).at("lora_alpha").number(0, 1e6);
        const SafetensorsFile file(folder + "/adapter_model.safetensors");
        std::map<std::string, Pair> pairs;
        for (const auto& info : file.tensors()) {
            const std::string name = info.name.substr(std::string("base_model.model.").size());
            const auto part = name.find(".lora_");
            const auto values = zeros(info.shape);
            file.read(info, values.values());
            Pair& pair = pairs[name.substr(0, part)];
            if (name.substr(part) == ".lora_magnitude_vector") {
                pair.magnitude = values;
            } else {
                (name.substr(part) == ".lora_A.weight" ? pair.A : pair.B) = read(values);
            }
        }
        for (const auto& [module, pair] : pairs) {
            const auto fused = module.find(".mlp.experts");
            if (fused == std::string::npos) {
                attach(module, pair, alpha);
            } else {
                split_experts(module.substr(0, fused) + ".block_sparse_moe.experts.", pair, alpha);
            }
        }
    }
    void attach(const std::string& module, const Pair& pair, double alpha) {
        RoundedLinear& l = linear_.at(module);
        l.A = pair.A, l.B = pair.B, l.scale = alpha / static_cast<double>(pair.A.extent(0));
        if (!pair.magnitude.defined()) return;
        l.factor = Doubles::zeros(pair.magnitude.shape());
        set_entries(l.factor, [&](Index, Index o) { return entry(pair.magnitude, 0, o) / row_norm(l, o); });
    }
    /// |w_o + s (B A)_o|
    static double row_norm(const RoundedLinear& l, Index o) {
        double squares = 0;
        for (Index d = 0; d < l.w.extent(1); ++d) {
            double v = entry(l.w, o, d);
            for (Index r = 0; r < l.A.extent(0); ++r) v += l.scale * entry(l.B, o, r) * entry(l.A, r, d);
            squares += v * v;
        }
        return std::sqrt(squares);
    }
    /// PEFT's stacks: A [E R, D], expert by expert; column r E + e of B [O, R E] is rank r of expert e. Rows of B for
    /// gate_up are w1's above w3's; both have the one A.
    void split_experts(const std::string& experts, const Pair& fused, double alpha) {
        const Index E = config.num_local_experts, F = config.intermediate_size, R = fused.A.extent(0) / E;
        const bool up = fused.B.extent(0) == 2 * F;
        for (Index e = 0; e < E; ++e) {
            for (Index half = 0; half < (up ? 2 : 1); ++half) {
                const auto A = Doubles::zeros({R, fused.A.extent(1)}),
                           B = Doubles::zeros({up ? F : fused.B.extent(0), R});
                set_entries(A, [&](Index r, Index d) { return entry(fused.A, e * R + r, d); });
                set_entries(B, [&](Index o, Index r) { return entry(fused.B, half * F + o, r * E + e); });
                const std::string module = up ? half == 0 ? ".w1" : ".w3" : ".w2";
                attach(experts + std::to_string(e) + module, {A, B, {}}, alpha);
            }
        }
    }

    Rounded rounded_;
    std::map<std::string, RoundedLinear> linear_;
};

}  // namespace moegrad::test
