#pragma once
// PeftLayout: how an adapter file packs LoRA of fused experts, W [E, O, D] of rank R, delta W_e = s B_e A_e. Our A is
// [E, R, D], our B [E, O, R]. In the wild (peft 0.17.1 to 0.21.2 and unsloth-zoo, read in their sources):
//
//   peft-0.19      PEFT 0.19.1 and later     lora_A [E R, D]  row e R + j     lora_B [O, R E]  column j E + e
//   peft-0.17      PEFT 0.17.0 to 0.19.0     the parameter read as [E, in, out], so A and B have swapped roles:
//                                            lora_A [E R, O]  row e R + j     lora_B [D, R E]  column j E + e
//   unsloth        shapes of peft-0.19, trained and merged with column e R + j of lora_B
//   unsloth-0.17   shapes of peft-0.17, the same
//
// The shapes tell the roles unless O = D; nothing in the shapes tells the order of lora_B's columns.

#include <optional>
#include <string>
#include <string_view>

#include <moegrad/core/error.hpp>
#include <moegrad/core/view.hpp>

namespace moegrad {

enum class PeftLayout { automatic, peft_0_19, peft_0_17, unsloth, unsloth_0_17 };

inline constexpr PeftLayout kPeftLayouts[] = {PeftLayout::peft_0_19, PeftLayout::peft_0_17,
                                              PeftLayout::unsloth, PeftLayout::unsloth_0_17};

constexpr std::string_view name(PeftLayout layout) {
    switch (layout) {
        case PeftLayout::automatic: return "auto";
        case PeftLayout::peft_0_19: return "peft-0.19";
        case PeftLayout::peft_0_17: return "peft-0.17";
        case PeftLayout::unsloth: return "unsloth";
        case PeftLayout::unsloth_0_17: return "unsloth-0.17";
    }
    return "unknown";
}

/// Nothing for a word that is no layout.
inline std::optional<PeftLayout> peft_layout_named(std::string_view text) {
    if (text == name(PeftLayout::automatic)) return PeftLayout::automatic;
    for (const PeftLayout layout : kPeftLayouts) {
        if (text == name(layout)) return layout;
    }
    return std::nullopt;
}

/// Whether lora_A holds our B, and lora_B our A.
constexpr bool swaps_roles(PeftLayout layout) {
    return layout == PeftLayout::peft_0_17 || layout == PeftLayout::unsloth_0_17;
}
/// Whether the columns of lora_B run through the experts one after the other.
constexpr bool is_expert_major(PeftLayout layout) {
    return layout == PeftLayout::unsloth || layout == PeftLayout::unsloth_0_17;
}
constexpr PeftLayout peft_layout(bool swapped, bool expert_major) {
    if (expert_major) return swapped ? PeftLayout::unsloth_0_17 : PeftLayout::unsloth;
    return swapped ? PeftLayout::peft_0_17 : PeftLayout::peft_0_19;
}

/// One reading in words, for messages.
inline std::string describe(PeftLayout layout) {
    return format("{}: lora_A [E r, {}], lora_B [{}, r E] with column {} for rank j of expert e",
                  name(layout), swaps_roles(layout) ? "out" : "in", swaps_roles(layout) ? "in" : "out",
                  is_expert_major(layout) ? "e r + j" : "j E + e");
}

/// How the caller wants an adapter to be read.
struct AdapterReading {
    PeftLayout layout = PeftLayout::automatic;
    bool any_base = false;  // take an adapter whose file says that it was trained on another base
};

}  // namespace moegrad
