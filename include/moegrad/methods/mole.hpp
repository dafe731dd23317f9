#pragma once
// mole: E LoRAs that others trained, frozen, and a gate per layer that learns to mix them (nn/mole_hook.hpp). Only the gates
// and their temperatures train.
//
//   router.options   adapters    folders that PEFT wrote for this base, "runs/a/adapter;runs/b/adapter": plain LoRA of every
//                                target, of rank adapter.r and scale adapter.lora_alpha / adapter.r
//                    experts     without adapters: E random LoRAs (2), for tests and for a look at the cost,
//                    lora_seed   drawn from this (the run's)
//                    sum         experts, or paper: nn/mole_hook.hpp
//                    mask        experts to leave out, joined by '-'; the others' weights then sum to 1
//
// The adapter's file holds the LoRAs too, as q_proj.experts.E. A folder of `adapters` that is gone leaves NaN, an error of
// the first pass unless a saved adapter replaces it. To mask at inference set mask among the options in adapter_config.json.
// `generate` runs it without kept keys, whole sequences for every token: a gate looks at a whole sequence.

#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <moegrad/io/json.hpp>
#include <moegrad/io/safetensors.hpp>
#include <moegrad/methods/linears_only.hpp>
#include <moegrad/nn/mole_hook.hpp>
#include <moegrad/routing/adapter_folders.hpp>
#include <moegrad/routing/expert_lists.hpp>
#include <moegrad/routing/mole_gate.hpp>

namespace moegrad {

namespace detail {

/// Throws for an adapter that is more than LoRA with these options.
inline void require_mole_lora(const std::string& folder, const LoraOptions& options) {
    const std::string path = folder + "/adapter_config.json";
    const Json json = parse_json_file(path);
    const JsonRef root(json, path);
    LoraOptions theirs{.rank = root.at("r").integer(1, 1 << 16),
                       .alpha = root.at("lora_alpha").number(-1e6, 1e6)};
    const auto flag = [&](const char* key) {
        const auto value = root.find_value(key);
        return value && value->boolean();
    };
    if (flag("use_rslora")) theirs.scale = LoraOptions::Scale::alpha_over_sqrt_rank;
    std::string more;
    for (const char* key : {"use_dora", "fan_in_fan_out"}) {
        if (flag(key)) more += std::string(" with ") + key;
    }
    for (const char* key : {"rank_pattern", "alpha_pattern"}) {
        const auto value = root.find_value(key);
        if (value && !value->members().empty()) more += std::string(" with ") + key;
    }
    if (root.at("peft_type").string() != "LORA" || !more.empty() || theirs.rank != options.rank ||
        theirs.factor() != options.factor()) {
        throw Error{ErrorCode::config, path,
                    format("plain LoRA of rank {} and scale {}", options.rank, options.factor()),
                    format("{}{}, rank {}, scale {}", root.at("peft_type").string(), more, theirs.rank,
                           theirs.factor()),
                    "the LoRAs of mole are alike: set adapter.r and adapter.lora_alpha to theirs"};
    }
}

/// One factor from a file; NaN where the folder is gone.
template <class Real>
void read_mole_factor(const std::string& folder, Parameter<Real>& factor, const std::string& name) {
    if (Planning::active()) return;
    const std::string path = folder + "/adapter_model.safetensors";
    change_values<Real>(factor, [&](const Tensor<Wide<Real>>& values) {
        if (!file_exists(path)) {
            for (auto& value : values.values()) value = std::numeric_limits<Wide<Real>>::quiet_NaN();
            return;
        }
        const SafetensorsFile file(path);
        file.read(file.at("base_model.model." + name), values.values());
    });
}

}  // namespace detail

template <class Real>
struct MoleMethod {
    static std::unique_ptr<LinearAdapter<Real>> adapt(MethodBuild<Real>& build, DecoderLayer<Real>&,
                                                      Linear<Real>& linear, const LoraOptions& options) {
        const auto folders = adapter_folders(build.options);
        std::vector<LoraParameters<Real>> all;
        for (Index e = 0; e < count(build); ++e) {
            const std::string path = linear.path() + ".experts." + std::to_string(e);
            const std::uint32_t module = build.modules.next();
            LoraParameters<Real> lora(path, 0, linear.weight.shape()[0], linear.weight.shape()[1], options,
                                      seed(build), module);
            if (folders.empty()) {
                change_values<Real>(
                    lora.B, [&](const Tensor<Wide<Real>>& b) { fill_normal(b, 0.02, seed(build), module); });
            } else {
                const std::string& folder = folders[static_cast<std::size_t>(e)];
                if (file_exists(folder + "/adapter_config.json")) detail::require_mole_lora(folder, options);
                detail::read_mole_factor(folder, lora.A, linear.path() + ".lora_A.weight");
                detail::read_mole_factor(folder, lora.B, linear.path() + ".lora_B.weight");
            }
            lora.A.set_trainable(false);
            lora.B.set_trainable(false);
            all.push_back(std::move(lora));
        }
        return std::make_unique<MoleLora<Real>>(std::move(all), std::make_shared<int>(-1));
    }

