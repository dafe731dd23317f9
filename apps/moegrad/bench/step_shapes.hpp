#pragma once
// The steps that a run times: shapes, methods and their settings, as data.

#include "step_model.hpp"

namespace moegrad::bench {

/// Layers as Mixtral-8x7B and Llama-2-7B have them; tiny: for a CPU, where figures mean nothing.
inline StepShape mixtral_step(bool tiny, Index layers, Index sequences, Index length) {
    if (tiny) return {.model = decoder_shape(ModelFamily::mixtral, 2, 32, 48, 4, 2, 64), .length = 16};
    return {.model = decoder_shape(ModelFamily::mixtral, layers, 4096, 14336, 32, 8, 32000),
            .sequences = sequences,
            .length = length};
}
inline StepShape llama_step(bool tiny) {
    if (tiny) return {.model = decoder_shape(ModelFamily::llama, 2, 32, 48, 4, 4, 64), .length = 16};
    return {.model = decoder_shape(ModelFamily::llama, 8, 4096, 11008, 32, 32, 32000),
            .sequences = 16,
            .length = 1024};
}
/// Small, and large enough that a GPU's products are no mere launches: what a method does besides them shows.
inline StepShape small_step(bool tiny) {
    if (tiny) return {.model = decoder_shape(ModelFamily::mixtral, 2, 32, 48, 4, 2, 64), .length = 16};
    return {.model = decoder_shape(ModelFamily::mixtral, 2, 2048, 4096, 16, 8, 32000)};
}

inline Settings rank_of(Index rank) {
    return {{"adapter.r", format("{}", rank)}, {"adapter.lora_alpha", format("{}", 2 * rank)}};
}

struct MethodCase {
    const char* name;
    const char* options = "";
    Settings more = {};
    double trained_experts = 0;  // share of the experts' rows whose weights train in full
};

/// Every method of a mixture of experts; settings of its recipe where it has any.
inline std::vector<MethodCase> method_cases() {
    return {{"adamoe", "", {{"router.null_experts", "8"}, {"router.top_k", "3"}}},
            {"mor"},
            {"dyn_mole", "threshold=0.97"},
            {"gw_moe", "tau=0.77"},
            {"top_p", "p=0.4"},
            {"dense"},
            {"task", "tasks=2"},
            {"ratio"},
            {"random_drop", "load=1.4"},
            {"bias"},
            {"noisy_top_k"},
            {"gshard"},
            {"switch"},
            {"base"},
            {"hash", "per_token=2"},
            {"expert_choice"},
            {"sparsemixer"},
            {"intervene", "block=1/1"},
            {"perft_r", "experts=4, top_k=2"},
            {"perft_e"},
            {"perft_d", "experts=2"},
            {"perft_s"},
            {"router_tuning"},
            {"ceft", "picked=0-1/0-1", {}, 0.25},
            {"dora", "", {{"adapter.target", "attention"}}},
            {"ia3", "", {{"adapter.target", "k_proj,v_proj"}}}};
}

/// What `--pieces` chooses from: the models of `step`, the methods of `methods` and `large_methods`.
inline std::vector<std::string> piece_names() {
    std::vector<std::string> all{"mixtral", "llama"};
    for (const MethodCase& method : method_cases()) all.emplace_back(method.name);
    return all;
}

inline Settings settings_of(const MethodCase& method) {
    Settings all{{"adapter.method", method.name}};
    if (*method.options != '\0') all.emplace_back("router.options", method.options);
    all.insert(all.end(), method.more.begin(), method.more.end());
    return all;
}

}  // namespace moegrad::bench
