#pragma once
// Which modules of a model an adapter_config.json means, by PEFT's rules (tuners_utils.py of 0.21.2):
//   target_modules      list: a whole name or its end after a dot; string: a pattern for the whole name; "all-linear"
//   exclude_modules, modules_to_save, layers_to_transform, layers_pattern    take some of these back
//   target_parameters   ends of parameter names: mlp.experts.gate_up_proj, mlp.experts.down_proj, mlp.gate.weight
//   rank_pattern, alpha_pattern    the first key that matches (.*\.)?(key) of the name; otherwise r and lora_alpha
// A module is matched under its names of transformers 4 and 5. Where target_modules is a string, the file's own tensors
// decide among what the pattern allows. What this model cannot express is refused by name.

#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include <moegrad/methods/adapter_spec.hpp>
#include <moegrad/train/adapter_modules.hpp>

namespace moegrad {

struct AdapterRank {
    Index rank = 0;
    double alpha = 0;

    bool operator==(const AdapterRank&) const = default;
};

namespace detail {

/// layers_to_transform with layers_pattern: PEFT takes the first number of a name, which is the layer in every name here.
inline std::optional<std::set<Index>> chosen_layers(const JsonRef& root, const ModelConfig& config) {
    if (const auto pattern = root.find_value("layers_pattern")) {
        const auto check = [](const JsonRef& one) {
            if (!one.string().empty() && one.string() != "layers") one.fail_unsupported("\"layers\"");
        };
        if (pattern->value().string()) {
            check(*pattern);
        } else {
            for (std::size_t i = 0; i < pattern->array().size(); ++i) check(pattern->item(i));
        }
    }
    const auto layers = root.find_value("layers_to_transform");
    if (!layers) return std::nullopt;
    std::set<Index> chosen;
    const Index last = config.num_hidden_layers - 1;
    if (!layers->value().array()) return std::set<Index>{layers->integer(0, last)};
    for (std::size_t i = 0; i < layers->array().size(); ++i) chosen.insert(layers->item(i).integer(0, last));
    if (chosen.empty()) return std::nullopt;
    return chosen;
}

}  // namespace detail

/// The modules that a configuration means, with rank and alpha. `files_tensors`: names of the weights' file, where
/// there is one; needed for patterns, which may allow more than was trained.
class AdapterTargets {
public:
    AdapterTargets(const JsonRef& root, const ModelConfig& config, AdapterRank usual,
                   const std::set<std::string>* files_tensors)
        : usual_(usual),
          layers_(config.num_hidden_layers),
          experts_(config.is_mixture() ? config.num_local_experts : 0),
          modules_(root, "target_modules"),
          excluded_(root, "exclude_modules"),
          parameters_(root, "target_parameters"),
          ranks_(root, "rank_pattern"),
          alphas_(root, "alpha_pattern"),
          chosen_layers_(detail::chosen_layers(root, config)),
          files_tensors_(files_tensors) {
        if (const auto saved = root.find_value("modules_to_save")) {
            for (std::size_t i = 0; i < saved->array().size(); ++i) {
                if (saved->item(i).string() != "gate") saved->item(i).fail_unsupported("gate");
                saves_gate_ = true;
            }
        }
        for (const auto& module : detail::adapter_modules(config)) choose(module);
        modules_.require_all_used("a module of this model");
        parameters_.require_all_used("a parameter of this model's experts or gate");
        ranks_.require_all_used();
        alphas_.require_all_used();
    }

    /// Fills targets or places, and the gate's mode.
    void write(AdapterSpec& spec, const std::string& place) const {
        spec.targets.clear();
        spec.places.clear();
        spec.gate = saves_gate_ ? GateMode::full : GateMode::frozen;
        write_gate(spec, place);
        if (is_uniform(spec)) {
            for (const char* target : detail::kTargetOrder) {
                if (found_.contains(target)) spec.targets.emplace_back(target);
            }
            return;
        }
        spec.gate_up_rank = 0;
        for (const auto& [target, layers] : found_) {
            if (target == "gate") continue;
            for (const auto& [layer, rank] : layers) add_place(spec, target, layer, rank, place);
        }
    }

private:
    using Layers = std::map<Index, AdapterRank>;

    bool in_file(const AdapterModule& module) const {
        if (files_tensors_ == nullptr) return true;
        for (const auto& name : module.names) {
            if (files_tensors_->contains("base_model.model." + name + ".lora_A.weight")) return true;
        }
        return false;
    }