    static void attach(MethodBuild<Real>& build) {
        refuse_expert_targets(build);
        const MoleSum sum =
            build.options.either("sum", "experts", "paper") ? MoleSum::experts : MoleSum::paper;
        std::vector<std::pair<DecoderLayer<Real>*, ActiveLora>> gated;
        std::size_t linears = 0;
        for (auto& layer : build.model.layers()) {
            const auto active = std::make_shared<int>(-1);
            std::size_t here = 0;
            for (auto& [name, linear] : build.model.linears(layer)) {
                auto* lora = dynamic_cast<MoleLora<Real>*>(linear->adapter.get());
                if (lora == nullptr) continue;
                lora->follow(active);
                ++here;
            }
            if (here > 0) gated.emplace_back(&layer, active);
            linears += here;
        }
        require_all_used(build, linears);
        for (auto& [layer, active] : gated) {
            const std::string name = "model.layers." + std::to_string(layer->index);
            layer->hook = std::make_unique<MoleHook<Real>>(
                name, gate(build, name, static_cast<Index>(gated.size())), active, sum);
        }
    }

private:
    static Index count(const MethodBuild<Real>& build) {
        const auto folders = static_cast<Index>(adapter_folders(build.options).size());
        const Index E = build.options.count("experts", folders > 0 ? folders : 2);
        if (E >= 1 && (folders == 0 || E == folders)) return E;
        throw Error{ErrorCode::config, "router.options: experts",
                    folders > 0 ? format("{}, one for each of adapters", folders) : "at least 1",
                    format("{}", E)};
    }
    static std::uint64_t seed(const MethodBuild<Real>& build) {
        return static_cast<std::uint64_t>(
            build.options.count("lora_seed", static_cast<Index>(build.spec.seed)));
    }

    /// A tensor of an adapter that no target takes would be lost without a word.
    static void require_all_used(const MethodBuild<Real>& build, std::size_t linears) {
        for (const auto& folder : adapter_folders(build.options)) {
            const std::string path = folder + "/adapter_model.safetensors";
            if (!file_exists(path)) continue;
            const SafetensorsFile file(path);
            if (file.tensors().size() == 2 * linears) continue;
            throw Error{ErrorCode::config, path, format("{} tensors, A and B of every target", 2 * linears),
                        format("{}", file.tensors().size()),
                        "set adapter.target to what the LoRAs were trained on"};
        }
    }

    static AnyRouter<Wide<Real>> gate(const MethodBuild<Real>& build, const std::string& layer,
                                      Index layers) {
        const Index E = count(build), D = build.model.config().hidden_size;
        auto weight = std::make_shared<Parameter<Wide<Real>>>(layer + ".router.gate.weight", Shape{E, E * D});
        auto cold =
            std::make_shared<Parameter<Wide<Real>>>(layer + ".router.inverse_temperature", Shape{1, 1});
        cold->value().data()[0] = 1;
        weight->set_trainable(true);
        cold->set_trainable(true);
        MoleGate<Wide<Real>> made{.gate = Gate<Wide<Real>>(std::move(weight)),
                                  .inverse_temperature = std::move(cold),
                                  .layers = layers};
        const std::string mask = build.options.text("mask", "");
        if (mask.empty()) return made;
        const auto lists = expert_lists(mask, "router.options: mask", E);
        made.masked.resize(static_cast<std::size_t>(E));
        for (const Index e : lists.front()) made.masked[static_cast<std::size_t>(e)] = true;
        if (lists.size() != 1 || static_cast<Index>(lists.front().size()) >= E) {
            throw Error{ErrorCode::config, "router.options: mask",
                        "some experts of all layers, not every one", "\"" + mask + "\""};
        }
        return made;
    }
};

inline const RegisterMethod<MoleMethod> mole_registered{"mole"};

}  // namespace moegrad
