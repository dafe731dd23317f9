#pragma once
// Which packing the fused experts of an adapter file have, and why. Evidence, strongest first: the caller's word; the
// mark that moegrad writes into the file; the shapes; peft_version in adapter_config.json, which tells the roles of A
// and B and not who trained (Unsloth saves through PEFT). Where these leave two readings, the file is refused.

#include <array>
#include <cstdio>
#include <optional>
#include <string>
#include <vector>

#include <moegrad/core/model_config.hpp>
#include <moegrad/io/json.hpp>
#include <moegrad/io/safetensors.hpp>
#include <moegrad/methods/adapter_layout.hpp>
#include <moegrad/methods/adapter_spec.hpp>

namespace moegrad {

/// The key in the file's metadata.
inline constexpr const char* kLayoutMark = "moegrad.peft_layout";

struct LayoutFinding {
    PeftLayout layout = PeftLayout::peft_0_19;
    std::string reason;
    bool fused = false;  // whether the adapter has fused experts at all
};

namespace detail {

/// One fused stack of the adapter, W [E, out, in].
struct FusedStack {
    std::string name;  // of its tensors, without .lora_A.weight
    Index rank = 0, in = 0, out = 0;
};

inline std::vector<FusedStack> fused_stacks(const AdapterSpec& spec, const ModelConfig& config) {
    std::vector<FusedStack> all;
    if (!config.is_mixture()) return all;
    const Index D = config.hidden_size, F = config.intermediate_size;
    for (Index l = 0; l < config.num_hidden_layers; ++l) {
        const std::string path = "model.layers." + std::to_string(l) + ".mlp.experts";
        Index up = 0, down = 0;
        if (spec.places.empty()) {
            if (spec.wants("experts.gate_up", "experts")) up = spec.gate_up_lora().rank;
            if (spec.wants("experts.down", "experts")) down = spec.lora.rank;
        } else {
            if (const auto* place = spec.place(path + ".gate_up_proj")) up = place->rank;
            if (const auto* place = spec.place(path + ".down_proj")) down = place->rank;
        }
        const std::string name = "base_model.model." + path;
        if (up > 0) all.push_back({down > 0 ? name + ".base_layer" : name, up, D, 2 * F});
        if (down > 0) all.push_back({name, down, F, D});
    }
    return all;
}

/// Whether a stack's two tensors have the shapes of these roles. One that is missing is reported elsewhere.
inline bool fits(const FusedStack& stack, Index experts, bool swapped, const SafetensorsFile& file) {
    const Index rows = experts * stack.rank;
    const Index a = swapped ? stack.out : stack.in, b = swapped ? stack.in : stack.out;
    const TensorInfo* A = file.find(stack.name + ".lora_A.weight");
    const TensorInfo* B = file.find(stack.name + ".lora_B.weight");
    return (A == nullptr || A->shape == std::vector<Index>{rows, a}) &&
           (B == nullptr || B->shape == std::vector<Index>{b, rows});
}

/// The first three numbers of "0.19.1"; nothing when there are fewer than two.
inline std::optional<std::array<int, 3>> version_numbers(const std::string& text) {
    std::array<int, 3> out{};
    if (std::sscanf(text.c_str(), "%4d.%4d.%4d", &out[0], &out[1], &out[2]) < 2) return std::nullopt;
    return out;
}

/// peft_version, where it tells the roles. 0.17 wrote no such key; 0.19.0 still packed as 0.17 did.
inline std::optional<bool> swapped_by_version(const JsonRef& root) {
    const auto key = root.find_value("peft_version");
    if (!key || !key->value().string()) return std::nullopt;
    const auto version = version_numbers(key->string());
    if (!version) return std::nullopt;
    return *version < std::array<int, 3>{0, 19, 1};
}

/// Why Unsloth may have trained this, or nothing.
inline std::string sign_of_unsloth(const JsonRef& root) {
    if (const auto mapping = root.find_value("auto_mapping"); mapping && mapping->value().is_object()) {
        if (mapping->find_value("unsloth_fixed")) return "auto_mapping.unsloth_fixed is there";
    }
    const auto base = root.find_value("base_model_name_or_path");
    if (base && base->value().string() && base->string().find("unsloth") != std::string::npos)
        return "the base is " + printable(base->string());
    return "";
}

class LayoutDetection {
public:
    LayoutDetection(const SafetensorsFile& file, const JsonRef& root, const AdapterSpec& spec,
                    const ModelConfig& config)
        : file_(file), root_(root), experts_(config.num_local_experts), stacks_(fused_stacks(spec, config)) {}