    bool is_meant(const AdapterModule& module, const std::string& name) {
        if (module.parameter || (module.target == "gate" && parameters_.matches(name + ".weight")))
            return parameters_.matches(module.parameter ? name : name + ".weight");
        if (!modules_.matches(name) || excluded_.matches(name)) return false;
        if (saves_gate_ && module.target == "gate") return false;
        if (!modules_.is_pattern() && chosen_layers_ && !chosen_layers_->contains(module.layer)) return false;
        return !modules_.is_pattern() || in_file(module);
    }

    void choose(const AdapterModule& module) {
        for (const auto& name : module.names) {
            if (!is_meant(module, name)) continue;
            AdapterRank own = usual_;
            if (const auto rank = ranks_.find(name)) own.rank = rank->integer(1, 1 << 16);
            if (const auto alpha = alphas_.find(name)) own.alpha = alpha->number(-1e6, 1e6);
            const auto [at, added] = found_[module.target].emplace(module.layer, own);
            if (!added && !(at->second == own)) uneven_ = module.names.front();
            if (module.expert >= 0) ++experts_found_[{module.target, module.layer}];
            return;
        }
    }

    [[noreturn]] void refuse(const std::string& place, const std::string& expected,
                             const std::string& got) const {
        throw Error{ErrorCode::unsupported, place, expected, got,
                    "this adapter needs something moegrad lacks"};
    }

    void write_gate(AdapterSpec& spec, const std::string& place) const {
        if (!uneven_.empty()) refuse(place, "one rank and one alpha for all experts of a layer", uneven_);
        for (const auto& [where, count] : experts_found_) {
            if (count != experts_)
                refuse(place, format("{} of all {} experts of layer {}", where.first, experts_, where.second),
                       format("of {}", count));
        }
        const auto gate = found_.find("gate");
        if (gate == found_.end()) return;
        bool alike = static_cast<Index>(gate->second.size()) == layers_;
        for (const auto& [layer, rank] : gate->second) alike = alike && rank == usual_;
        if (!alike)
            refuse(place, "LoRA of the gate in every layer, with r and lora_alpha", "gates that differ");
        spec.gate = GateMode::lora;
    }

    /// Every target in every layer with r and lora_alpha; experts.gate_up may have one rank and alpha of its own.
    bool is_uniform(AdapterSpec& spec) const {
        for (const auto& [target, layers] : found_) {
            if (static_cast<Index>(layers.size()) != layers_) return false;
            const AdapterRank first = layers.begin()->second;
            for (const auto& [layer, rank] : layers) {
                if (!(rank == first) || !(rank == usual_ || target == "experts.gate_up")) return false;
            }
            if (first == usual_) continue;
            spec.gate_up_rank = first.rank;
            spec.gate_up_alpha = first.alpha;
        }
        return true;
    }

    void add_place(AdapterSpec& spec, const std::string& target, Index layer, const AdapterRank& rank,
                   const std::string& place) const {
        const std::string base = "model.layers." + std::to_string(layer);
        std::string path = base + ".self_attn." + target;
        if (target.starts_with("experts.")) {
            path = base + ".mlp." + target + "_proj";
        } else if (target.starts_with("w")) {
            const std::string other = target == "w1" ? "w3" : "w1";
            if (target != "w2") {
                const auto found = found_.find(other);
                if (found == found_.end() || !found->second.contains(layer) ||
                    !(found->second.at(layer) == rank))
                    refuse(place, "w1 and w3 together, with one rank and alpha",
                           format("{} of layer {}", target, layer));
                if (target == "w3") return;
            }
            path = base + ".mlp.experts." + target;
        } else if (target == "gate_proj" || target == "up_proj" || target == "down_proj") {
            path = base + ".mlp." + target;
        }
        spec.places.push_back({path, rank.rank, rank.alpha});
    }

    AdapterRank usual_;
    Index layers_, experts_;
    detail::NameChoice modules_, excluded_, parameters_;
    detail::NumberPatterns ranks_, alphas_;
    std::optional<std::set<Index>> chosen_layers_;
    const std::set<std::string>* files_tensors_;
    bool saves_gate_ = false;
    std::map<std::string, Layers> found_;
    std::map<std::pair<std::string, Index>, Index> experts_found_;
    std::string uneven_;
};

}  // namespace moegrad