    LayoutFinding find(PeftLayout wanted) const {
        if (stacks_.empty()) return {PeftLayout::peft_0_19, "no fused experts", false};
        const bool plain = all_fit(false), swapped = all_fit(true);
        if (wanted != PeftLayout::automatic) {
            if (!(swaps_roles(wanted) ? swapped : plain)) refuse_shapes({wanted});
            return {wanted, "as asked for", true};
        }
        if (!plain && !swapped) refuse_shapes({PeftLayout::peft_0_19, PeftLayout::peft_0_17});
        for (const auto& [key, value] : file_.metadata()) {
            if (key == kLayoutMark) return marked(value, plain, swapped);
        }
        std::string reason;
        const bool roles = find_roles(plain, swapped, reason);
        return {peft_layout(roles, find_order(roles, reason)), reason, true};
    }

private:
    bool all_fit(bool swapped) const {
        for (const auto& stack : stacks_) {
            if (!fits(stack, experts_, swapped, file_)) return false;
        }
        return true;
    }

    std::string place(const FusedStack& stack, const char* factor = ".lora_B.weight") const {
        return format("{}: {}", file_.path(), stack.name + factor);
    }

    [[noreturn]] void refuse_shapes(std::vector<PeftLayout> layouts) const {
        for (const auto& stack : stacks_) {
            bool any = false;
            for (const PeftLayout one : layouts) any = any || fits(stack, experts_, swaps_roles(one), file_);
            if (any) continue;
            const Index rows = experts_ * stack.rank;
            std::string expected;
            for (const PeftLayout one : layouts) {
                const bool swapped = swaps_roles(one);
                const Index a = swapped ? stack.out : stack.in, b = swapped ? stack.in : stack.out;
                expected += format("{}lora_A [{}, {}] and lora_B [{}, {}] ({})",
                                   expected.empty() ? "" : ", or ", rows, a, b, rows, name(one));
            }
            const TensorInfo* A = file_.find(stack.name + ".lora_A.weight");
            const TensorInfo* B = file_.find(stack.name + ".lora_B.weight");
            throw Error{
                ErrorCode::shape, place(stack, ".lora_A.weight"),
                format("{} for {} experts of rank {}", expected, experts_, stack.rank),
                format("{} and {}", A ? shape_text(A->shape) : "none", B ? shape_text(B->shape) : "none"),
                "does the adapter belong to this base, and is `r` the one of its config?"};
        }
        throw Error{ErrorCode::shape, file_.path(), "one layout for all fused experts", "several"};
    }

    LayoutFinding marked(const std::string& word, bool plain, bool swapped) const {
        const auto layout = peft_layout_named(word);
        if (!layout || *layout == PeftLayout::automatic || !(swaps_roles(*layout) ? swapped : plain)) {
            throw Error{ErrorCode::format, format("{}: {}", file_.path(), kLayoutMark),
                        "a layout that the shapes allow", "\"" + printable(word) + "\""};
        }
        return {*layout, "the file says so", true};
    }

    bool find_roles(bool plain, bool swapped, std::string& reason) const {
        const auto version = swapped_by_version(root_);
        if (plain != swapped) {
            if (version && *version != swapped)
                refuse({peft_layout(swapped, false), peft_layout(!swapped, false)},
                       format("the shapes are those of {}, peft_version {} packed as {}",
                              name(peft_layout(swapped, false)), root_.at("peft_version").string(),
                              name(peft_layout(!swapped, false))));
            reason = "by its shapes";
            return swapped;
        }
        if (!version)
            refuse({PeftLayout::peft_0_19, PeftLayout::peft_0_17},
                   "input and output of the fused experts have the same width, so the shapes fit both, and "
                   "adapter_config.json has no peft_version");
        reason = format("by peft_version {}, the shapes fit both", root_.at("peft_version").string());
        return *version;
    }

    bool find_order(bool swapped, std::string& reason) const {
        const std::string sign = sign_of_unsloth(root_);
        for (const auto& stack : stacks_) {
            if (experts_ == 1 || stack.rank == 1) continue;  // both orders are the same
            if (!sign.empty())
                refuse({peft_layout(swapped, false), peft_layout(swapped, true)},
                       "Unsloth may have trained it (" + sign + "), with another order of lora_B's columns");
            if (stack.rank == experts_)
                refuse({peft_layout(swapped, false), peft_layout(swapped, true)},
                       format("{} experts of rank {}: nothing tells experts from ranks in lora_B's columns",
                              experts_, stack.rank));
        }
        reason += ", no sign of Unsloth";
        return false;
    }

    [[noreturn]] void refuse(const std::array<PeftLayout, 2>& readings, const std::string& why) const {
        throw Error{ErrorCode::config, place(stacks_.front()), "one way to read the fused experts",
                    format("{}; fits\n              {}\n              {}", why, describe(readings[0]),
                           describe(readings[1])),
                    format("pass --peft-layout {} or {}, whichever trained it", name(readings[0]),
                           name(readings[1]))};
    }

    const SafetensorsFile& file_;
    const JsonRef& root_;
    Index experts_;
    std::vector<FusedStack> stacks_;
};

}  // namespace detail

inline LayoutFinding find_peft_layout(const SafetensorsFile& file, const JsonRef& root,
                                      const AdapterSpec& spec, const ModelConfig& config,
                                      const AdapterReading& reading) {
    return detail::LayoutDetection(file, root, spec, config).find(reading.layout);
}

}  // namespace moegrad
